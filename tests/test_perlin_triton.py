"""The kernel of Perlin noise without a GPU: interpreted, compiled, its PTX executed."""

from pathlib import Path

from isolated import run_tests

TESTS = Path(__file__).parent


def test_interpreted_kernel_equals_the_definition(run_python):
    run_tests(run_python, TESTS / "interpreted" / "perlin.py", interpret=True)


def test_compiled_kernel_equals_the_definition_within_its_budgets(run_python):
    run_tests(run_python, TESTS / "compiled" / "perlin.py", interpret=False)
