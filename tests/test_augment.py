import numpy as np
import pytest
import torch
from conftest import needs_gpu
from timm.data.auto_augment import rand_augment_transform
from timm.data.mixup import cutmix_bbox_and_lam
from timm.data.random_erasing import RandomErasing

from fdsl_gpu.augment import Augmentation, Augmenter, deit_augment
from fdsl_gpu.datasets import DatasetSpec
from fdsl_gpu.erasing import _mix, draw_rectangles
from fdsl_gpu.formulas.base import View
from fdsl_gpu.loader import FormulaLoader
from fdsl_gpu.mixing import draw_mixing
from fdsl_gpu.pixel_ops import OPS, apply_ops
from fdsl_gpu.rand_augment import RandAugment, draw_color_jitter
from fdsl_gpu.render import render
from fdsl_gpu.rng import mix
from fdsl_gpu.stream import FormulaStream

MEAN, STD = (0.2, 0.3, 0.4), (0.5, 0.6, 0.7)
INDICES = torch.arange(2**33, 2**33 + 16)
NUMBERS = np.arange(4000, dtype=np.uint64) + np.uint64(2**40)
OUR_NAMES = {
    "AutoContrast": "auto_contrast",
    "PosterizeIncreasing": "posterize",
    "SolarizeIncreasing": "solarize",
    "SolarizeAdd": "solarize_add",
    "ColorIncreasing": "color",
    "ContrastIncreasing": "contrast",
    "BrightnessIncreasing": "brightness",
    "SharpnessIncreasing": "sharpness",
    "ShearX": "shear_x",
    "ShearY": "shear_y",
    "TranslateXRel": "translate_x",
    "TranslateYRel": "translate_y",
}


def augmenter(recipe, **settings):
    return Augmenter(recipe, 7, **{"seed": 3, "mean": MEAN, "std": STD, **settings})


def batch(count=16, size=32):
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 256, (count, 3, size, size), generator=generator)
    return levels / 255, torch.arange(count) % 7


def distance(first, second):
    """Kolmogorov-Smirnov distance in units of its 0.1 % quantile: below 1 where nothing differs."""
    grid = np.sort(np.concatenate([first, second]))
    ranks = [np.searchsorted(np.sort(each), grid, "right") / len(each) for each in (first, second)]
    n, m = len(first), len(second)
    return np.abs(ranks[0] - ranks[1]).max() / (1.95 * np.sqrt((n + m) / (n * m)))


@pytest.mark.parametrize("text", ["rand-m9-mstd0.5-inc1", "rand-m7-n3-p0.8-mstd101-inc1"])
def test_operations_and_strengths_are_distributed_as_timms(text):
    theirs = {name: [] for name in OPS}
    policy = rand_augment_transform(text, {"img_mean": (128, 128, 128)})
    for op in policy.ops:
        name = OUR_NAMES.get(op.name, op.name.lower())

        def record(image, *arguments, name=name, **_):
            theirs[name].append(arguments[0] if arguments else 0.0)

        op.aug_fn = record
    np.random.seed(0)
    for _ in NUMBERS:
        policy(None)
    codes, arguments = RandAugment.parse(text).draw(NUMBERS, 0)
    assert codes.shape == (4000, policy.num_layers)
    for code, name in enumerate(OPS[1:], 1):
        got, expected = arguments[codes == code], np.array(theirs[name], np.float64)
        if name == "posterize":
            expected = 256 - 2.0 ** (8 - expected)
        spread = np.sqrt(2 * len(expected))
        assert abs(len(got) - len(expected)) < 4 * spread, name
        assert distance(got, expected) < 1, name


def test_strengths_that_do_not_increase_run_from_one_extreme_to_the_other():
    levels, ones = np.array([0.0, 0.5, 1.0]), np.ones(3)
    policy = RandAugment.parse("rand")
    assert policy._argument("posterize", levels, ones).tolist() == [0, 192, 240]
    assert policy._argument("solarize", levels, ones).tolist() == [0, 128, 256]
    np.testing.assert_allclose(policy._argument("color", levels, -ones), [0.1, 1.0, 1.9])
    increasing = RandAugment.parse("rand-inc1")
    assert increasing._argument("posterize", levels, ones).tolist() == [240, 192, 0]
    np.testing.assert_allclose(increasing._argument("color", levels, -ones), [1, 0.55, 0.1])


def test_rand_augment_applies_its_layers_in_turn():
    images, target = batch()
    recipe = Augmentation(rand_augment="rand-m9-n3-p1-inc1")
    got, same = augmenter(recipe)(images, target, INDICES)
    codes, arguments = RandAugment.parse(recipe.rand_augment).draw(
        INDICES.numpy().astype(np.uint64), 3
    )
    levels = (images * 255).round().to(torch.uint8)
    fill = torch.tensor([round(255 * m) for m in MEAN], dtype=torch.uint8)
    for layer in range(3):
        levels = apply_ops(levels, codes[:, layer], arguments[:, layer], fill)
    torch.testing.assert_close(got, levels / 255)
    assert same is target and len(np.unique(codes)) > 10


def test_color_jitter_draws_factors_and_an_order():
    codes, factors = draw_color_jitter(NUMBERS, 0, 0.4)
    names = [OPS.index(name) for name in ("brightness", "contrast", "color")]
    orders, counts = np.unique(codes, axis=0, return_counts=True)
    assert len(orders) == 6 and (np.sort(orders, 1) == sorted(names)).all()
    np.testing.assert_allclose(counts / 4000, 1 / 6, atol=0.025)
    for code in names:
        assert distance(factors[codes == code], np.linspace(0.6, 1.4, 4000)) < 1
    images, target = batch()
    got, _ = augmenter(Augmentation(color_jitter=0.4))(images, target, INDICES)
    assert (got != images).flatten(1).any(1).all()


def test_erased_rectangles_are_distributed_as_timms():
    size = (48, 40)
    erasing = RandomErasing(probability=0.25, mode="const", device="cpu")
    theirs = [erased_box(erasing(torch.ones(1, *size))) for _ in range(8000)]
    theirs = np.array([box for box in theirs if box is not None])
    settings = (0.25, (0.02, 1 / 3), (0.3, 1 / 0.3), size)
    indices = np.arange(8000, dtype=np.uint64)
    rectangles = draw_rectangles(indices, 0, *settings)
    ours = rectangles[rectangles[:, 2] > 0]
    assert abs(len(ours) - len(theirs)) < 4 * np.sqrt(2 * 8000 * 0.25 * 0.75)
    for column in range(4):
        assert distance(ours[:, column], theirs[:, column]) < 1
    assert distance(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]) < 1
    assert distance(ours[:, 2] / ours[:, 3], theirs[:, 2] / theirs[:, 3]) < 1
    assert (ours[:, 0] + ours[:, 2]).max() == 48 and (ours[:, 1] + ours[:, 3]).max() == 40


def erased_box(image):
    rows, columns = np.nonzero(image[0].numpy() == 0)
    if not len(rows):
        return None
    return rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1


@pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
def test_what_is_erased_is_noise_after_normalisation(mode):
    images, target = batch(64)
    recipe = Augmentation(erase_prob=1.0, erase_mode=mode)
    indices = torch.arange(64)
    got, _ = augmenter(recipe)(images, target, indices)
    rectangles = draw_rectangles(
        indices.numpy().astype(np.uint64), 3, 1.0, (0.02, 1 / 3), (0.3, 1 / 0.3), (32, 32)
    )
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    noise = []
    for before, after, (top, left, height, width) in zip(images, got, rectangles, strict=True):
        box = (slice(None), slice(top, top + height), slice(left, left + width))
        noise.append(((after - mean) / std)[box].flatten(1))
        outside = torch.ones(32, 32, dtype=torch.bool)
        outside[box[1:]] = False
        assert torch.equal(before[:, outside], after[:, outside])
    if mode == "const":
        assert torch.cat(noise, 1).abs().max() < 1e-6
        return
    if mode == "rand":
        assert all(each.std(1).max() < 1e-6 for each in noise)
        noise = [each[:, :1] for each in noise]
    values = torch.cat(noise, 1)
    expected = torch.randn(values.shape, generator=torch.Generator().manual_seed(0))
    assert distance(values.flatten().numpy(), expected.flatten().numpy()) < 1
    # channels, neighbours and samples are independent
    assert torch.corrcoef(values).fill_diagonal_(0).abs().max() < 4 / values.shape[1] ** 0.5
    if mode == "pixel":
        pairs = torch.stack([values[:, 1:].flatten(), values[:, :-1].flatten()])
        assert torch.corrcoef(pairs)[0, 1].abs() < 4 / pairs.shape[1] ** 0.5


def test_noise_is_hashed_as_patches_are():
    values = np.arange(10_000, dtype=np.uint32)
    keys = np.array([0xDEADBEEF, 0x9234567F], np.uint32)
    words = _mix(torch.from_numpy(values.view(np.int32)), *torch.from_numpy(keys.view(np.int32)))
    np.testing.assert_array_equal(words.numpy().view(np.uint32), mix(values, *keys))


@pytest.mark.parametrize(
    "mixup_alpha, cutmix_alpha", [(0.8, 1.0), (0.2, 0.0), (0.0, 1.0), (3.0, 0.0)]
)
def test_shares_and_boxes_are_distributed_as_timms(mixup_alpha, cutmix_alpha):
    pairs, size = 4000, (48, 40)
    kept, boxes = draw_mixing(
        np.arange(2 * pairs, dtype=np.uint64),
        0,
        mixup_alpha=mixup_alpha,
        cutmix_alpha=cutmix_alpha,
        prob=0.9,
        switch_prob=0.3,
        image_size=size,
    )
    np.random.seed(0)
    cuts = boxes.any(1)
    if mixup_alpha:
        shares = np.random.beta(mixup_alpha, mixup_alpha, pairs)
        assert distance(kept[~cuts & (kept < 1)], shares) < 1
    if cutmix_alpha:
        theirs = [
            cutmix_bbox_and_lam((3, *size), share)
            for share in np.random.beta(cutmix_alpha, cutmix_alpha, pairs)
        ]
        assert distance(kept[cuts], np.array([lam for _, lam in theirs])) < 1
        for edge in range(4):
            assert distance(boxes[cuts, edge], np.array([box[edge] for box, _ in theirs])) < 1
    expected = (0.3 if mixup_alpha and cutmix_alpha else float(cutmix_alpha > 0)) * 0.9
    # a small box may be empty
    assert expected - 0.04 < cuts.mean() < expected + 0.03
    assert abs((kept == 1).mean() - 0.1) < 0.03


def test_pairs_are_mixed_with_each_other_and_so_are_their_targets():
    images, target = batch()
    recipe = Augmentation(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1)
    got, vectors = augmenter(recipe)(images, target, INDICES)
    kept, boxes = draw_mixing(
        INDICES.numpy().astype(np.uint64),
        3,
        mixup_alpha=0.8,
        cutmix_alpha=1.0,
        prob=1,
        switch_prob=0.5,
        image_size=(32, 32),
    )
    assert boxes.any(1).any() and not boxes.any(1).all()
    for sample in range(16):
        other, pair = sample ^ 1, sample // 2
        share, (top, bottom, left, right) = kept[pair], boxes[pair]
        if boxes[pair].any():
            expected = images[sample].clone()
            expected[:, top:bottom, left:right] = images[other, :, top:bottom, left:right]
            assert share == pytest.approx(1 - (bottom - top) * (right - left) / 32**2)
        else:
            expected = share * images[sample] + (1 - share) * images[other]
        torch.testing.assert_close(got[sample], expected)
        row = torch.full((7,), 0.1 / 7)
        row[target[sample]] += 0.9 * share
        row[target[other]] += 0.9 * (1 - share)
        torch.testing.assert_close(vectors[sample], row)


def test_multi_hot_targets_are_mixed_and_smoothed_towards_a_half():
    images, _ = batch(2)
    hot = torch.tensor([[1.0, 1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 1]])
    recipe = Augmentation(mixup_alpha=1.0, label_smoothing=0.2)
    _, vectors = augmenter(recipe)(images, hot, torch.arange(2))
    assert vectors[0, 1].item() == pytest.approx(0.9) and vectors[1, 2].item() == pytest.approx(0.1)
    torch.testing.assert_close(vectors[0] + vectors[1], hot.sum(0) * 0.8 + 0.2)
    masks = torch.zeros(2, 32, 32, dtype=torch.int64)
    with pytest.raises(ValueError, match="do not mix masks"):
        augmenter(recipe)(images, masks, torch.arange(2))


def test_a_sample_is_augmented_alike_in_any_batch():
    images, target = batch()
    augment = augmenter(deit_augment(color_jitter=0.4, erase_prob=0.5))
    whole, vectors = augment(images, target, INDICES)
    assert (whole != images).flatten(1).any(1).all()
    for size in (2, 4, 8):
        parts = [
            augment(images[at : at + size], target[at : at + size], INDICES[at : at + size])
            for at in range(0, 16, size)
        ]
        torch.testing.assert_close(torch.cat([part[0] for part in parts]), whole)
        torch.testing.assert_close(torch.cat([part[1] for part in parts]), vectors)
    other, _ = augmenter(deit_augment(), seed=4)(images, target, INDICES)
    assert not torch.equal(other, whole)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_share_the_same_augmented_stream(small_ifs, world_size):
    dataset = DatasetSpec("small", 1, small_ifs)
    view = View(24, crop="resized", hflip=0.5)
    settings = {"image_size": view, "seed": 2**33 + 5, "num_samples": 16, "backend": "numpy"}
    parts = []
    for rank in range(world_size):
        stream = FormulaStream(
            dataset, 8 // world_size, rank=rank, world_size=world_size, **settings
        )
        loader = FormulaLoader(stream, mean=MEAN, std=STD, augment=deit_augment(erase_prob=0.6))
        parts.append(list(loader))
    pixels, labels = render(dataset, range(16), image_size=view, seed=2**33 + 5, backend="numpy")
    augment = augmenter(deit_augment(erase_prob=0.6), seed=2**33 + 5)
    images, target = augment(pixels / 255, labels, torch.arange(16))
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    together = [torch.cat([part[step][k] for part in parts]) for step in (0, 1) for k in (0, 1)]
    torch.testing.assert_close(torch.cat(together[0::2]), (images - mean) / std)
    torch.testing.assert_close(torch.cat(together[1::2]), target)


@needs_gpu
def test_a_gpu_augments_as_a_cpu_does():
    images, target = batch(64)
    indices, recipe = torch.arange(64), deit_augment(color_jitter=0.4, erase_prob=0.5)
    expected, vectors = augmenter(recipe)(images, target, indices)
    got, same = augmenter(recipe, device="cuda")(images.cuda(), target.cuda(), indices)
    # bilinear interpolation may fall on the other side of a level
    assert ((got.cpu() - expected).abs() > 1e-4).float().mean() < 1e-3
    torch.testing.assert_close(same.cpu(), vectors)


def test_nothing_asked_is_nothing_done():
    images, target = batch()
    got, same = augmenter(Augmentation())(images, target, INDICES)
    assert got is images and same is target


@pytest.mark.parametrize(
    "stream, message",
    [
        ({"batch_size": 3}, "batch_size must be even, got 3"),
        ({"batch_size": 4, "num_samples": 9}, "num_samples must be even, got 9"),
        (
            {"batch_size": 4, "num_samples": 14, "drop_last": False, "rank": 0, "world_size": 2},
            "2 ranks cannot share the last 6 of 14 samples in pairs; use drop_last=True",
        ),
    ],
)
def test_batches_that_split_pairs_are_refused_before_drawing(small_ifs, stream, message):
    stream = FormulaStream(DatasetSpec("small", 1, small_ifs), image_size=16, **stream)
    with pytest.raises(ValueError, match=message):
        FormulaLoader(stream, augment=Augmentation(mixup_alpha=0.8))
    FormulaLoader(stream, augment=Augmentation(erase_prob=0.5))


@pytest.mark.parametrize("indices", [[1, 2], [0, 1, 2], [0, 2], [1, 0]])
def test_split_pairs_are_refused(indices):
    images, target = batch(len(indices))
    with pytest.raises(ValueError, match="a batch has to start at an even index and hold whole"):
        augmenter(Augmentation(mixup_alpha=0.8))(images, target, torch.tensor(indices))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rand_augment": "v0"}, "must start with 'rand'"),
        ({"rand_augment": "rand-m9-tweights"}, "section 'tweights' that is not one of m, mstd"),
        ({"rand_augment": "rand-n0"}, r"num_layers must be in \[1, 16\], got 0"),
        ({"rand_augment": "rand-p2"}, r"prob must be in \[0, 1\], got 2.0"),
        ({"rand_augment": "rand-m900"}, r"must be in \[0, 100\], got 900.0"),
        ({"color_jitter": -0.1}, r"color_jitter must be in \[0, 1\], got -0.1"),
        ({"erase_prob": 1.1}, r"erase_prob must be in \[0, 1\], got 1.1"),
        ({"erase_mode": "noise"}, "erase_mode must be one of .*got 'noise'"),
        ({"erase_area": (0.5, 0.1)}, "erase_area must be 0 < low <= high <= 1, got 0.5, 0.1"),
        ({"erase_ratio": (0, 1)}, "erase_ratio must be 0 < low <= high, got 0, 1"),
        ({"mixup_alpha": -1}, r"mixup_alpha must be in \[0, 100.0\], got -1"),
        ({"mixup_alpha": 1, "label_smoothing": 1}, r"label_smoothing must be in \[0, 1\), got 1"),
        ({"label_smoothing": 0.1}, "use a smoothing loss"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**settings)
