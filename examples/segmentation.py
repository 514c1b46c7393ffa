"""Segmentation: a small network learns the masks of SegRCDB, and a figure shows what it sees."""

from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy, interpolate, pad

from fdsl_gpu import FormulaLoader, FormulaStream, get_dataset


class Net(nn.Module):
    """Down by eight, and up again with what each scale saw."""

    def __init__(self, num_classes, width):
        super().__init__()
        widths = [1, width, 2 * width, 4 * width, 4 * width]
        self.down = nn.ModuleList(
            self.block(inputs, outputs, stride)
            for inputs, outputs, stride in zip(widths, widths[1:], (1, 2, 2, 2), strict=False)
        )
        self.up = nn.ModuleList(
            self.block(deep + skip, skip)
            for deep, skip in ((4 * width, 4 * width), (4 * width, 2 * width), (2 * width, width))
        )
        self.head = nn.Conv2d(width, num_classes, 1)

    @staticmethod
    def block(inputs, outputs, stride=1):
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, x):
        scales = []
        for block in self.down:
            x = block(x)
            scales.append(x)
        for block, skip in zip(self.up, scales[-2::-1], strict=True):
            x = block(torch.cat([interpolate(x, skip.shape[2:], mode="nearest"), skip], 1))
        return self.head(x)


def mean_iou(predicted, masks, num_classes):
    """Intersection over union, averaged over the classes that occur."""
    pairs = torch.bincount((masks * num_classes + predicted).ravel(), minlength=num_classes**2)
    pairs = pairs.view(num_classes, num_classes).float()
    union = pairs.sum(0) + pairs.sum(1) - pairs.diagonal()
    return (pairs.diagonal() / union)[pairs.sum(1) > 0].mean().item()


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
    steps=300,
    batch_size=16,
    image_size=64,
    width=16,
    num_categories=6,
    num_instances=12,
    mask="M3",
    output=Path("segmentation.png"),
):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # 254 categories and 32 contours an image as published; fewer are learnt in a minute
    dataset = get_dataset("segrcdb").replace(
        mask=mask, num_categories=num_categories, num_instances=num_instances
    )
    num_classes = dataset.num_classes
    settings = {"image_size": image_size, "channels": 1, "device": device}
    loader = FormulaLoader(
        FormulaStream(dataset, batch_size, num_samples=steps * batch_size, **settings),
        mean=(0.2,),
        std=(0.3,),
    )
    held_out = FormulaStream(dataset, 64, num_samples=64, split="val", **settings)
    torch.manual_seed(0)
    net = Net(num_classes, width).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    losses = []
    for images, masks in loader:
        loss = cross_entropy(net(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    images, masks = next(iter(held_out))
    net.eval()
    with torch.no_grad():
        predicted = net((images / 255 - 0.2) / 0.3).argmax(1)
    background = (masks == 0).float().mean().item()
    accuracy = (predicted == masks).float().mean().item()
    score = mean_iou(predicted, masks, num_classes)
    figure(images[:8].cpu(), masks[:8].cpu(), predicted[:8].cpu(), num_classes).save(output)
    print(
        f"{steps} steps, loss {losses[-1]:.3f}; held-out pixels {accuracy:.1%} right "
        f"({background:.1%} are background), mean IoU {score:.2f}; see {output}"
    )
    return losses, score


if __name__ == "__main__":
    main()
