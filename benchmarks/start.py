"""How long until the first batch is there, and what other instruction sets make of the walks.

    python benchmarks/start.py     # two minutes; results/start.csv

Each row is a process of its own. `warm` has what Numba compiled in an earlier process, `cold` has
nothing; the clock starts after `import torch`, since every training script pays for that anyway.
The instruction sets are what Numba is told that the CPU has: its name, and its features, without
which Numba would go on with all that are there.
"""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro
from csv_tables import write_rows

from fdsl_gpu.bench import device_name

RESULTS = Path(__file__).parent / "results"
SSE = "+cx16,+popcnt,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2"
CPUS: dict[str, dict[str, str]] = {
    "this machine's own": {},
    "AVX2": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": f"{SSE},+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe",
    },
    "SSE4.2": {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": SSE},
}

# times itself: the first batch, and then the CPU time of an image over many batches
CHILD = """
import json, sys, time
import torch
start = time.perf_counter()
from fdsl_gpu import FormulaStream
torch.set_num_threads(1)
stream = iter(FormulaStream("fractaldb-1k", batch_size=64, image_size=224, backend="numba"))
next(stream)
first = time.perf_counter() - start
times = []
for _ in range(int(sys.argv[1])):
    spent = time.thread_time()
    next(stream)
    times.append((time.thread_time() - spent) / 64 * 1e6)
print(json.dumps([first, sorted(times)[len(times) // 2]]))
"""


@dataclass(frozen=True)
class Config:
    """Settings.

    Args:
        output: Folder of start.csv.
        batches: Batches of 64 images whose CPU time is measured in each process.
    """

    output: Path = RESULTS
    batches: int = 30


def child(cache: str, cpu: dict[str, str], batches: int) -> tuple[float, float]:
    """Seconds to the first batch in a new process, and microseconds of an image after it."""
    env = os.environ | cpu | {"NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", CHILD, str(batches)]
    told = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    first, image = json.loads(told)
    return first, image


def main(config: Config) -> None:
    """Run the processes and write the table."""
    rows = []
    for name, cpu in CPUS.items():
        with tempfile.TemporaryDirectory() as cache:
            cold, _ = child(cache, cpu, 1)
            runs = [child(cache, cpu, config.batches) for _ in range(3)]
        warm, image = (sorted(values)[1] for values in zip(*runs, strict=True))
        rows.append(
            {
                "instructions": name,
                "first_batch_cold_s": f"{cold:.2f}",
                "first_batch_warm_s": f"{warm:.2f}",
                "image_us": f"{image:.1f}",
                "dataset": "fractaldb-1k",
                "image_size": 224,
                "batch": 64,
                "threads": 1,
                "device": device_name(),
                "date": datetime.date.today().isoformat(),
            }
        )
        print(
            f"{name:20} first batch {cold:.2f} s cold, {warm:.2f} s warm (median of 3); "
            f"{image:.0f} us an image",
            flush=True,
        )
    write_rows(config.output / "start.csv", list(rows[0]), rows)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
