"""Published recipes: settings files that `fdsl-gpu pretrain --recipe NAME` reads."""

from __future__ import annotations

from pathlib import Path

from fdsl_gpu.datasets import did_you_mean

__all__ = ["list_recipes", "recipe_path"]


def list_recipes() -> list[str]:
    """Names that `recipe_path` knows.

    Example:
        >>> "fractaldb-1k-resnet50" in list_recipes()
        True
    """
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def recipe_path(name: str) -> Path:
    """The settings file of a recipe.

    Args:
        name: A name from `list_recipes`.

    Raises:
        ValueError: There is no such recipe.
    """
    if name not in list_recipes():
        raise ValueError(
            f"unknown recipe {name!r}; {did_you_mean(name, list_recipes())}"
            f"the recipes are {list_recipes()}; a settings file of your own: --config FILE"
        )
    return Path(__file__).parent / f"{name}.toml"
