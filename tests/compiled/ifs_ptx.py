"""Run by test_triton_ptx in a process of its own: compiled PTX, executed, draws the definition."""

import dataclasses

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from fdsl_gpu.kernels.ifs import _step
from ifs_cases import (
    CASES,
    FORMATS,
    assert_same_bits,
    blank,
    defined,
    formula,
    instance,
    normalised,
    one,
)
from ptx.run import OutOfBounds
from triton_builds import NVIDIA, StandIn, replaced_kernels, run_on_cpu

from fdsl_gpu.backends.triton import ifs
from fdsl_gpu.formulas.ifs import framed, place, shade, walk, walk_words
from fdsl_gpu.formulas.view import View

TARGETS = [80, 90, 100]


@pytest.fixture(params=TARGETS, ids="sm_{}".format)
def target(request):
    return NVIDIA[request.param]


@pytest.fixture
def executed(target):
    """Launches are compiled for the target and run on the CPU."""
    with replaced_kernels(ifs, run_on_cpu(target)):
        yield


@pytest.mark.parametrize("case", CASES)
def test_ptx_draws_the_definition(executed, case):
    samples = instance(case)
    images = blank(samples)
    ifs.draw(samples, images)
    assert_same_bits(images, defined(samples))


@pytest.mark.parametrize("dtype, channels, channels_last", FORMATS, ids=str)
def test_formats_of_every_drawing(executed, dtype, channels, channels_last):
    drawings = ["patch_gray", "point_gray"]
    if channels == 3:
        drawings += ["patch_color", "point_color"]
    for drawing in drawings:
        samples = dataclasses.replace(instance("turned_and_cropped"), drawing=drawing)
        images = blank(samples, dtype, channels, channels_last)
        expected = defined(samples, channels)
        mean, std = None, None
        if dtype.is_floating_point:
            mean, std = (0.2, 0.485, 0.1)[:channels], (0.5, 0.229, 1.0)[:channels]
            expected = normalised(expected, mean, std, dtype)
        ifs.draw(samples, images, mean=mean, std=std)
        assert_same_bits(images, expected)


def test_float_images_are_in_units_of_white_unless_told_otherwise(executed):
    samples = one("mask_full")
    images = blank(samples, torch.float32)
    ifs.draw(samples, images)
    assert_same_bits(images, normalised(defined(samples), (0, 0, 0), (1, 1, 1), torch.float32))


@pytest.mark.parametrize("scratch", [1, 3 * 4 * 34**2], ids="{} bytes".format)
def test_chunks_change_no_pixel(target, scratch):
    launches = []

    def launch(build, grid, arguments):
        launches.append(build.function.__name__)
        run_on_cpu(target)(build, grid, arguments)

    samples = instance("patch_gray")
    images = blank(samples)
    with replaced_kernels(ifs, launch):
        ifs.IfsDrawing(samples, images, scratch=scratch).launch()
    assert_same_bits(images, defined(samples))
    assert len(launches) == 3 * (10 if scratch == 1 else 5)


@pytest.mark.parametrize("walks, columns, groups", [(64, 32, 1), (128, 64, 4)])
def test_blocks_and_the_order_of_threads_change_no_pixel(target, walks, columns, groups):
    samples = instance("patch_color")
    images = blank(samples)
    with replaced_kernels(ifs, run_on_cpu(target, backwards=True)):
        blocks = ifs.Blocks(walks, columns, groups)
        ifs.IfsDrawing(samples, images, blocks=blocks).launch()
    assert_same_bits(images, defined(samples))


def test_a_part_of_a_larger_tensor_is_drawn_and_nothing_else(executed):
    samples = instance("mask_full")
    whole = torch.full((5, 4, 20, 29), 0xCD, dtype=torch.uint8)
    images = whole[1:4, 1:, 2:19, 5:22]
    ifs.draw(samples, images)
    assert_same_bits(images, defined(samples))
    images[:] = 0xCD
    assert (whole == 0xCD).all()


def test_other_samples_in_the_same_buffers(executed):
    first = instance("mask_full")
    second = dataclasses.replace(first, walk_index=first.walk_index + np.uint64(1000))
    images = blank(first)
    drawing = ifs.IfsDrawing(first, images)
    drawing.load(second)
    drawing.launch()
    assert_same_bits(images, defined(second))
    assert (defined(first) != defined(second)).any()
    with pytest.raises(ValueError, match="number and settings are the same"):
        drawing.load(instance("patch_gray"))


def test_no_samples(executed):
    none = formula("patch_gray").instance(np.zeros(0, np.uint64), 0, View(31))
    ifs.draw(none, torch.empty((0, 3, 31, 31), dtype=torch.uint8))


def test_a_canvas_that_is_too_small_is_noticed(target):
    def launch(build, grid, arguments):
        if build.function.__name__ == "ifs_resolve_kernel":
            rows, canvas, *others = arguments
            arguments = [rows, canvas[: (samples.canvas_size + 3) ** 2].clone(), *others]
        run_on_cpu(target)(build, grid, arguments)

    samples = one("mask_full")
    with replaced_kernels(ifs, launch), pytest.raises(OutOfBounds, match="ifs_resolve_kernel"):
        ifs.draw(samples, blank(samples))


@pytest.mark.parametrize("drawing", ["patch_gray", "point_color"])
def test_the_largest_orders_fill_a_key(target, drawing):
    """2**27 points are allowed: keys, 16 times the order, then need all 32 bits."""
    samples = dataclasses.replace(one("patch_gray"), drawing=drawing)
    size = samples.canvas_size
    order = np.zeros((size, size), np.int32)
    order[5:9, 7:20:3] = 2**27 - np.arange(20, dtype=np.int32).reshape(4, 5)

    def launch(build, grid, arguments):
        if build.function.__name__ != "ifs_walk_kernel":
            return run_on_cpu(target)(build, grid, arguments)
        canvas = arguments[2][: (size + 3) ** 2].view(size + 3, size + 3)
        keys = order.astype(np.uint32) * np.uint32(16)
        canvas[3:, 3:] = torch.from_numpy(keys.view(np.int32))

    images = blank(samples)
    with replaced_kernels(ifs, launch):
        ifs.draw(samples, images)
    expected = np.broadcast_to(place(shade(order, samples, 0), samples, 0), images[0].shape)
    assert expected.any()
    assert_same_bits(images[0], torch.from_numpy(expected.copy()))


@pytest.mark.parametrize("case", ["continuous", "continuous_seen_askew"])
def test_every_bit_of_the_frames(target, case):
    samples = instance(case)
    with replaced_kernels(ifs, run_on_cpu(target)):
        drawing = ifs.IfsDrawing(samples, blank(samples))
        drawing.launch()
    rows = drawing._framed.view(len(samples.label), -1).numpy()
    maps = rows[:, :48].reshape(-1, 3, 8, 2).swapaxes(1, 2).reshape(-1, 8, 6)
    expected = framed(samples)
    np.testing.assert_array_equal(maps, expected.maps.view(np.int32))
    np.testing.assert_array_equal(rows[:, 56:58], expected.start.view(np.int32))


@triton.jit(do_not_specialize=["maps_ptr", "thresholds_ptr", "words_ptr", "state_ptr", "num_steps"])
def state_kernel(maps_ptr, thresholds_ptr, words_ptr, state_ptr, num_steps, BLOCK: tl.constexpr):
    """The walk without its image: where BLOCK walks from (0.5, 0.5) are after every step."""
    thresholds_ptr = thresholds_ptr.to(tl.pointer_type(tl.uint32))
    t0 = tl.load(thresholds_ptr)
    t1 = tl.load(thresholds_ptr + 1)
    t2 = tl.load(thresholds_ptr + 2)
    t3 = tl.load(thresholds_ptr + 3)
    t4 = tl.load(thresholds_ptr + 4)
    t5 = tl.load(thresholds_ptr + 5)
    t6 = tl.load(thresholds_ptr + 6)
    lane = tl.arange(0, BLOCK)
    x = tl.zeros([BLOCK], tl.float32) + 0.5
    y = tl.zeros([BLOCK], tl.float32) + 0.5
    for step in range(num_steps):
        pair = tl.load(words_ptr + step)
        x, y = _step(x, y, lane.to(tl.uint32), pair, maps_ptr, t0, t1, t2, t3, t4, t5, t6)
        tl.store(state_ptr + 2 * step * BLOCK + lane, x)
        tl.store(state_ptr + (2 * step + 1) * BLOCK + lane, y)


@pytest.mark.parametrize("case", ["patch_gray", "diverging"])
def test_every_bit_of_every_point(target, case):
    """Pixels agree even where a product and a sum are fused: compare the coordinates themselves."""
    samples = instance(case)
    samples = dataclasses.replace(
        samples, start=np.full_like(samples.start, 0.5), burn_in=0, num_steps=30
    )
    for sample in range(len(samples.label)):
        multiplier, offset = walk_words(samples, sample)
        words = multiplier.astype(np.uint64) | offset.astype(np.uint64) << np.uint64(32)
        pairs = samples.maps[sample].reshape(8, 3, 2).swapaxes(0, 1)
        state = torch.zeros(30, 2, 128)
        StandIn(state_kernel, run_on_cpu(target))[(1,)](
            torch.from_numpy(np.ascontiguousarray(pairs).view(np.int64)),
            torch.from_numpy(samples.thresholds[sample].view(np.int32)),
            torch.from_numpy(words.view(np.int64)),
            state,
            30,
            BLOCK=128,
            num_warps=1,
            enable_fp_fusion=False,
        )
        expected = torch.from_numpy(np.stack(walk(samples, sample), 1))
        # there are many NaNs, and only one meaning
        state[state.isnan()] = torch.nan
        expected[expected.isnan()] = torch.nan
        assert_same_bits(state, expected)
