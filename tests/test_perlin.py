from pathlib import Path

import numpy as np
import pytest
import torch
from perlin_cases import CASES, defined, instance

from fdsl_gpu import describe, get_dataset, render
from fdsl_gpu.backends.numba.perlin import draw
from fdsl_gpu.formulas.perlin import (
    PerlinFormula,
    fade,
    frequencies,
    gradients,
    gray,
    noise,
)
from fdsl_gpu.formulas.view import View
from fdsl_gpu.rng import mix

INDICES = np.array([0, 5, 77, 2**33 + 1, 2**63 + 3], np.uint64)


def textbook_noise(instance, sample, x, y):
    """Perlin's noise at one place, in float64, as the textbook has it: corner by corner."""
    left, top = int(np.floor(x)), int(np.floor(y))
    directions = np.stack(gradients(), 1).astype(np.float64)

    def ramp(column, row):
        corner = np.array([(column + row * 0x9E3779B1) % 2**32], np.uint32)
        number = int(mix(corner, *instance.key[sample])[0] >> 28)
        return directions[number] @ (x - column, y - row)

    def blend(t):
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    across, down = blend(x - left), blend(y - top)
    upper = ramp(left, top) * (1 - across) + ramp(left + 1, top) * across
    lower = ramp(left, top + 1) * (1 - across) + ramp(left + 1, top + 1) * across
    return upper * (1 - down) + lower * down


def test_definition_is_the_textbook_noise():
    instance = PerlinFormula().instance(INDICES, 3, View(24))
    for sample in range(len(INDICES)):
        values = noise(instance, sample)
        for row, column in ((0, 0), (7, 19), (23, 11)):
            x, y = (
                (pixel + 0.5) * float(instance.step[sample, axis])
                + float(instance.phase[sample, axis])
                for axis, pixel in enumerate((column, row))
            )
            expected = textbook_noise(instance, sample, x, y)
            assert values[row, column] == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("num_octaves", [1, 3])
@pytest.mark.parametrize("image_size", [3, 31, 64, 224])
def test_numba_draws_the_definition(image_size, num_octaves):
    spec = get_dataset("perlin-100").replace(num_octaves=num_octaves)
    indices = [0, 5, 77, 2**33 + 1]
    expected, _ = render(spec, indices, image_size=image_size, backend="numpy")
    actual, _ = render(spec, indices, image_size=image_size, backend="numba")
    assert torch.equal(actual, expected)


MACHINE = """
import numpy as np
from perlin_cases import CASES, defined, instance
from fdsl_gpu.backends.numba.perlin import draw
for case in CASES:
    images = np.full_like(defined(instance(case)).numpy(), 77)
    draw(instance(case), images)
    np.testing.assert_array_equal(images, defined(instance(case)), case)
"""


@pytest.mark.parametrize("case", CASES)
def test_numba_draws_every_case(case):
    images = np.full((5, 3, *[CASES[case][0]] * 2), 77, np.uint8)
    draw(instance(case), images)
    np.testing.assert_array_equal(images, defined(instance(case)))


def test_any_machine_draws_the_definition(run_python, tmp_path):
    """A processor without AVX looks gradients up in memory."""
    run_python(
        MACHINE,
        PYTHONPATH=Path(__file__).parent,
        NUMBA_CPU_NAME="generic",
        NUMBA_CPU_FEATURES="",
        NUMBA_CACHE_DIR=tmp_path,
    )


def test_octaves_add_up():
    one = PerlinFormula().instance(INDICES, 3, View(16))
    three = PerlinFormula(num_octaves=3).instance(INDICES, 3, View(16))
    # the first octave is the same noise at four sevenths of the strength; finer ones come on top
    difference = noise(three, 0) - np.float32(4 / 7) * noise(one, 0)
    assert 0.02 < np.abs(difference).mean() < 0.2


def test_frequencies_are_those_of_the_label():
    described = describe("perlin-100", range(100))
    cells = frequencies(2, 32, 10)
    pair = np.stack(np.divmod(described["label"], 10), 1)
    np.testing.assert_array_equal(described["frequency"], cells[pair])
    # a finer frequency crosses its mean more often
    spec = get_dataset("perlin-100")
    images, labels = render(spec, range(300), image_size=96, channels=1)
    crossings = ((images[..., 1:] >= 128) != (images[..., :-1] >= 128)).float().mean((1, 2, 3))
    by_frequency = [crossings[labels // 10 == k].mean().item() for k in range(10)]
    assert by_frequency == sorted(by_frequency)


def test_gray_levels_are_within_range_and_use_it():
    images, _ = render("perlin-100", range(200), image_size=48, channels=1)
    assert abs(images.float().mean() - 127.5) < 3
    assert images.min() < 30 and images.max() > 225
    assert gray(np.array([-1, 0, 0.7071, 2], np.float32)).tolist() == [0, 128, 255, 255]


def test_gradients_are_sixteen_even_unit_vectors():
    x, y = gradients()
    angles = np.unwrap(np.arctan2(y, x))
    np.testing.assert_allclose(np.diff(angles), 2 * np.pi / 16, atol=1e-6)
    np.testing.assert_allclose(x**2 + y**2, 1, atol=1e-6)


def test_fade_is_flat_at_its_ends():
    t = np.array([0, 1e-3, 0.5, 1 - 1e-3, 1], np.float32)
    np.testing.assert_allclose(fade(t), [0, 0, 0.5, 1, 1], atol=1e-6)


def test_names_have_their_categories():
    assert get_dataset("perlin-100").num_classes == 100
    assert get_dataset("perlin-1k").num_classes == 1000


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_frequencies": 0}, r"num_frequencies must be in \[1, 256\], got 0"),
        ({"num_categories": 101}, r"num_categories must be in \[1, 100\] or left out, got 101"),
        ({"min_frequency": 0.5}, "1 <= min_frequency <= max_frequency"),
        ({"max_frequency": 1.0}, "1 <= min_frequency <= max_frequency"),
        ({"num_octaves": 9}, r"num_octaves must be in \[1, 8\], got 9"),
        ({"persistence": 0.0}, r"persistence must be in \(0, 1\], got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PerlinFormula(**settings)
