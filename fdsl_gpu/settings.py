"""Settings of a command as a TOML file, and back: one flat table, one key a field of its dataclass.

A run writes its settings beside its results; `fdsl-gpu COMMAND --config FILE` starts from them.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import tomli_w
from tyro.constructors import PrimitiveConstructorSpec

from fdsl_gpu.datasets import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "NamedSettings",
    "check_choices",
    "dump_settings",
    "load_settings",
    "plain_settings",
    "typed_settings",
]

Config = TypeVar("Config")

_NOT_SAVED: Final = ("resume", "config")
"""Fields that say how a command was started, not what it does."""


Setting = int | float | bool | str


def _read_named(words: list[str]) -> dict[str, Setting]:
    """Settings from NAME VALUE pairs, each value as TOML has it, or else a word."""
    if len(words) % 2:
        raise ValueError(f"a value for each name is needed, got {' '.join(words)!r}")
    return {name: _read_value(word) for name, word in zip(words[::2], words[1::2], strict=True)}


def _read_value(word: str) -> Setting:
    try:
        text = word.lower() if word in ("True", "False") else word
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return word
    return value if isinstance(value, (int, float, bool, str)) else word


NamedSettings = Annotated[
    dict[str, Setting],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="[NAME VALUE ...]",
        instance_from_str=_read_named,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda named: [str(part) for pair in named.items() for part in pair],
    ),
]
"""Settings whose names depend on a data set or a model; on the command line NAME VALUE pairs."""


def plain_settings(config: Any) -> dict[str, Any]:
    """The fields of a settings dataclass as TOML has them: paths as strings, None left out.

    Example:
        >>> from fdsl_gpu.pretrain import PretrainConfig
        >>> plain_settings(PretrainConfig())["output"]
        'runs/pretrain'
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {
        name: _plain(value)
        for name, value in values.items()
        if value is not None and name not in _NOT_SAVED
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    return list(value) if isinstance(value, tuple) else value


def dump_settings(config: Any, heading: str) -> bytes:
    """The settings as a TOML file that opens with a comment.

    Args:
        config: A settings dataclass.
        heading: Lines of the comment, without the hash sign.
    """
    comment = "".join(f"# {line}\n" for line in heading.splitlines())
    return (comment + "\n" + tomli_w.dumps(plain_settings(config))).encode()


def load_settings(kind: type[Config], path: Path) -> Config:
    """The settings dataclass that a TOML file holds; what the file does not name keeps its default.

    Args:
        kind: The dataclass.
        path: The file.

    Raises:
        ValueError: The file is no TOML, or a key or value does not fit the dataclass.
        OSError: The file cannot be read.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file of settings: {error}") from error
    return typed_settings(kind, values, path)


def typed_settings(kind: type[Config], values: dict[str, Any], where: Path) -> Config:
    """The settings dataclass that plain values make; what they do not name keeps its default.

    Args:
        kind: The dataclass.
        values: As `plain_settings` gives them.
        where: The file that they come from.

    Raises:
        ValueError: A key or value does not fit the dataclass.
    """
    hints = get_type_hints(kind)
    settings = {}
    for name, value in values.items():
        if name not in hints:
            raise ValueError(
                f"{where}: unknown setting {name!r}; {did_you_mean(name, hints)}"
                f"the settings are {sorted(hints)}"
            )
        try:
            settings[name] = _typed(value, hints[name])
        except TypeError:
            raise ValueError(
                f"{where}: setting {name!r} must be {_words(hints[name])}, got {value!r}"
            ) from None
    return kind(**settings)


def _words(hint: Any) -> str:
    is_plain = isinstance(hint, type) and get_origin(hint) is None
    return hint.__name__ if is_plain else str(hint).replace("typing.", "")


def _typed(value: Any, hint: Any) -> Any:
    """The value as its type hint wants it; TypeError where it does not fit."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for option in arguments:
            try:
                return _typed(value, option)
            except TypeError:
                continue
        raise TypeError
    if origin is Literal:
        if value in arguments:
            return value
        raise TypeError
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(item, arguments[0]) for item in value)
    if origin is dict and isinstance(value, dict):
        return {str(name): _typed(item, arguments[1]) for name, item in value.items()}
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and type(value) in (int, float):
        return float(value)
    if type(value) is hint:
        return value
    raise TypeError


def check_choices(config: Any) -> None:
    """Check the fields that take one of a few words.

    Raises:
        ValueError: One of them holds another word.
    """
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if get_origin(hint) is Literal and value not in get_args(hint):
            raise ValueError(f"{name} must be one of {get_args(hint)}, got {value!r}")
