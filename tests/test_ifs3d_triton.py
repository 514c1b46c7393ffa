"""The 3D kernel without a GPU: interpreted, compiled for every one, its PTX executed."""

from pathlib import Path

from isolated import run_tests

TESTS = Path(__file__).parent


def test_interpreted_kernels_equal_the_definition(run_python):
    run_tests(run_python, TESTS / "interpreted" / "ifs3d.py", interpret=True)


def test_compiled_kernels_equal_the_definition_within_their_budgets(run_python):
    run_tests(run_python, TESTS / "compiled" / "ifs3d.py", interpret=False)
