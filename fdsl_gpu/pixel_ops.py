"""The operations of RandAugment and colour jitter on batches of 8-bit images, each sample its own.

They give the bytes that PIL gives (geometry: bilinear, to a level), which is what the published
recipes were tuned with; and between two operations an image is rounded to bytes, as PIL's is. Each
operation is applied at once to all samples that drew it. (kornia's functional forms mean something
else: its brightness adds, its contrast is PIL's brightness, its shear has another centre.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

__all__ = ["OPS", "apply_ops"]

OPS: Final = (
    "identity",
    "auto_contrast",
    "equalize",
    "invert",
    "posterize",  # argument: mask of the bits that are kept
    "solarize",  # threshold in levels
    "solarize_add",  # levels added below 128
    "color",  # factor, 1 for no change; so the next three
    "contrast",
    "brightness",
    "sharpness",
    "rotate",  # degrees, counterclockwise
    "shear_x",  # pixels a row
    "shear_y",  # pixels a column
    "translate_x",  # share of the width, to the left
    "translate_y",  # share of the height, upwards
)
"""Names by code."""
_FIRST_WARP: Final = OPS.index("rotate")


def apply_ops(
    images: Tensor,  # [N, C, H, W] uint8
    codes: NDArray[np.int64],  # [N]
    arguments: NDArray[np.float64],  # [N]
    fill: Tensor,  # [C] uint8
) -> Tensor:  # [N, C, H, W] uint8
    """Apply one operation to each image.

    Args:
        images: Levels, left as they are.
        codes: Positions in `OPS`, on the host, so that no operation waits for the device.
        arguments: What each operation asks for; see `OPS`.
        fill: Levels of what a geometric operation brings into view.
    """
    images = images.clone()
    warped = codes >= _FIRST_WARP
    for code in np.unique(codes[~warped & (codes > 0)]):
        (chosen,) = np.nonzero(codes == code)
        rows = torch.from_numpy(chosen).to(images.device)
        values = torch.from_numpy(arguments[chosen].astype(np.float32)).to(images.device)
        images[rows] = _FUNCTIONS[OPS[code]](images[rows], values.view(-1, 1, 1, 1))
    if warped.any():
        (chosen,) = np.nonzero(warped)
        rows = torch.from_numpy(chosen).to(images.device)
        matrices = _matrices(codes[chosen], arguments[chosen], *images.shape[-2:])
        images[rows] = _warp(images[rows], matrices, fill)
    return images


def _auto_contrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to the full range."""
    low = images.amin((2, 3), keepdim=True).double()
    high = images.amax((2, 3), keepdim=True).double()
    # not 255 / tensor, which PyTorch rounds twice: once for 1 / tensor
    scale = torch.full_like(low, 255) / (high - low)
    levels = torch.arange(256, device=images.device, dtype=torch.float64).view(1, 1, 1, 256)
    stretched = (levels * scale + -low * scale).clamp(0, 255)
    return _look_up(images, torch.where(high > low, stretched, levels).to(torch.uint8))


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    """Make each channel's histogram as even as one table of levels can."""
    num, channels, height, width = images.shape
    pixels = images.reshape(num * channels, -1).long()
    counts = torch.zeros(num * channels, 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(1, pixels, torch.ones_like(pixels))
    levels = torch.arange(256, device=images.device)
    last = (levels * (counts > 0)).amax(1, keepdim=True)
    step = (height * width - counts.gather(1, last)) // 255
    below = counts.cumsum(1) - counts
    table = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step > 0, table, levels)
    return _look_up(images, table.to(torch.uint8).view(num, channels, 1, 256))


def _look_up(images: Tensor, table: Tensor) -> Tensor:  # [N, C, 1, 256]
    return table.flatten(1, 2).gather(2, images.flatten(2).long()).view(images.shape)


def _invert(images: Tensor, _: Tensor) -> Tensor:
    return 255 - images


def _posterize(images: Tensor, mask: Tensor) -> Tensor:
    return images & mask.to(torch.uint8)


def _solarize(images: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(images < threshold.to(torch.int16), images, 255 - images)


def _solarize_add(images: Tensor, added: Tensor) -> Tensor:
    brighter = (images.to(torch.int16) + added.to(torch.int16)).clamp(max=255)
    return torch.where(images < 128, brighter.to(torch.uint8), images)


def _color(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(_gray(images), images, factor)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    mean = _gray(images).mean((1, 2, 3), keepdim=True, dtype=torch.float64)
    return _blend((mean + 0.5).floor(), images, factor)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(torch.zeros_like(factor), images, factor)


def _sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Away from, or towards, the image smoothed by a 3x3 kernel; the border stays as it is."""
    levels = images.to(torch.int16)
    rows = levels[:, :, :-2] + levels[:, :, 1:-1] + levels[:, :, 2:]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * levels[:, :, 1:-1, 1:-1]
    smooth = images.float()
    smooth[:, :, 1:-1, 1:-1] = (sums / 13 + 0.5).floor()
    return _blend(smooth, images, factor)


def _gray(images: Tensor) -> Tensor:  # [N, 1, H, W] int32
    """Luma in the fixed point of PIL."""
    if images.shape[1] == 1:
        return images.int()
    red, green, blue = images.int().chunk(3, 1)
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def _blend(start: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    start = start.float()
    return (start + factor * (images - start)).clamp(0, 255).to(torch.uint8)


_FUNCTIONS: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": _color,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
}


def _matrices(
    codes: NDArray[np.int64], arguments: NDArray[np.float64], height: int, width: int
) -> NDArray[np.float64]:  # [N, 6]
    """Where pixel (x, y) comes from: (a x + b y + c, d x + e y + f)."""
    matrices = np.zeros((len(codes), 6))
    matrices[:, [0, 4]] = 1
    for matrix, code, argument in zip(matrices, codes, arguments, strict=True):
        match OPS[code]:
            case "rotate":
                cos, sin = np.cos(np.radians(argument)), np.sin(np.radians(argument))
                x, y = width / 2, height / 2
                matrix[:] = cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y
            case "shear_x":
                matrix[1] = argument
            case "shear_y":
                matrix[3] = argument
            case "translate_x":
                matrix[2] = argument * width
            case "translate_y":
                matrix[5] = argument * height
    return matrices


def _warp(images: Tensor, matrices: NDArray[np.float64], fill: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    a, b, c, d, e, f = (
        torch.from_numpy(matrices.astype(np.float32)).to(images.device).T.view(6, -1, 1, 1)
    )
    x = (torch.arange(width, device=images.device) + 0.5).view(1, 1, -1)
    y = (torch.arange(height, device=images.device) + 0.5).view(1, -1, 1)
    x, y = a * x + b * y + c, d * x + e * y + f
    grid = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], -1)
    moved = grid_sample(images.float(), grid, "bilinear", "border", align_corners=False)
    # PIL truncates; a little above, so that a flat area keeps its level whatever the rounding
    levels = (moved + 2**-8).clamp(max=255).to(torch.uint8)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return torch.where(inside[:, None], levels, fill.view(-1, 1, 1))
