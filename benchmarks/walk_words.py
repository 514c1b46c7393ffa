"""Do walks that share their random words draw other images than walks with words of their own?

One Philox call serves two steps of all walks of an image: walk w uses w * A + B (rng and
formulas.ifs). Here the same categories are drawn with those words and with a Philox word for every
(walk, step), many images each, and compared with how two halves of the independent images differ:

    hits          chi2 over dof of the pixels' hit counts, two samples of images
    area          ratio of the variances of the number of pixels hit
    correlation   ratio of the mean absolute correlations of pixel pairs
    coalescence   ratio of the mean numbers of distinct pixels under the walks' last points
    accuracy      of a small model trained on one kind of image and tested on the other

    python benchmarks/walk_words.py                 # 50 categories x 300 images, some minutes
    python benchmarks/walk_words.py --quick

The verdict compares medians over the categories with the spread of the control.
"""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
import tyro
from numba import float32, uint32, uint64
from numpy.typing import NDArray

from fdsl_gpu.backends.numba.rng import philox
from fdsl_gpu.datasets import get_dataset
from fdsl_gpu.formulas.view import View

RESULTS = Path(__file__).parent / "results"
Hits = NDArray[np.uint8]


@dataclass(frozen=True)
class Config:
    """How much is drawn.

    Args:
        num_categories: Categories of fractaldb-1k, with their own parameters (weight row 2).
        num_images: Images of a category and kind.
        image_size: Side of the canvas in pixels.
        num_points: Points of an image.
        train_steps: Batches of 64 that the small model is trained for; 0 leaves it out.
        quick: A tiny run that shows that everything works.
        output: Folder of the CSV.
    """

    num_categories: int = 50
    num_images: int = 300
    image_size: int = 96
    num_points: int = 20_480
    train_steps: int = 300
    quick: bool = False
    output: Path = RESULTS


@numba.njit(nogil=True, cache=True, error_model="numpy")
def draw(maps, thresholds, start, seed, index, shape, independent, hits):
    """Hits [S, S] of one image; returns the number of distinct pixels under the last points."""
    size, num_walks, num_steps, burn_in = shape
    last = np.zeros((size, size), np.uint8)
    for walk in range(num_walks):
        x, y = start[0], start[1]
        words = philox(seed, index, 0, 2)
        for number in range(burn_in + num_steps):
            if independent:
                # a purpose of its own, so that no word is shared with the other kind
                word = philox(seed, index | uint64(walk) << uint64(32), number, 255)[0]
            else:
                if number % 2 == 0:
                    words = philox(seed, index, number // 2, 2)
                a, b = (words[0], words[1]) if number % 2 == 0 else (words[2], words[3])
                word = uint32(uint32(uint32(walk) * uint32(a | uint32(1))) + b)
            chosen = 0
            for limit in thresholds:
                chosen += word >= limit
            m = maps[chosen]
            x, y = (
                float32(float32(float32(m[0] * x) + float32(m[1] * y)) + m[4]),
                float32(float32(float32(m[2] * x) + float32(m[3] * y)) + m[5]),
            )
            if number >= burn_in and 0 <= x < size and 0 <= y < size:
                hits[int(y), int(x)] = 1
                if number == burn_in + num_steps - 1:
                    last[int(y), int(x)] = 1
    return last.sum()


def images_of(config: Config, category: int, independent: bool) -> tuple[Hits, Any]:
    """Hits [images, S, S] of a category, and the distinct pixels under its walks' last points."""
    formula: Any = get_dataset("fractaldb-1k").replace(num_points=config.num_points).formula
    formula = formula_of_one(formula, category)
    indices = np.arange(config.num_images, dtype=np.uint64) + np.uint64(category * 10**6)
    instance = formula.instance(indices, 0, View(config.image_size))
    own = int(instance.num_maps[0])
    shape = (config.image_size, instance.num_walks, instance.num_steps, instance.burn_in)
    hits = np.zeros((len(indices), config.image_size, config.image_size), np.uint8)
    ends = np.empty(len(indices))
    for i, index in enumerate(indices):
        ends[i] = draw(
            instance.maps[i],
            instance.thresholds[i, : own - 1],
            instance.start[i],
            np.uint64(0),
            index,
            shape,
            independent,
            hits[i],
        )
    return hits, ends


def formula_of_one(formula: Any, category: int) -> Any:
    """The data set of one category with its own parameters."""
    table = formula.table.with_rows(2)
    one = {name: getattr(table, name)[[category]] for name in ("maps", "probs", "boxes")}
    return dataclasses.replace(
        formula, table=dataclasses.replace(table, **one, coverage=None), num_turns=1
    )


def compared(first: tuple[Hits, Any], second: tuple[Hits, Any], pairs: Any) -> dict[str, float]:
    """The four comparisons of two samples of images."""
    (hits1, ends1), (hits2, ends2) = first, second
    n1, n2 = len(hits1), len(hits2)
    count1, count2 = hits1.sum(0, dtype=np.int64), hits2.sum(0, dtype=np.int64)
    share = (count1 + count2) / (n1 + n2)
    seen = (share * min(n1, n2) >= 5) & ((1 - share) * min(n1, n2) >= 5)
    variance = share * (1 - share) * (1 / n1 + 1 / n2)
    chi2 = ((count1 / n1 - count2 / n2)[seen] ** 2 / variance[seen]).mean()
    area1, area2 = hits1.sum((1, 2), dtype=np.int64), hits2.sum((1, 2), dtype=np.int64)
    places = np.flatnonzero(seen)
    left, right = places[pairs % len(places)]
    correlation = [
        np.nanmean(np.abs(correlations(hits.reshape(len(hits), -1), left, right)))
        for hits in (hits1, hits2)
    ]
    return {
        "hits": float(chi2),
        "area": float(area1.var() / area2.var()),
        "correlation": float(correlation[0] / correlation[1]),
        "coalescence": float(ends1.mean() / ends2.mean()),
    }


def correlations(hits: Hits, left: Any, right: Any) -> Any:
    """Correlation over the images of each pair of pixels."""
    with np.errstate(invalid="ignore"):
        first, second = (hits[:, side].astype(np.float64) for side in (left, right))
        first, second = first - first.mean(0), second - second.mean(0)
        return (first * second).mean(0) / (first.std(0) * second.std(0))


def accuracies(config: Config, shared: list[Hits], independent: list[Hits]) -> dict[str, float]:
    """Accuracy on each kind of image of a small model trained on each, on images left out."""
    result, size = {}, 32
    data = {}
    for kind, hits in (("shared", shared), ("independent", independent)):
        images = torch.from_numpy(np.stack(hits)).float().flatten(0, 1)[:, None]
        images = torch.nn.functional.adaptive_avg_pool2d(images, size)
        labels = torch.arange(len(hits)).repeat_interleave(config.num_images)
        held_out = torch.arange(len(labels)) % 5 == 0
        data[kind] = (images[~held_out], labels[~held_out], images[held_out], labels[held_out])
    for kind, (images, labels, _, _) in data.items():
        model = train(config, images, labels, len(shared))
        for other, (_, _, test_images, test_labels) in data.items():
            with torch.no_grad():
                right = model(test_images).argmax(1) == test_labels
            result[f"{kind}_on_{other}"] = right.float().mean().item()
    return result


def train(config: Config, images: Any, labels: Any, num_classes: int) -> torch.nn.Module:
    """A small convolutional network, the same start and order for every kind of image."""
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for inside, outside in ((1, 32), (32, 64), (64, 128)):
        layers += [
            torch.nn.Conv2d(inside, outside, 3, padding=1),
            torch.nn.BatchNorm2d(outside),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
        ]
    layers += [torch.nn.Flatten(), torch.nn.Linear(128 * 16, num_classes)]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(config.train_steps):
        chosen = torch.randint(len(labels), (64,))
        loss = torch.nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def main(config: Config) -> list[dict[str, Any]]:
    """Draw, compare, write the rows and say the verdict."""
    if config.quick:
        config = dataclasses.replace(
            config, num_categories=3, num_images=20, num_points=4096, train_steps=4
        )
    pairs = np.random.default_rng(0).integers(0, 2**31, (2, 2000))
    rows: list[dict[str, Any]] = []
    kept: dict[bool, list[Hits]] = {True: [], False: []}
    half = config.num_images // 2
    for category in range(config.num_categories):
        shared = images_of(config, category, independent=False)
        own = images_of(config, category, independent=True)
        for kind, drawn in ((False, shared), (True, own)):
            kept[kind].append(drawn[0])
        halves = [
            (hits[part], ends[part]) for hits, ends in (shared, own) for part in halves_of(half)
        ]
        test = compared(halves[0], halves[3], pairs)
        control = compared(halves[2], halves[3], pairs)
        for metric, value in test.items():
            rows.append(
                {
                    "category": category,
                    "metric": metric,
                    "shared": value,
                    "control": control[metric],
                }
            )
    agreed = verdict(rows)
    if config.train_steps:
        for name, value in accuracies(config, kept[False], kept[True]).items():
            rows.append({"category": "all", "metric": name, "shared": value, "control": ""})
            print(f"accuracy {name}: {100 * value:.1f} %")
    path = config.output / "walk_words.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print("no difference found" if agreed else "A DIFFERENCE: see the rows above", f"({path})")
    return rows


def halves_of(half: int) -> tuple[slice, slice]:
    """The first and the second half of a category's images."""
    return slice(0, half), slice(half, None)


def verdict(rows: list[dict[str, Any]]) -> bool:
    """Whether the medians over the categories lie within three standard errors of the control's."""
    agreed = True
    for metric in ("hits", "area", "correlation", "coalescence"):
        own = [row for row in rows if row["metric"] == metric]
        shared, control = (np.array([row[kind] for row in own]) for kind in ("shared", "control"))
        difference = np.log(shared) - np.log(control)
        error = 1.2533 * difference.std() / len(own) ** 0.5  # of a median
        within = abs(np.median(difference)) <= 3 * error
        agreed &= bool(within)
        print(
            f"{metric:12} shared {np.median(shared):.3f}  control {np.median(control):.3f}  "
            f"log ratio {np.median(difference):+.4f} +- {error:.4f}  {'' if within else 'DIFFERS'}"
        )
    return agreed


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
