"""A model of drawing fractaldb-1k on a GPU: counted work over data-sheet rates. Not a measurement.

    python benchmarks/gpu_model.py      # prints the tables of docs/performance-gpu.md

Work is counted: instructions in the machine code (tests/compiled/ifs_gate.py holds the budgets),
points, bytes. Rates are data sheets', and where those are silent, the assumptions named below.
benchmarks/gpu.py measures what this predicts.
"""

from __future__ import annotations

from dataclasses import dataclass

POINTS = 196 * 1024
BURN_IN = 16 * 1024
# instructions a point, a step without a point, a pixel (prologue included), a pair of steps' words
WALK, BURN, PIXEL, WORDS = 37.4, 27.0, 58.0, 78.0
LANES = 128
"""float32 and integer instructions of all threads a clock and multiprocessor."""
ISSUE = 0.5
"""Share of that rate which is reached: assumed."""
ATOMICS = {"good": 1.0, "bad": 0.25}
"""Integer maxima on scattered addresses a clock and L2 slice: assumed, from one to one in four."""
L2_BYTES = 32
"""Bytes a clock and L2 slice: assumed, half of what the A100's white paper gives."""
DRAM_SHARE = 0.8
"""Share of the memory's data-sheet rate that a stream of writes reaches: assumed."""
SCRATCH = 2 / 3
"""Share of the L2 cache that a chunk's scratch may take, as in fdsl_gpu.backends.triton."""
LAUNCH_US = 4 * 4.0
"""Gaps between the four launches of a chunk on the device: assumed 4 us each."""


@dataclass(frozen=True)
class Gpu:
    """Data-sheet figures."""

    name: str
    multiprocessors: int
    clock_ghz: float
    l2_mb: float
    l2_slices: int
    memory_gb_s: float


# the H100's sheet names no slices: as many as the A100's are assumed, and 1.7 GHz under load
GPUS = (
    Gpu("A100 SXM 40 GB", 108, 1.41, 40, 80, 1555),
    Gpu("H100 SXM", 132, 1.7, 50, 80, 3350),
)


def stages(gpu: Gpu, size: int, value_bytes: int, atomics: float) -> dict[str, float]:
    """Microseconds an image of each stage, the whole GPU at work on a chunk."""
    instructions = gpu.multiprocessors * LANES * gpu.clock_ghz * 1e3 * ISSUE  # a us
    slices = gpu.l2_slices * gpu.clock_ghz * 1e3  # clocks of all slices a us
    cells, pixels = (size + 3) ** 2, (-(-size // 32) * 32) ** 2
    # a tile of 32 x 32 reads 34 x 34 keys
    keys = 4 * pixels * (34 / 32) ** 2
    written = 3 * value_bytes * size**2
    chunk = max(1, int(SCRATCH * gpu.l2_mb * 2**20 / (4 * cells + 8 * 212)))
    return {
        "words": 106 * WORDS / instructions,
        "clear": 4 * cells / (slices * L2_BYTES),
        "walk": max(
            (POINTS * WALK + BURN_IN * BURN) / instructions,
            POINTS / (slices * atomics),
        ),
        "resolve": max(
            pixels * PIXEL / instructions,
            (keys + written) / (slices * L2_BYTES),
            written / (gpu.memory_gb_s * 1e3 * DRAM_SHARE),
        ),
        "launches": LAUNCH_US / chunk,
    }


def main() -> None:
    """Print the tables."""
    titles = ["words", "clear", "walk", "resolve", "launches", "sum", "images/s"]
    print("| GPU | size | atomics | " + " | ".join(titles) + " |")
    print("|---" * (3 + len(titles)) + "|")
    for gpu in GPUS:
        for size in (224, 362):
            for name, rate in ATOMICS.items():
                parts = stages(gpu, size, 2, rate)
                total = sum(parts.values())
                values = " | ".join(f"{part:.3f}" for part in parts.values())
                images = f"{round(1e6 / total, -3):,.0f}"
                print(f"| {gpu.name} | {size} | {name} | {values} | {total:.2f} | {images} |")
    print()
    print("| a model trains at, images/s | " + " | ".join(f"{gpu.name}" for gpu in GPUS) + " |")
    print("|---" * (1 + len(GPUS)) + "|")
    for rate in (1000, 3000, 10000):
        shares = []
        for gpu in GPUS:
            low, high = (
                sum(stages(gpu, 224, 2, ATOMICS[name]).values()) * rate / 1e4
                for name in ("good", "bad")
            )
            shares.append(f"{low:.1f}–{high:.1f} %")
        print(f"| {rate:,} | " + " | ".join(shares) + " |")


if __name__ == "__main__":
    main()
