import os

import pytest
import torch

from fdsl_gpu.checkpoints import LAST, PREVIOUS, load_checkpoint, read_checkpoint, save_checkpoint


def state(update):
    return {
        "update": update,
        "settings": {"lr": 0.1},
        "state_dict": {"a": torch.arange(9) + update},
    }


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def test_the_last_checkpoint_and_the_one_before_are_kept(tmp_path):
    assert load_checkpoint(tmp_path) is None
    for update in (1, 2, 3):
        save_checkpoint(tmp_path, state(update))
    assert sorted(path.name for path in tmp_path.iterdir()) == [LAST, PREVIOUS]
    loaded = load_checkpoint(tmp_path)
    assert loaded["update"] == 3 and loaded["settings"] == {"lr": 0.1}
    assert torch.equal(loaded["state_dict"]["a"], torch.arange(9) + 3)
    assert read_checkpoint(tmp_path / PREVIOUS)["update"] == 2


def test_killed_between_the_two_renames_the_previous_one_is_used(tmp_path):
    save_checkpoint(tmp_path, state(1))
    os.replace(tmp_path / LAST, tmp_path / PREVIOUS)
    assert load_checkpoint(tmp_path)["update"] == 1


def test_a_truncated_checkpoint_never_pushes_a_whole_one_out(tmp_path, caplog):
    save_checkpoint(tmp_path, state(1))
    save_checkpoint(tmp_path, state(2))
    truncate(tmp_path / LAST)
    assert load_checkpoint(tmp_path)["update"] == 1
    assert "last.pt is truncated" in caplog.text and "previous.pt is used" in caplog.text
    save_checkpoint(tmp_path, state(3))
    assert read_checkpoint(tmp_path / LAST)["update"] == 3
    assert read_checkpoint(tmp_path / PREVIOUS)["update"] == 1


def test_without_a_whole_checkpoint_it_is_said(tmp_path):
    save_checkpoint(tmp_path, state(1))
    truncate(tmp_path / LAST)
    with pytest.raises(ValueError, match=r"last.pt is truncated or no checkpoint"):
        load_checkpoint(tmp_path)
    torch.save({"model": torch.zeros(3)}, tmp_path / LAST)
    with pytest.raises(ValueError, match=r"last.pt is no checkpoint of fdsl-gpu pretrain"):
        load_checkpoint(tmp_path)


FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from fdsl_gpu.checkpoints import load_checkpoint, save_checkpoint

folder = Path(sys.argv[1])
save_checkpoint(folder, {"update": 1, "settings": {}, "state_dict": {}})
# what a file may grow to is limited: writing fails as it does on a full disk
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    save_checkpoint(folder, {"update": 2, "settings": {}, "state_dict": {"a": torch.zeros(10**6)}})
except RuntimeError as error:
    print(error)
print(load_checkpoint(folder)["update"], sorted(path.name for path in folder.iterdir()))
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files as POSIX does")
def test_on_a_full_disk_the_last_checkpoint_stays_whole(tmp_path, run_python):
    printed = run_python(FULL_DISK, tmp_path).splitlines()
    assert printed[0].startswith(f"cannot write {tmp_path}")
    assert "what was there before is untouched: make room" in printed[0]
    assert printed[1] == "1 ['last.pt']"
