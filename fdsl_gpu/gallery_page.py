"""The gallery's web page as text: HTML with its style and its pictures inside, and no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from PIL import Image
from torch import Tensor

from fdsl_gpu.formulas.base import Target
from fdsl_gpu.gallery_facts import Family, Source

__all__ = ["Exhibit", "Speeds", "page"]


@dataclass(frozen=True, eq=False)
class Exhibit:
    """What is computed of a data set.

    Args:
        num_categories: Categories.
        target: What a sample's target is.
        settings: Of its formula.
        tiles: Images, uint8 [1, I, 3, H, W]; [2, I, 3, H, W] with a row of masks.
    """

    num_categories: int
    target: Target
    settings: dict[str, Any]
    tiles: Tensor


@dataclass(frozen=True)
class Speeds:
    """What drawing costs on one core.

    Args:
        machine: The CPU, as its maker names it.
        date: Day of the measurement.
        image_size: Side of the images that were timed, in pixels.
        us_an_image: CPU time of an image in microseconds, by data set.
    """

    machine: str
    date: str
    image_size: int
    us_an_image: Mapping[str, float]


_TARGETS: Final = {
    "class": "class labels",
    "multi_hot": "multi-hot targets",
    "mask": "masks as targets",
}

# on a wide screen eight images of 128 pixels with their borders, gaps and margins are 68.75 rem
_STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #fdfdfb; --ink: #20201d; --faint: #66655f; --line: #dddcd5; --link: #8a4b08;
}
@media (prefers-color-scheme: dark) {
  :root { --paper: #161614; --ink: #e7e6e0; --faint: #a09f97; --line: #3a3934; --link: #e9a55c; }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 68.75rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { margin: 0; font-size: 1.8rem; line-height: 1.2; }
h2 { margin: 3.5rem 0 0; padding-top: 1rem; border-top: 2px solid var(--ink); font-size: 1.35rem; }
h3 { margin: 1.75rem 0 0; font: 600 1rem/1.5 ui-monospace, monospace; }
p, ul { max-width: 46rem; margin: .5rem 0; }
ul { padding-left: 1.2rem; }
a { color: var(--link); }
nav { margin: 1.5rem 0 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
code, dl { font-family: ui-monospace, monospace; font-size: .85em; }
h4 { margin: 1.5rem 0 0; font-size: .9rem; }
h4 + ul { margin-top: .25rem; font-size: .9rem; }
.faint { color: var(--faint); font-size: .9rem; }
h3 + p, h3 + p + p { margin: 0; }
.equation {
  margin: .75rem 0; padding: .25rem 0 .25rem 1rem; border-left: 3px solid var(--link);
  font: 1.05rem/1.7 Cambria, "STIX Two Text", "DejaVu Serif", Georgia, serif;
}
.equation div { padding-left: 1.5rem; text-indent: -1.5rem; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 4px; margin: .5rem 0; }
@media (min-width: 40rem) { .tiles { grid-template-columns: repeat(8, 1fr); } }
.tiles img { display: block; width: 100%; height: auto; border: 1px solid var(--line); }
.tiles img + img { margin-top: 4px; }
summary { cursor: pointer; color: var(--faint); font-size: .9rem; }
dl { display: flex; flex-wrap: wrap; gap: .1rem 1.5rem; margin: .5rem 0; }
dl div { display: flex; gap: .5rem; }
dt { color: var(--faint); }
dd { margin: 0; }
"""


def page(families: Iterable[Family], exhibits: Mapping[str, Exhibit], speeds: Speeds) -> str:
    """The whole page.

    Args:
        families: What is shown, in this order.
        exhibits: What was computed of each data set, by name.
        speeds: What was measured of each.

    Returns:
        HTML that needs no other file: style and pictures are inside.

    Raises:
        KeyError: A data set of a family has no exhibit or no speed.
    """
    families = list(families)
    first = next(iter(exhibits.values())).tiles
    links = [f'<a href="#{_anchor(family)}">{escape(family.title)}</a>' for family in families]
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<title>fdsl_gpu: gallery of data sets</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        "<header>",
        "<h1>Gallery of data sets</h1>",
        f"<p>Every image here was drawn by fdsl_gpu from an integer: {first.shape[1]} of each data "
        f"set with its own settings, {first.shape[-1]} pixels, seed 0. Where an image has one "
        "category, these are evenly spread over all.</p>",
        f'<p class="faint">Speeds are CPU time on one core ({escape(speeds.machine)}, '
        f"{escape(speeds.date)}): images of {speeds.image_size} pixels, drawn by the Numba "
        "backend. This page is made by <code>fdsl-gpu gallery</code>, and the speeds are measured "
        "again by <code>fdsl-gpu gallery --measure</code>.</p>",
        "<nav>",
        *links,
        "</nav>",
        "</header>",
        "<main>",
    ]
    for family in families:
        lines += [f'<section id="{_anchor(family)}">', f"<h2>{escape(family.title)}</h2>"]
        lines += _equation(family)
        for name, about in family.datasets.items():
            lines += _dataset(name, about, exhibits[name], speeds.us_an_image[name])
        lines += [*_origin(family), "</section>"]
    return "\n".join([*lines, "</main>", "</body>", "</html>", ""])


def _anchor(family: Family) -> str:
    """The family's first data set: a name that does not change with a title."""
    return next(iter(family.datasets))


def _equation(family: Family) -> list[str]:
    lines = [f"<div>{escape(line)}</div>" for line in family.equation]
    return ['<div class="equation">', *lines, "</div>"]


def _origin(family: Family) -> list[str]:
    sources = [f"<li>{_source(source)}</li>" for source in family.sources]
    differences = [f"<li>{escape(each)}</li>" for each in family.otherwise]
    return [
        "<h4>Source</h4>",
        "<ul>",
        *sources,
        "</ul>",
        "<h4>What the published program does otherwise, and what is done here</h4>",
        "<ul>",
        *differences,
        "</ul>",
    ]


def _source(source: Source) -> str:
    if source.repository is None:
        return f"{escape(source.paper)} ({escape(source.licence)})"
    repository = escape(source.repository)
    link = f'<a href="https://github.com/{repository}">{repository}</a>'
    return f"{escape(source.paper)}; {link}, licence {escape(source.licence)}"


def _dataset(name: str, about: str, exhibit: Exhibit, us_an_image: float) -> list[str]:
    figures = [
        f"{exhibit.num_categories:,} categories",
        _TARGETS[exhibit.target],
        f"{us_an_image:,.0f} µs an image",
    ]
    # a column at a time: a mask stays below its image however many fit side by side
    pictures = [
        "<div>" + "".join(_pictures(exhibit.tiles[:, column], name)) + "</div>"
        for column in range(exhibit.tiles.shape[1])
    ]
    settings = [
        f"<div><dt>{escape(key)}</dt><dd>{escape(_plain(value))}</dd></div>"
        for key, value in exhibit.settings.items()
    ]
    return [
        f"<h3>{escape(name)}</h3>",
        f"<p>{escape(about)}</p>",
        f'<p class="faint">{" · ".join(figures)}</p>',
        '<div class="tiles">',
        *pictures,
        "</div>",
        "<details><summary>Settings</summary>",
        "<dl>",
        *settings,
        "</dl>",
        "</details>",
    ]


def _pictures(tiles: Tensor, name: str) -> Iterable[str]:
    """An image and, where there is one, its mask."""
    height, width = tiles.shape[-2:]
    for tile, what in zip(tiles, ("image", "mask"), strict=False):
        source = f"data:image/png;base64,{base64.b64encode(_png(tile)).decode()}"
        alt = f"{what} of {escape(name)}"
        yield f'<img width="{width}" height="{height}" alt="{alt}" src="{source}">'


def _png(tile: Tensor) -> bytes:  # [3, H, W]
    image = Image.fromarray(tile.permute(1, 2, 0).numpy())
    if bool((tile == tile[:1]).all()):
        image = image.convert("L")
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _plain(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_plain, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
