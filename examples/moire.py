"""Moiré patterns: two gratings over each other, a category for each pair of their frequencies."""

from dataclasses import dataclass

import numpy as np

from fdsl_gpu.formulas.base import PlainInstance
from fdsl_gpu.formulas.labels import balanced_labels
from fdsl_gpu.rng import Purpose, philox, uniform


@dataclass(frozen=True)
class Moire:
    """Categories are pairs of frequencies; angles and phases are drawn for each image.

    Args:
        num_frequencies: Frequencies of a grating; the square of it is the number of categories.
    """

    num_frequencies: int = 5

    target = "class"  # a sample has a label
    channels = 1  # it is gray

    @property
    def num_classes(self):
        return self.num_frequencies**2

    def instance(self, indices, seed, view):
        """Who the samples are: a function of (indices, seed) alone."""
        label = balanced_labels(indices, seed, self.num_classes)
        words = philox(seed, indices, 0, Purpose.INSTANCE)  # four random words a sample
        angle, phase = uniform(words[:2], 0, np.pi), uniform(words[2:], 0, 2 * np.pi)
        pair = np.stack(np.divmod(label, self.num_frequencies))  # [2, N]
        values = {"frequency": (6 * 1.3**pair).T, "angle": angle.T, "phase": phase.T}
        return PlainInstance(indices, label, view.image_size, values)

    def draw_numpy(self, instance, images):
        """What they look like: uint8 images [N, C, H, W], filled in place."""
        grid = (np.arange(instance.image_size) + 0.5) / instance.image_size
        x, y = np.meshgrid(grid, grid)
        for image, *gratings in zip(images, *instance.values.values(), strict=True):
            light = 1.0
            for frequency, angle, phase in zip(*gratings, strict=True):
                along = x * np.cos(angle) + y * np.sin(angle)
                light = light * (0.5 + 0.5 * np.cos(2 * np.pi * frequency * along + phase))
            image[:] = np.round(255 * light)


formula = Moire
