"""Segmentation: a timm backbone learns the masks of SegRCDB, and a figure shows what it sees.

A row of the figure is an image, its mask, and the prediction. The backbone's weights are saved
beside it; those of a ResNet fit timm's classifier as they are. `main(model="convnext_atto")` takes
another one: any timm model that gives features at several scales.
"""

from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import save_model
from torch import nn
from torch.nn.functional import cross_entropy, interpolate, pad

from fdsl_gpu import FormulaLoader, FormulaStream, get_dataset


class SegmentationModel(nn.Module):
    """A timm backbone whose scales are added up, from the coarsest to the pixels."""

    def __init__(self, model, num_classes, width):
        super().__init__()
        self.backbone = timm.create_model(model, features_only=True, in_chans=1)
        channels = self.backbone.feature_info.channels()
        self.laterals = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in channels)
        self.pixels = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Sequential(
            nn.ReLU(), nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, num_classes)
        )

    def features(self, images):  # [N, 1, H, W] -> [N, H, W, width]
        x = None
        for lateral, scale in zip(self.laterals[::-1], self.backbone(images)[::-1], strict=True):
            x = lateral(scale) + (0 if x is None else interpolate(x, size=scale.shape[2:]))
        x = self.pixels(images) + interpolate(x, size=images.shape[2:])
        return self.norm(x).permute(0, 2, 3, 1)

    def forward(self, images):  # [N, 1, H, W] -> [N, H, W] categories
        # image by image: logits are many
        return torch.stack([self.head(pixels).argmax(2) for pixels in self.features(images)])


def judged(predicted, masks, num_classes):
    """Scores of predicted masks.

    `right` is the share of labelled pixels that are named rightly, `frequent` what naming the
    most frequent category everywhere would have, and `mean_iou` the intersection over union,
    averaged over the classes that occur.
    """
    pairs = torch.bincount((masks * num_classes + predicted).ravel(), minlength=num_classes**2)
    pairs = pairs.view(num_classes, num_classes).double()
    union = pairs.sum(0) + pairs.sum(1) - pairs.diagonal()
    occurs, labelled = pairs.sum(1) > 0, pairs.sum(1)[1:]
    return {
        "right": (pairs.diagonal()[1:].sum() / labelled.sum()).item(),
        "frequent": (labelled.max() / labelled.sum()).item(),
        "mean_iou": (pairs.diagonal() / union)[occurs].mean().item(),
    }


def figure(images, masks, predicted, num_classes):
    """A row an image: the image, its mask, the prediction; the background is black."""
    turns = torch.arange(num_classes) * 0.618 % 1
    hues = (turns[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6
    colors = (255 * (1 - (hues - 3).abs().sub(1).clamp(0, 1) * 0.8)).to(torch.uint8)
    colors[0] = 0
    gray = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    tiles = torch.stack([gray, colors[masks], colors[predicted]], 1)  # [N, 3, H, W, 3]
    tiles = pad(tiles, (0, 0, 2, 2, 2, 2), value=255).transpose(1, 2)
    sheet = tiles.flatten(0, 1).flatten(1, 2)
    height, width = sheet.shape[:2]
    return Image.fromarray(sheet.numpy()).resize((2 * width, 2 * height), Image.Resampling.NEAREST)


def main(
    model="resnet10t",
    steps=300,
    batch_size=16,
    image_size=64,
    num_pixels=512,
    width=32,
    lr=6e-3,
    num_val=64,
    seed=0,
    dtype=torch.float32,
    output=Path("segmentation.png"),
    # 254 categories, 32 contours an image and M1 as published; this is learnt in a minute
    num_categories=6,
    num_instances=12,
    mask="M3",
):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dataset = get_dataset("segrcdb").replace(
        mask=mask, num_categories=num_categories, num_instances=num_instances
    )
    num_classes = dataset.num_classes
    settings = {"image_size": image_size, "channels": 1, "device": device, "seed": seed}
    loader = FormulaLoader(
        FormulaStream(dataset, batch_size, num_samples=steps * batch_size, **settings),
        mean=(0.2,),
        std=(0.3,),
        channels_last=True,
    )
    torch.manual_seed(seed)
    net = SegmentationModel(model, num_classes, width).to(device, memory_format=torch.channels_last)
    precision = torch.autocast(device, dtype, enabled=dtype != torch.float32)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    losses = []
    for step, (images, masks) in enumerate(loader, 1):
        # neighbours say the same: some pixels of a batch teach as much as all, at less cost
        chosen = torch.randint(masks.numel(), (num_pixels * batch_size,), device=device)
        with precision:
            logits = net.head(net.features(images).flatten(0, 2)[chosen])
        loss = cross_entropy(logits.float(), masks.ravel()[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"step {step} of {steps}, loss {losses[-1]:.3f}", flush=True)
    net.eval()
    seen = []
    held_out = FormulaStream(
        dataset, batch_size, num_samples=num_val, split="val", drop_last=False, **settings
    )
    with torch.no_grad(), precision:
        for images, masks in held_out:
            seen.append((images, masks, net((images / 255 - 0.2) / 0.3)))
    images, masks, predicted = (torch.cat(parts).cpu() for parts in zip(*seen, strict=True))
    scores = judged(predicted, masks, num_classes)
    figure(images[:8], masks[:8], predicted[:8], num_classes).save(output)
    weights = output.with_suffix(".safetensors")
    save_model(net.backbone, str(weights))
    print(
        f"{steps} steps, loss {losses[-1]:.3f}; of the labelled pixels of {len(masks)} held-out "
        f"images {scores['right']:.1%} right (the most frequent category: "
        f"{scores['frequent']:.1%}), mean IoU {scores['mean_iou']:.2f}; see {output} and {weights}"
    )
    return losses, scores


if __name__ == "__main__":
    main()
