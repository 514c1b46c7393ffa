"""A Gaussian blur over 3x3 pixels in whole numbers, so that all backends round alike.

A pixel is weighed with its eight neighbours by products of (w, 256 - 2w, w), in units of 2**-16,
and rounded once, as OpenCV blurs bytes; beyond an edge, the image is mirrored about its last pixel.

Source: Anderson and Farrell, Improving Fractal Pre-training, WACV 2022, section 3.3; its program
(fractal-pretraining: generator.py) blurs half of all images, whatever its own setting blur_p says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["blur_weights", "blurred"]


def blur_weights(words: NDArray[np.uint32], share: float) -> NDArray[np.int32]:
    """The weight w of each image; 0 for those that are not blurred.

    Args:
        words: Random words: whether, and how much, [2, N].
        share: Share of the images that are blurred, in [0, 1], with sigma uniform in [0.5, 1).

    Returns:
        Whole numbers in [27, 70], or 0. Shape [N].
    """
    # coarse steps: the last bit of an exponential may differ between C libraries
    sigma = 0.5 + (words[1] >> np.uint32(23)) / 1024
    side = np.exp(-0.5 / sigma**2)
    weight = np.rint(256 * side / (1 + 2 * side)).astype(np.int32)
    return np.where(words[0] < share * 2.0**32, weight, np.int32(0))


def blurred(image: NDArray[np.uint8], weight: int) -> NDArray[np.uint8]:  # [C, H, W]
    """The image blurred with this weight; as it is where that is 0."""
    wide = np.pad(image, ((0, 0), (1, 1), (1, 1)), "reflect").astype(np.int32)
    middle = 256 - 2 * weight
    lines = weight * (wide[:, :, :-2] + wide[:, :, 2:]) + middle * wide[:, :, 1:-1]
    sums = weight * (lines[:, :-2] + lines[:, 2:]) + middle * lines[:, 1:-1]
    return ((sums + 2**15) >> 16).astype(np.uint8)
