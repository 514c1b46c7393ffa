"""A training script that calls timm's public functions in the order of its train.py.

It knows nothing of fdsl_gpu. Each epoch it prints, as JSON, the labels and the losses.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

import torch
import yaml
from timm import utils
from timm.data import (
    AugMixDataset,
    FastCollateMixup,
    Mixup,
    create_dataset,
    create_loader,
    resolve_data_config,
)
from timm.loss import JsdCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.models import create_model, resume_checkpoint
from timm.optim import create_optimizer_v2

parser = argparse.ArgumentParser()
parser.add_argument("--device-modules", nargs="+", default=[])
parser.add_argument("--dataset", required=True)
parser.add_argument("--model", default="test_resnet")
parser.add_argument("--model-kwargs", nargs="*", default={}, action=utils.ParseKwargs)
parser.add_argument("--num-classes", type=int, default=1000)
parser.add_argument("--in-chans", type=int, default=3)
parser.add_argument("--batch-size", type=int, default=4)
parser.add_argument("--train-num-samples", type=int, default=12)
parser.add_argument("--val-num-samples", type=int, default=6)
parser.add_argument("--epochs", type=int, default=1)
parser.add_argument("--resume", default="")
parser.add_argument("--output", default="")
parser.add_argument("--seed", type=int, default=7)
parser.add_argument("--workers", type=int, default=0)
parser.add_argument("--grad-accum-steps", type=int, default=1)
parser.add_argument("--mixup", type=float, default=0.0)
parser.add_argument("--reprob", type=float, default=0.0)
parser.add_argument("--aa", default=None)
parser.add_argument("--aug-splits", type=int, default=0)
parser.add_argument("--aug-repeats", type=int, default=0)
parser.add_argument("--color-jitter", type=float, default=0.4)
parser.add_argument("--train-img-sizes", type=int, nargs="+", default=None)
parser.add_argument("--naflex-loader", action="store_true")
parser.add_argument("--no-prefetcher", action="store_true")
parser.add_argument("--no-aug", action="store_true")
parser.add_argument("--amp", action="store_true")
args = parser.parse_args(sys.argv[1:])
args_text = yaml.safe_dump(args.__dict__)

for module in args.device_modules:
    importlib.import_module(module)
args.device = "cpu"
device = utils.init_distributed_device(args)
utils.random_seed(args.seed, args.rank)

model = create_model(
    args.model, in_chans=args.in_chans, num_classes=args.num_classes, **args.model_kwargs
)
config = resolve_data_config({"img_size": 32, "in_chans": args.in_chans}, model=model)
mode = "RGB" if config["input_size"][0] == 3 else "L"
dataset_train = create_dataset(
    args.dataset,
    root=None,
    split="train",
    is_training=True,
    class_map="",
    download=False,
    batch_size=args.batch_size,
    seed=args.seed,
    repeats=0.0,
    input_img_mode=mode,
    input_key=None,
    num_samples=args.train_num_samples,
)
dataset_eval = create_dataset(
    args.dataset,
    split="validation",
    is_training=False,
    batch_size=args.batch_size,
    input_img_mode=mode,
    num_samples=args.val_num_samples,
)

collate_fn = mixup_fn = None
if args.mixup:
    mixup = FastCollateMixup if not args.no_prefetcher else Mixup
    mixup_fn = mixup(mixup_alpha=args.mixup, cutmix_alpha=1.0, num_classes=args.num_classes)
    if not args.no_prefetcher:
        collate_fn, mixup_fn = mixup_fn, None
common = dict(
    mean=config["mean"],
    std=config["std"],
    pin_memory=False,
    img_dtype=torch.float32,
    device=device,
    distributed=args.distributed,
    use_prefetcher=not args.no_prefetcher,
    num_workers=args.workers,
)
training = dict(
    batch_size=args.batch_size,
    is_training=True,
    no_aug=args.no_aug,
    re_prob=args.reprob,
    re_mode="pixel",
    color_jitter=args.color_jitter,
    auto_augment=args.aa,
    num_aug_repeats=args.aug_repeats,
    num_aug_splits=args.aug_splits,
)
if args.naflex_loader:
    from timm.data import create_naflex_loader

    loader_train = create_naflex_loader(
        dataset_train, train_seq_lens=(4, 9), patch_size=16, **common, **training
    )
else:
    if args.aug_splits:
        dataset_train = AugMixDataset(dataset_train, num_splits=args.aug_splits)
    sizes = {"input_size_choices": args.train_img_sizes} if args.train_img_sizes else {}
    loader_train = create_loader(
        dataset_train,
        input_size=config["input_size"],
        collate_fn=collate_fn,
        **sizes,
        **common,
        **training,
    )
loader_eval = create_loader(
    dataset_eval,
    input_size=config["input_size"],
    batch_size=args.batch_size,
    is_training=False,
    interpolation=config["interpolation"],
    crop_pct=config["crop_pct"],
    **common,
)

if args.aug_splits:
    loss_fn = JsdCrossEntropy(num_splits=args.aug_splits)
else:
    loss_fn = SoftTargetCrossEntropy() if args.mixup else LabelSmoothingCrossEntropy()
optimizer = create_optimizer_v2(model, opt="sgd", lr=0.01)
autocast = torch.autocast("cpu", torch.bfloat16, enabled=args.amp)


def set_epoch(epoch):
    # timm 1.0.28 asks the data set it made, later releases the loader's
    for each in (dataset_train, loader_train.dataset):
        if hasattr(each, "set_epoch"):
            each.set_epoch(epoch)


start_epoch = resume_checkpoint(model, args.resume, optimizer) if args.resume else 0
for epoch in range(start_epoch, args.epochs):
    set_epoch(epoch)
    model.train()
    labels, losses = [], []
    for step, (images, target) in enumerate(loader_train):
        if mixup_fn is not None:
            images, target = mixup_fn(images, target)
        labels += target.argmax(1).tolist() if target.ndim == 2 else target.tolist()
        with autocast:
            loss = loss_fn(model(images), target)
        loss.backward()
        if (step + 1) % args.grad_accum_steps == 0 or step + 1 == len(loader_train):
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert step + 1 == len(loader_train)
    model.eval()
    val_labels = []
    with torch.no_grad():
        for images, target in loader_eval:
            model(images)
            val_labels += target.tolist()
    print(
        json.dumps(
            {
                "epoch": epoch,
                "rank": args.rank,
                "labels": labels,
                "losses": losses,
                "val_labels": val_labels,
            }
        )
    )

if args.output:
    output = Path(args.output)
    utils.CheckpointSaver(
        model, optimizer, args, checkpoint_dir=output, recovery_dir=output
    ).save_checkpoint(epoch)
    (output / "args.yaml").write_text(args_text)
