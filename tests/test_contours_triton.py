"""The contour kernels without a GPU: interpreted, compiled for every one, their PTX executed."""

from pathlib import Path

from isolated import run_tests

TESTS = Path(__file__).parent


def test_interpreted_kernels_equal_the_definition(run_python):
    run_tests(run_python, TESTS / "interpreted" / "contours.py", interpret=True)


def test_compiled_ptx_equals_the_definition(run_python):
    run_tests(run_python, TESTS / "compiled" / "contours_ptx.py", interpret=False)


def test_kernels_compile_within_their_budgets(run_python):
    run_tests(run_python, TESTS / "compiled" / "contours_gate.py", interpret=False)
