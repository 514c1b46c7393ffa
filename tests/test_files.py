import pytest

from fdsl_gpu.files import make_folder, replacing


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), replacing(path) as partial:
        partial.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        raise KeyError
    assert path.read_bytes() == b"old"
    with replacing(path) as partial:
        partial.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match=r"cannot write .*file/below: Not a directory"):
        make_folder(tmp_path / "file" / "below")
    with (
        pytest.raises(RuntimeError, match=r"cannot write .*nowhere/a: No such file"),
        replacing(tmp_path / "nowhere" / "a") as partial,
    ):
        partial.write_bytes(b"")
