from pathlib import Path

from isolated import run_tests

COMPILED = Path(__file__).parent / "compiled"


def test_compiled_ptx_equals_the_definition(run_python):
    """The PTX for three generations of GPUs, run on the CPU, draws the definition bit for bit."""
    run_tests(run_python, COMPILED / "ifs_ptx.py", interpret=False)


def test_the_executor_of_ptx(run_python):
    """It computes what PTX says, and refuses what it does not know or what leaves its buffers."""
    run_tests(run_python, COMPILED / "executor.py", interpret=False)
