from dataclasses import replace

import pytest

from fdsl_gpu.checkpoints import LAST
from fdsl_gpu.pretrain_config import PretrainConfig
from fdsl_gpu.runs import SETTINGS, CsvLog, check_same_run, open_run
from fdsl_gpu.settings import plain_settings


def test_a_log_goes_back_to_an_update_and_on_from_there(tmp_path):
    path = tmp_path / "log.csv"
    log = CsvLog(path, ["update", "loss", "top1"], 0)
    log.append({"update": 3, "loss": 0.1, "top1": 50.0})
    log.append({"update": 6, "loss": 0.2})
    log.append({"update": 9, "loss": 0.3})
    with path.open("a") as file:
        file.write("12,0.")  # killed while writing
    log = CsvLog(path, ["update", "loss", "top1"], 6)
    assert log.newest == {"update": 6, "loss": 0.2, "top1": 50}
    log.append({"update": 8, "loss": 1 / 3, "top1": None})
    assert path.read_text() == ("update,loss,top1\n3,0.1,50.0\n6,0.2,\n8,0.3333333333333333,\n")


def test_a_folder_holds_one_run(tmp_path):
    config = PretrainConfig(output=tmp_path / "run")
    open_run(config.output, config, resume=False)
    with pytest.raises(ValueError, match="holds another run; go on with it by --resume"):
        open_run(config.output, config, resume=False)
    before = (config.output / SETTINGS).read_bytes()
    open_run(config.output, replace(config, checkpoint_interval=7), resume=True)
    with pytest.raises(ValueError, match=r"of another run: it differs in lr \(0.001 there, 1.0 "):
        open_run(config.output, replace(config, lr=1.0), resume=True)
    assert (config.output / SETTINGS).read_bytes() == before


def test_an_output_that_is_no_folder_of_a_run_is_refused(tmp_path):
    config = PretrainConfig()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="output must be a folder"):
        open_run(tmp_path / "file", config, resume=False)
    (tmp_path / "last.pt").write_text("")
    with pytest.raises(ValueError, match="holds checkpoints but no run.toml"):
        open_run(tmp_path, config, resume=True)


def test_settings_that_newer_versions_added_do_not_make_another_run(tmp_path):
    config = PretrainConfig(output=tmp_path)
    open_run(tmp_path, config, resume=False)
    lines = (tmp_path / SETTINGS).read_text().splitlines(keepends=True)
    (tmp_path / SETTINGS).write_text("".join(x for x in lines if not x.startswith("grad_accum")))
    open_run(tmp_path, config, resume=True)
    saved = plain_settings(config)
    del saved["grad_accum"], saved["mixup"]
    check_same_run(saved, config, tmp_path / LAST)
    with pytest.raises(ValueError, match=r"last.pt is of another run: it differs in mixup \(0.8 "):
        check_same_run(saved, replace(config, mixup=0.1), tmp_path / LAST)
