from pathlib import Path

from isolated import run_tests

INTERPRETED = Path(__file__).parent / "interpreted"


def test_interpreted_kernels_equal_the_definition(run_python):
    """The kernels' logic, run in Python by Triton's interpreter."""
    run_tests(run_python, INTERPRETED / "ifs.py", interpret=True)
