"""The kernels of Bézier curves without a GPU: interpreted, compiled for all, their PTX executed."""

from pathlib import Path

from isolated import run_tests

TESTS = Path(__file__).parent


def test_interpreted_kernels_equal_the_definition(run_python):
    run_tests(run_python, TESTS / "interpreted" / "bezier.py", interpret=True)


def test_compiled_kernels_equal_the_definition_within_their_budgets(run_python):
    run_tests(run_python, TESTS / "compiled" / "bezier.py", interpret=False)
