import re
from pathlib import Path

INSIDE = Path(__file__).parent / "interpreted" / "ifs.py"


def test_interpreted_kernels_equal_the_definition(run_python):
    """The tests of `interpreted/ifs.py`, in a process that imports Triton as an interpreter."""
    output = run_python(
        "import sys, pytest; sys.exit(pytest.main([sys.argv[1], '-rA', '-p', 'no:cacheprovider']))",
        INSIDE,
        TRITON_INTERPRET=1,
    )
    # NumPy tells of overflow where a walk diverges on purpose: nothing else may be reported
    assert re.search(r"\d+ passed", output) and "skipped" not in output, output
