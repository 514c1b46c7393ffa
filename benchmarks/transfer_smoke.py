"""Does pre-training on fractals still help? The smallest check that would notice if not.

    python benchmarks/transfer_smoke.py              # 3 minutes; fails if nothing is gained
    python benchmarks/transfer_smoke.py --shuffled   # with labels at random: it must fail

A small model learns 50 categories from 12,800 fractals and is fine-tuned for 20 steps on ten digits
of each class; the same model from random weights sees the same digits. Three seeds.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import tyro
from transfer import TransferConfig, finetuning, pretrain_arm, pretraining, run_cell

from fdsl_gpu.fitting import Pictures
from fdsl_gpu.targets import load_target

LEAST_GAIN = 2.0
"""Points of top-1 that pre-training must bring."""


def main(shuffled: bool = False) -> int:
    """Run the check.

    Args:
        shuffled: Pre-train on labels at random.
    """
    started = time.perf_counter()
    torch.set_num_threads(1)
    config = TransferConfig(steps=(20,), lr=(3e-3,), categories=50, images=12_800, val_per_class=1)
    gains = []
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "fractals.safetensors"
        run = replace(pretraining(config), val_size=500)
        told = pretrain_arm(run, weights, shuffled=shuffled)
        print(f"pre-trained: {told['held_out_top1']:.1f} % of held-out fractals, chance is 2 %")
        target = load_target("mnist-5k")
        pictures = Pictures(target, finetuning(config, 0, None), training=False)
        for seed in range(3):
            score = {}
            for arm, path in (("fractals", weights), ("scratch", None)):
                settings = finetuning(config, seed, path)
                (row,) = run_cell(config, pictures, 10, seed, arm, settings)
                score[arm] = row["test_top1"]
            gains.append(score["fractals"] - score["scratch"])
            print(f"seed {seed}: {score['fractals']:.1f} % against {score['scratch']:.1f} %")
    gain = float(np.mean(gains))
    verdict = "helps" if gain >= LEAST_GAIN else "does not help"
    print(
        f"pre-training {verdict}: {gain:+.1f} points, at least {LEAST_GAIN:+.1f} wanted "
        f"({time.perf_counter() - started:.0f} s, {time.process_time():.0f} s of CPU time)"
    )
    return 0 if gain >= LEAST_GAIN else 1


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
