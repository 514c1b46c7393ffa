"""Cameras around a 3D fractal: where they stand, and maps of space seen by them.

A camera at distance 4 looks at the origin; its vertical field of view is 45 degrees. A map of space
is conjugated so that it acts on (X, Y, depth) of a camera: a point's pixel is X / depth plus the
image's centre, and nothing else is to be done for each point.

Everything is + - * / and square roots in float64, as in `fdsl_gpu.formulas.view`.

Source: the published renderer (CVPR2022-Pretrained-ViT-PyTorch, exfractaldb_render).
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fdsl_gpu.formulas.view import TURN_STEPS, circle
from fdsl_gpu.rng import below, uniform

__all__ = ["FAR", "NEAR", "NUM_VIEWS", "Jitter", "equator", "random_rotations", "seen"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt32 = NDArray[np.uint32]
Jitter = Literal["degrees", "radians", "none"]

DISTANCE: Final = 4.0
FOCAL: Final = 1 + math.sqrt(2)
"""1 / tan(22.5 degrees): half the field of view."""
NEAR: Final = 1.0
"""Points nearer than this, or farther than FAR, are not drawn."""
FAR: Final = 100.0
NUM_VIEWS: Final = 12
"""Cameras on the equator, 30 degrees apart."""
# cosines and sines of 0, 30, .. 330 degrees
_HALF: Final = math.sqrt(3) / 2
_COS: Final = np.array([1, _HALF, 0.5, 0, -0.5, -_HALF, -1, -_HALF, -0.5, 0, 0.5, _HALF])
_SIN: Final = _COS[(np.arange(NUM_VIEWS) - 3) % NUM_VIEWS]
_IDENTITY: Final = np.array([[1.0, 0.0, 0.0, 1.0, 0.0, 0.0]])
# the published jitter is uniform(-pi, pi) but is read as degrees; as steps of the table of turns
_JITTER_STEPS: Final = {
    "degrees": round(math.pi / 360 * TURN_STEPS),
    "radians": TURN_STEPS // 2,
    "none": 0,
}


def equator(
    view: Int64,  # [N]
    words: UInt32,  # [N]
    jitter: Jitter,
) -> tuple[Float64, Float64]:
    """Rotations of the published cameras, all about the y axis.

    Args:
        view: Which of the 12 cameras, 30 degrees apart; the first stands at 30 degrees.
        words: A random word for each sample's jitter.
        jitter: Turn the camera by up to pi degrees as published, or pi radians as meant.

    Returns:
        Rotation matrices [N, 3, 3] and the jitter in degrees, [N].
    """
    most = _JITTER_STEPS[jitter]
    steps = below(words, 2 * most + 1) - most
    table_cos, table_sin = circle()
    cos, sin = table_cos[steps % TURN_STEPS], table_sin[steps % TURN_STEPS]
    base = (view + 1) % NUM_VIEWS
    cos, sin = _COS[base] * cos - _SIN[base] * sin, _SIN[base] * cos + _COS[base] * sin
    rotation = np.zeros((len(view), 3, 3))
    rotation[:, 0, 0], rotation[:, 0, 2] = cos, sin
    rotation[:, 1, 1] = 1
    rotation[:, 2, 0], rotation[:, 2, 2] = -sin, cos
    return rotation, steps.astype(np.float64) * (360 / TURN_STEPS)


def random_rotations(words: UInt32) -> Float64:  # [3, N] -> [N, 3, 3]
    """Uniform rotations, from uniform unit quaternions.

    Source:
        Shoemake, Uniform Random Rotations, Graphics Gems III, 1992, section III.6.
    """
    share = uniform(words[0])
    cos, sin = circle()
    turn = below(words[1:], TURN_STEPS)
    inner, outer = np.sqrt(1 - share), np.sqrt(share)
    x, y = inner * sin[turn[0]], inner * cos[turn[0]]
    z, w = outer * sin[turn[1]], outer * cos[turn[1]]
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def seen(
    maps: Float64,  # [N, M, 12]
    frames: Float64,  # [N, 4]
    rotation: Float64,  # [N, 3, 3]
    size: int,
    affine: Float64 | None = None,  # [N, 6]
) -> tuple[Float32, Float32, Float32]:
    """Conjugate maps of space so that they act on (X, Y, depth) of a camera.

    Args:
        maps: Coefficients, weights included.
        frames: Scale and shift that normalise each sample.
        rotation: Of each camera: it stands at 4 * rotation (1, 0, 0), with rotation (0, 1, 0) up.
        size: Side of the canvas, whose rows count upwards, as the published frame buffer's do.
        affine: From pixels of the canvas to the pixels that are drawn; None where they are the
            same.

    Returns:
        Maps [N, M, 12], images of the origin [N, 3], and what is added to (X, Y) / depth, [N, 2];
        all float32 and without negative zeros.
    """
    # camera axes as rows: to the right, up, and from the camera to the origin
    camera = np.stack([-rotation[:, :, 2], rotation[:, :, 1], -rotation[:, :, 0]], 1)
    screen = np.zeros((len(maps), 3, 3))
    inverse = np.zeros_like(screen)
    zoom, centre = FOCAL * size / 2, size / 2
    offset = np.full((len(maps), 2), centre)
    p, q, r, s, t, u = (_IDENTITY if affine is None else affine).T
    offset[:, 0], offset[:, 1] = p * centre + q * centre + t, r * centre + s * centre + u
    area = p * s - q * r
    screen[:, 0, 0], screen[:, 0, 1] = zoom * p, zoom * q
    screen[:, 1, 0], screen[:, 1, 1] = zoom * r, zoom * s
    inverse[:, 0, 0], inverse[:, 0, 1] = s / (area * zoom), -q / (area * zoom)
    inverse[:, 1, 0], inverse[:, 1, 1] = -r / (area * zoom), p / (area * zoom)
    screen[:, 2, 2] = inverse[:, 2, 2] = 1
    # a point v of space is seen at linear v + origin
    scale, shift = frames[:, :1, None], frames[:, 1:, None]
    base = _product(screen, camera)
    origin = _product(base, shift)
    origin[:, 2] += DISTANCE
    linear = scale * base
    back = _product(camera.swapaxes(1, 2), inverse) / scale
    matrices = maps[:, :, :9].reshape(*maps.shape[:2], 3, 3)
    conjugate = _product(_product(linear[:, None], matrices), back[:, None])
    moved = _product(linear[:, None], maps[:, :, 9:, None])
    moved += origin[:, None] - _product(conjugate, origin[:, None])
    result = np.concatenate([conjugate.reshape(*maps.shape[:2], 9), moved[..., 0]], 2)
    # -0.0 + 0.0 is 0.0: a backend may then compare the bits of floats as unsigned integers
    zero = np.float32(0)
    return (
        result.astype(np.float32) + zero,
        origin[:, :, 0].astype(np.float32) + zero,
        offset.astype(np.float32) + zero,
    )


def _product(left: Float64, right: Float64) -> Float64:  # [..., 3, 3] x [..., 3, C]
    """Matrix products, term by term: a library's product may round otherwise elsewhere."""
    return (
        left[..., :, 0:1] * right[..., 0:1, :]
        + left[..., :, 1:2] * right[..., 1:2, :]
        + left[..., :, 2:3] * right[..., 2:3, :]
    )
