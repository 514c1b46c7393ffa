import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment

from fdsl_gpu.pixel_ops import OPS, apply_ops

FILL = (10, 128, 200)
WARP = {"fillcolor": FILL, "resample": Image.Resampling.BILINEAR}
# name, our argument, timm's function and its argument
POINTWISE = [
    ("auto_contrast", 0, auto_augment.auto_contrast, None),
    ("equalize", 0, auto_augment.equalize, None),
    ("invert", 0, auto_augment.invert, None),
    ("posterize", 0b11110000, auto_augment.posterize, 4),
    ("posterize", 0b10000000, auto_augment.posterize, 1),
    ("solarize", 30, auto_augment.solarize, 30),
    ("solarize", 256, auto_augment.solarize, 256),
    ("solarize_add", 99, auto_augment.solarize_add, 99),
    *(
        (name, factor, getattr(auto_augment, name), factor)
        for name in ("color", "contrast", "brightness", "sharpness")
        for factor in (0.1, 0.19, 1.0, 1.37, 1.9)
    ),
]
GEOMETRIC = [
    ("rotate", 27.3, auto_augment.rotate),
    ("rotate", -13.3, auto_augment.rotate),
    ("shear_x", 0.27, auto_augment.shear_x),
    ("shear_y", -0.22, auto_augment.shear_y),
    ("translate_x", 0.41, auto_augment.translate_x_rel),
    ("translate_y", -0.317, auto_augment.translate_y_rel),
]


@pytest.fixture(scope="module")
def images():
    """Noise, gradients, sparse grey on black, and a flat image: uint8 [6, 3, 41, 53]."""
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.uniform(20, 200, (2, 3, 5, 5)))
    smooth = torch.nn.functional.interpolate(coarse, size=(41, 53), mode="bilinear")
    sparse = 127 * (random.random((2, 1, 41, 53)) < 0.2).repeat(3, 1)
    noise = random.integers(0, 256, (1, 3, 41, 53))
    parts = [noise, smooth.numpy(), sparse, np.full((1, 3, 41, 53), 77)]
    return torch.from_numpy(np.concatenate(parts).astype(np.uint8))


def by_pil(images, function, *arguments, **keywords):
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    results = [np.array(function(picture, *arguments, **keywords)) for picture in pictures]
    return torch.from_numpy(np.stack(results)).permute(0, 3, 1, 2)


def ours(images, name, argument):
    count = len(images)
    codes, arguments = np.full(count, OPS.index(name)), np.full(count, float(argument))
    return apply_ops(images, codes, arguments, torch.tensor(FILL, dtype=torch.uint8))


@pytest.mark.parametrize("name, argument, function, theirs", POINTWISE)
def test_levels_are_those_of_pil(images, name, argument, function, theirs):
    expected = by_pil(images, function, *([] if theirs is None else [theirs]))
    assert torch.equal(ours(images, name, argument), expected)


@pytest.mark.parametrize("name, argument, function", GEOMETRIC)
def test_geometry_is_that_of_pil_to_a_level(images, name, argument, function):
    expected = by_pil(images, function, argument, **WARP)
    difference = (ours(images, name, argument).int() - expected.int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 0.02
    assert (expected != images).any()


def test_no_bits_kept_is_black(images):
    assert not ours(images, "posterize", 0).any()


def test_each_sample_has_its_own_operation(images):
    codes, arguments = np.array([0, 3, 5, 11, 9, 11]), np.array([0.0, 0, 100, 30, 1.5, -30])
    fill = torch.tensor(FILL, dtype=torch.uint8)
    before = images.clone()
    together = apply_ops(images, codes, arguments, fill)
    assert torch.equal(images, before) and torch.equal(together[0], images[0])
    for sample in range(1, 6):
        one = slice(sample, sample + 1)
        alone = apply_ops(images[one], codes[one], arguments[one], fill)
        assert torch.equal(together[one], alone) and not torch.equal(alone, images[one])


def test_one_channel_is_as_good_as_three(images):
    gray = images[3:5, :1]
    for code in range(1, len(OPS)):
        argument = {"posterize": 192, "solarize": 90, "solarize_add": 60}.get(OPS[code], 0.3)
        fill = torch.tensor([9], dtype=torch.uint8)
        one = apply_ops(gray, np.full(2, code), np.full(2, argument), fill)
        three = apply_ops(gray.expand(-1, 3, -1, -1), np.full(2, code), np.full(2, argument), fill)
        assert torch.equal(one.expand(-1, 3, -1, -1), three)
