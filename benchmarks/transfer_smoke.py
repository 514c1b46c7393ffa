"""Does pre-training on fractals still help? The smallest check that would notice if not.

    python benchmarks/transfer_smoke.py              # 3 minutes; fails if nothing is gained
    python benchmarks/transfer_smoke.py --shuffled   # with labels at random: it must fail

A small model learns 50 categories from 12,800 fractals and is fine-tuned for 20 steps on ten digits
of each class; the same model from random weights sees the same digits. Five seeds. It fails where
the model does not tell held-out fractals apart, or where the digits gain too little on average.
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
LEAST_TOP1 = 25.0
"""Per cent of the held-out fractals of 50 categories; chance is 2."""


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
        for seed in range(5):
            score = {}
            for arm, path in (("fractals", weights), ("scratch", None)):
                settings = finetuning(config, seed, path)
                (row,) = run_cell(config, pictures, 10, seed, arm, settings)
                score[arm] = row["test_top1"]
            gains.append(score["fractals"] - score["scratch"])
            print(f"seed {seed}: {score['fractals']:.1f} % against {score['scratch']:.1f} %")
    gain = float(np.mean(gains))
    passed = gain >= LEAST_GAIN and told["held_out_top1"] >= LEAST_TOP1
    print(
        f"{'passed' if passed else 'FAILED'}: pre-training brings {gain:+.1f} points of at least "
        f"{LEAST_GAIN:+.1f}, and tells {told['held_out_top1']:.1f} % of the fractals of at least "
        f"{LEAST_TOP1:.0f} % ({time.perf_counter() - started:.0f} s, "
        f"{time.process_time():.0f} s of CPU time)"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
