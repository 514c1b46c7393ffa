from pathlib import Path

from isolated import run_tests

COMPILED = Path(__file__).parent / "compiled"


def test_kernels_compile_within_their_budgets(run_python):
    """For every GPU family: no spills, no fences, one reduction a point, instructions counted."""
    run_tests(run_python, COMPILED / "ifs_gate.py", interpret=False)
