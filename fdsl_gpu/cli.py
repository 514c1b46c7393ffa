"""`fdsl-gpu COMMAND`: which function each command runs, with which settings; no logic of its own.

A command's options are the fields of its settings dataclass. Modules are imported when used, so
that `fdsl-gpu --help` is quick.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["COMMANDS", "Command", "main"]


@dataclass(frozen=True)
class Command:
    """One command of the tool.

    Args:
        config: "module:Dataclass" of its settings.
        run: "module:function" that takes the settings; what it returns is printed.
        about: One line.
    """

    config: str
    run: str
    about: str


COMMANDS: Final = {
    "demo": Command(
        "fdsl_gpu.demo:DemoConfig",
        "fdsl_gpu.console:run_demo",
        "Pre-train a small model for about a minute, with a preview of what it trains on.",
    ),
    "preview": Command(
        "fdsl_gpu.preview:PreviewConfig",
        "fdsl_gpu.preview:preview",
        "Draw a sheet of samples: categories as rows, instances as columns. Or of all data sets.",
    ),
    "gallery": Command(
        "fdsl_gpu.gallery:GalleryConfig",
        "fdsl_gpu.gallery:gallery",
        "Make a web page that shows every data set: images, equation, speed, source.",
    ),
    "search": Command(
        "fdsl_gpu.search:SearchConfig",
        "fdsl_gpu.console:run_search",
        "Find categories as FractalDB's authors did. Started again, it goes on.",
    ),
    "search-3d": Command(
        "fdsl_gpu.search3d:Search3dConfig",
        "fdsl_gpu.console:run_search_3d",
        "Find 3D categories as published. Started again, it goes on.",
    ),
    "pretrain": Command(
        "fdsl_gpu.pretrain_config:PretrainConfig",
        "fdsl_gpu.console:run_pretrain",
        "Pre-train a timm model on a formula-driven data set, drawn while it trains.",
    ),
    "finetune": Command(
        "fdsl_gpu.finetune_config:FinetuneConfig",
        "fdsl_gpu.console:run_finetune",
        "Fine-tune a checkpoint, or train from scratch, on real images, and test it once.",
    ),
    "evaluate": Command(
        "fdsl_gpu.evaluate:EvaluateConfig",
        "fdsl_gpu.evaluate:evaluate",
        "Measure a model's accuracy on held-out fractals or on real images.",
    ),
    "export": Command(
        "fdsl_gpu.export:ExportConfig",
        "fdsl_gpu.console:run_export",
        "Store samples as PNGs in folders or as tar shards. Started again, it goes on.",
    ),
    "bench": Command(
        "fdsl_gpu.bench:BenchConfig",
        "fdsl_gpu.console:run_bench",
        "Measure what drawing costs on this machine, against other ways to get the images.",
    ),
    "doctor": Command(
        "fdsl_gpu.doctor:DoctorConfig",
        "fdsl_gpu.doctor:doctor",
        "Check this installation: versions, devices, each backend's pixels, images/s.",
    ),
}

_EVERY_COMMAND: Final = """Every command also takes:
  --help         its options
  --config FILE  settings in a TOML file to start from, as a run writes them; options override them
                 (pretrain also: --recipe NAME, a published recipe)
  --debug        show where an error comes from (or set FDSL_GPU_DEBUG=1)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line tool.

    Args:
        arguments: What follows the name of the tool; by default what it was called with.

    Returns:
        Exit status: 0, 2 for a user's error, 130 after Ctrl-C, 1 where a check failed.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or bool(os.environ.get("FDSL_GPU_DEBUG"))
    words = [word for word in words if word != "--debug"]
    try:
        return _run(words)
    except KeyboardInterrupt as interrupt:
        print(f"\nfdsl-gpu: interrupted; {interrupt}".rstrip("; "), file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        if debug:
            raise
        print(f"fdsl-gpu: error: {error}", file=sys.stderr)
        return 2


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"fdsl-gpu {version('fdsl-gpu')}")
        return 0
    name, *options = words
    if name not in COMMANDS:
        from fdsl_gpu.datasets import did_you_mean

        raise ValueError(
            f"unknown command {name!r}; {did_you_mean(name, COMMANDS)}fdsl-gpu --help has all"
        )
    command = COMMANDS[name]
    config = _parse(name, _named(command.config), options)
    from fdsl_gpu.console import show_log

    show_log()
    result = _named(command.run)(config)
    if result is not None:
        print(result)
    return 0 if getattr(result, "ok", True) else 1


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.about}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: fdsl-gpu COMMAND [OPTIONS]", "", *lines, "", _EVERY_COMMAND])


def _named(name: str) -> Any:
    """What a "module:name" names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _parse(name: str, kind: type, options: list[str]) -> Any:
    """The settings that the options make, from those of a file where --config names one."""
    import tyro

    from fdsl_gpu.settings import load_settings

    options, path = _settings_file(name, options)
    defaults: dict[str, Any] = {} if path is None else {"default": load_settings(kind, path)}
    description = f"{inspect.getdoc(kind)}\n\nAlso --config FILE and --debug: see fdsl-gpu --help."
    return tyro.cli(
        kind, args=options, prog=f"fdsl-gpu {name}", description=description, **defaults
    )


def _settings_file(name: str, options: list[str]) -> tuple[list[str], Path | None]:
    """The options without --config FILE or --recipe NAME, and the file that these name."""
    flags = {"--config": "a TOML file of settings"}
    if name == "pretrain":
        flags["--recipe"] = "a published recipe"
    kept, paths, place = [], [], 0
    while place < len(options):
        flag, _, value = options[place].partition("=")
        place += 1
        if flag not in flags:
            kept.append(options[place - 1])
            continue
        if not value:
            if place == len(options):
                raise ValueError(f"{flag} needs the name of {flags[flag]}")
            value = options[place]
            place += 1
        if flag == "--recipe":
            from fdsl_gpu.recipes import recipe_path

            paths.append(recipe_path(value))
        else:
            paths.append(Path(value))
    if len(paths) > 1:
        raise ValueError(f"settings can start from one file only, got {[*map(str, paths)]}")
    return kept, paths[0] if paths else None


if __name__ == "__main__":
    sys.exit(main())
