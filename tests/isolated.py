"""Triton decides when it is imported whether it interprets, so its tests have own processes."""

PYTEST = "import sys, pytest; sys.exit(pytest.main([*sys.argv[1:], '-p', 'no:cacheprovider']))"


def run_tests(run_python, file, interpret):
    """Run a file of tests; every one must pass, and there must be some."""
    output = run_python(PYTEST, file, TRITON_INTERPRET=int(interpret))
    assert " passed" in output and "skipped" not in output, output
