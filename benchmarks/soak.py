"""Does memory stay flat over 20,000 batches? It fails if it does not.

    python benchmarks/soak.py                  # some minutes; results/soak.csv and soak.png
    python benchmarks/soak.py --batches 2000

A stream is drawn batch by batch through FormulaLoader, as a training loop does, with the sizes of
its batches and its canvases changed now and then, so that what a drawing keeps for itself is let go
and made anew. The resident memory of the process is noted every hundredth of the way; the run fails
if the median of the last tenth is more than 8 MB above that of the second tenth.
"""

from __future__ import annotations

import csv
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import tyro

from fdsl_gpu import FormulaLoader, FormulaStream

RESULTS = Path(__file__).parent / "results"
ALLOWED = 8 * 2**20
"""Bytes."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Args:
        batches: Batches in all.
        batch_size: Images of a batch.
        output: Folder of soak.csv and soak.png.
    """

    batches: int = 20_000
    batch_size: int = 16
    output: Path = RESULTS


def resident() -> int:
    """Resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(config: Config) -> int:
    """Draw, note the memory, and judge it."""
    torch.set_num_threads(1)
    noted: list[tuple[int, int]] = []
    part = max(1, config.batches // 100)
    done = 0
    while done < config.batches:
        # another canvas, another data set and another number of images for each part in turn
        turn, count = done // part, min(part, config.batches - done)
        batch_size = config.batch_size + turn % 3
        stream = FormulaStream(
            ("fractaldb-1k", "fractaldb-1k-color")[turn % 2],
            batch_size,
            image_size=(64, 96, 112)[turn % 3],
            num_samples=count * batch_size,
        )
        for _ in FormulaLoader(stream, mean=(0.2,) * 3, std=(0.5,) * 3):
            done += 1
        noted.append((done, resident()))
    config.output.mkdir(parents=True, exist_ok=True)
    path = config.output / "soak.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["batches", "resident_mb"])
        writer.writerows((count, f"{memory / 2**20:.1f}") for count, memory in noted)
    plot(path, config.output / "soak.png")
    memory = np.array([memory for _, memory in noted])
    tenth = max(1, len(memory) // 10)
    grown = float(np.median(memory[-tenth:]) - np.median(memory[tenth : 2 * tenth]))
    verdict = "flat" if grown <= ALLOWED else "GROWING"
    print(f"{verdict}: {grown / 2**20:+.1f} MB over {config.batches:,} batches, 8 allowed")
    return 0 if grown <= ALLOWED else 1


def plot(source: Path, path: Path) -> None:
    """Memory over batches, from the CSV alone."""
    with source.open() as file:
        rows = list(csv.DictReader(file))
    figure, axes = plt.subplots(figsize=(6, 2.6))
    axes.plot([int(row["batches"]) for row in rows], [float(row["resident_mb"]) for row in rows])
    axes.set(xlabel="batches", ylabel="resident memory, MB", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, description=__doc__)))
