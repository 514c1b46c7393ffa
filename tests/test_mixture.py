import numpy as np
import pytest
import torch
from conftest import contracting_table

from fdsl_gpu import FormulaStream, describe, get_dataset, mix, render
from fdsl_gpu.datasets import DatasetSpec
from fdsl_gpu.formulas.ifs import IfsFormula
from fdsl_gpu.formulas.mixture import MixtureFormula


@pytest.fixture
def parts():
    settings = {"num_walks": 128, "num_points": 128 * 8}
    gray = IfsFormula(contracting_table(num_maps=(2, 3, 4)), **settings)
    color = IfsFormula(contracting_table(num_maps=(5, 6)), drawing="patch_color", **settings)
    return DatasetSpec("gray", 1, gray), DatasetSpec("color", 2, color)


@pytest.fixture
def mixture(parts):
    return mix({parts[0]: 3, parts[1]: 1})


def test_every_block_holds_the_quotas(mixture):
    described = describe(mixture, range(400))
    assert described["part"].reshape(-1, 4).sum(1).tolist() == [1] * 100
    orders = {tuple(block) for block in described["part"].reshape(-1, 4)}
    assert len(orders) == 4  # each place in turn


def test_samples_are_those_of_the_parts_in_turn(mixture, parts):
    described = describe(mixture, range(400), seed=3)
    images, labels = render(mixture, range(400), image_size=16, seed=3)
    first_class = 0
    for number, spec in enumerate(parts):
        mine = np.flatnonzero(described["part"] == number)
        own_indices = described["part_index"][mine]
        assert sorted(own_indices.tolist()) == list(range((3, 1)[number] * 100))
        own, own_labels = render(spec, own_indices, image_size=16, seed=3)
        assert torch.equal(images[mine], own)
        assert torch.equal(labels[mine], own_labels + first_class)
        first_class += spec.num_classes
    # balanced within each part: 300 samples of 3 categories, 100 of 2
    assert np.bincount(labels).tolist() == [100, 100, 100, 50, 50]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_backends_agree(mixture, backend):
    images, _ = render(mixture, range(12), image_size=17, backend=backend)
    expected, _ = render(mixture, range(12), image_size=17)
    assert torch.equal(images, expected)


def test_validation_and_far_indices(mixture, parts):
    indices = [0, 2**40, 2**62 - 1]
    described = describe(mixture, indices, split="val")
    assert (described["part_index"] >= 2**63).all()
    images, _ = render(mixture, indices, image_size=16, split="val")
    for i in range(3):
        local = int(described["part_index"][i]) - 2**63
        spec = parts[described["part"][i]]
        assert torch.equal(images[i], render(spec, [local], image_size=16, split="val")[0][0])


def test_streams_with_exact_state(mixture, parts):
    stream = FormulaStream(mixture, 6, image_size=16, num_samples=24)
    batches = [labels for _, labels in stream]
    assert torch.equal(torch.cat(batches), render(mixture, range(24), image_size=16)[1])
    other = mix({parts[0]: 3, parts[1].replace(num_points=128): 1})
    with pytest.raises(ValueError, match="the state is that of another stream: its settings"):
        FormulaStream(other, 6, image_size=16, num_samples=24).load_state_dict(stream.state_dict())


def test_a_mixture_has_a_name(parts):
    named = get_dataset("fractaldb-1k:3+1p-frac")
    assert (named.name, named.num_classes) == ("fractaldb-1k:3+1p-frac:1", 2000)
    assert named.formula.quotas == (3, 1)
    images, labels = render("fractaldb-1k+1p-frac-0.2:2", range(3), image_size=16)
    assert sorted((labels >= 1000).tolist()) == [False, True, True]


@pytest.mark.parametrize(
    "name, message",
    [
        ("fractaldb-1k+fractaldb-1k", "each data set once"),
        ("fractaldb-1k:x+1p-frac", "each data set once with its quota"),
        ("fractaldb-1k:0+1p-frac", r"quotas must be integers in \[1, 65536\], got 0"),
        ("fractaldb-1k+1p-frak", "unknown data set '1p-frak'; did you mean '1p-frac"),
    ],
)
def test_bad_names_get_a_cure(name, message):
    with pytest.raises(ValueError, match=message):
        get_dataset(name)


def test_one_part_is_no_mixture(parts):
    with pytest.raises(ValueError, match="a mixture needs two or more parts"):
        mix({parts[0]: 3})


def test_only_class_labels_mix(parts):
    class Masks:
        target, num_classes, channels = "mask", 3, 1

    with pytest.raises(ValueError, match="only data sets with class labels can be mixed"):
        MixtureFormula((parts[0].formula, Masks()), (1, 1))
