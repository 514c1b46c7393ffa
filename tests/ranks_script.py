"""What test_ranks.py starts under torchrun: pre-train, then save each batch of a loader."""

import argparse
import dataclasses
import json
import os
from pathlib import Path

import torch
from torch import distributed

from fdsl_gpu import FormulaLoader, FormulaStream, get_dataset
from fdsl_gpu.augment import Augmentation
from fdsl_gpu.pretrain import PretrainConfig, pretrain

GLOBAL_BATCH = 8
SPEC = get_dataset("fractaldb-1k").replace(num_points=2048)
CONFIG = PretrainConfig(
    model="test_vit",  # no BatchNorm and no dropout: nothing depends on how a batch is split
    model_settings={},
    image_size=32,
    dataset_settings={"num_points": 2_000, "num_walks": 256, "num_categories": 4},
    batch_size=8,
    clip_grad=1.0,
    epochs=2,
    epoch_size=32,
    val_size=12,
    warmup_epochs=0.5,
    mixup=0.0,
    cutmix=0.0,
    log_interval=1,
    checkpoint_interval=4,
    device="cpu",
)


def make_loader():
    """Two epochs of 40 are 10 steps; everything random about a sample is in it."""
    rank_count = distributed.get_world_size() if distributed.is_initialized() else 1
    stream = FormulaStream(SPEC, GLOBAL_BATCH // rank_count, image_size=16, num_samples=40)
    return FormulaLoader(stream, augment=Augmentation("rand-m9", mixup_alpha=0.8, erase_prob=0.5))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--die-at", type=int, default=-1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pretrain(dataclasses.replace(CONFIG, output=args.folder / "run"))

    # a second group needs keys of its own in torchrun's store
    store = distributed.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    distributed.init_process_group(
        "gloo", store=distributed.PrefixStore("batches", store), rank=rank, world_size=world_size
    )
    loader = make_loader()
    saved = args.folder / "state.json"
    if saved.exists():
        loader.load_state_dict(json.loads(saved.read_text()))
    step = loader.state_dict()["position"] // GLOBAL_BATCH
    while step < 10:
        for images, target in loader:
            if rank == 1 and step == args.die_at:
                os._exit(3)
            # every rank is at the same step
            total = torch.tensor([step])
            distributed.all_reduce(total)
            assert total == step * world_size
            torch.save((images, target), args.folder / f"step{step}-rank{rank}.pt")
            distributed.barrier()
            if rank == 0:
                saved.write_text(json.dumps(loader.state_dict()))
            step += 1
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
