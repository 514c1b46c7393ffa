from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
import tyro

from fdsl_gpu.pretrain_config import PretrainConfig
from fdsl_gpu.settings import (
    NamedSettings,
    check_choices,
    dump_settings,
    load_settings,
    plain_settings,
)


@dataclass(frozen=True)
class Config:
    folder: Path = Path("a")
    count: int = 1
    rate: float = 0.1
    limit: float | None = None
    which: Literal["one", "two"] = "one"
    some: tuple[int, ...] = ()
    named: NamedSettings = field(default_factory=dict)
    resume: bool = False


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(Path("b/c"), 2, 1e-7, 0.5, "two", (3, 4), {"a": 1, "b": 0.5, "c": True, "d": "e"}),
        PretrainConfig(ema_decay=0.999, dataset_settings={"num_points": 7}),
    ],
)
def test_settings_come_back_from_their_file(tmp_path, config):
    path = tmp_path / "run.toml"
    path.write_bytes(dump_settings(config, "two lines\nof comment"))
    assert path.read_text().startswith("# two lines\n# of comment\n")
    assert load_settings(type(config), path) == config


def test_how_a_command_was_started_is_not_saved():
    assert plain_settings(Config(resume=True)) == plain_settings(Config())


@pytest.mark.parametrize(
    "text, message",
    [
        ("cout = 1", "unknown setting 'cout'; did you mean 'count'"),
        ("count = 1.5", "setting 'count' must be int, got 1.5"),
        ("count = true", "setting 'count' must be int, got True"),
        ("rate = 'fast'", "setting 'rate' must be float, got 'fast'"),
        ("which = 'three'", r"setting 'which' must be Literal\['one', 'two'\], got 'three'"),
        ("some = [1, 'a']", r"setting 'some' must be tuple"),
        ("named = [1]", "setting 'named' must be dict"),
        ("count 1", "is not a TOML file of settings"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_settings(Config, path)


def test_a_word_that_is_no_choice_is_refused():
    check_choices(Config())
    with pytest.raises(ValueError, match=r"which must be one of \('one', 'two'\), got 'three'"):
        check_choices(replace(Config(), which="three"))


def test_named_settings_on_the_command_line_replace_those_of_the_file():
    words = "num_points 500 ratio 1e-3 mask full deep True date 2020-01-01"
    config = tyro.cli(
        Config, args=["--named", *words.split(" ")], default=Config(named={"other": 1})
    )
    expected = {"num_points": 500, "ratio": 1e-3, "mask": "full", "deep": True}
    assert config.named == expected | {"date": "2020-01-01"}
    assert tyro.cli(Config, args=["--named"], default=Config(named={"other": 1})).named == {}
