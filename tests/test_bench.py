import csv

import numpy as np
import pytest
import torch
from conftest import contracting_table

from fdsl_gpu import baselines, bench, get_dataset, render
from fdsl_gpu.bench import BenchConfig
from fdsl_gpu.datasets import DatasetSpec
from fdsl_gpu.formulas.ifs import IfsFormula


@pytest.fixture
def small(monkeypatch):
    spec = DatasetSpec("small", 1, IfsFormula(contracting_table(), num_walks=128, num_points=4096))
    monkeypatch.setattr(bench, "CASES", ((spec, 32, None),))
    monkeypatch.setattr(bench, "OTHERS", ())
    monkeypatch.setattr(bench, "get_dataset", lambda name: spec)
    return spec


def test_bench_measures_every_contender(small, tmp_path):
    said = []
    config = BenchConfig(output=tmp_path / "bench.csv", rounds=2, batch=2)
    rows = bench.bench(config, said.append)
    assert len(rows) == len(said) == 6
    assert rows[0].times_ours == 1 and all(row.p50_us > 0 for row in rows)
    with config.output.open() as file:
        written = list(csv.DictReader(file))
    assert [row["contender"] for row in written] == [row.contender for row in rows]
    assert written[0]["torch"] == torch.__version__


def test_nothing_is_timed_that_is_not_the_definition(small, monkeypatch):
    def other(spec, indices, *, backend="auto", **settings):
        images, labels = render(spec, indices, backend=backend, **settings)
        return (images + 1 if backend == "numba" else images), labels

    monkeypatch.setattr(bench, "render", other)
    with pytest.raises(RuntimeError, match="is not the definition's: nothing is timed"):
        bench.bench(BenchConfig(rounds=1, batch=1))


def test_baselines_draw_the_same_kind_of_image():
    spec = get_dataset("fractaldb-1k")
    own = np.isfinite(spec.maps[0, :, 0])
    maps, probs = np.ascontiguousarray(spec.maps[0, own]), spec.probs[0, own]
    first = baselines.sequential(maps, probs, 96, 100_000)
    images = baselines.batched(
        torch.from_numpy(maps[None]).float(), torch.from_numpy(probs[None]), 96, 100_000, 512
    )
    second = images[0].numpy()
    for image in (first, second):
        assert set(np.unique(image)) == {0, 127}
    # the same attractor in the same frame, with other random masks
    near = torch.nn.functional.max_pool2d(
        torch.from_numpy(np.stack([first, second]) > 0).float(), 3, 1, 1
    ).bool()
    assert (near[0] & near[1]).sum() / (near[0] | near[1]).sum() > 0.75


def test_stored_images_come_back_as_they_were(small):
    image = render(small, [0], image_size=24)[0][0].numpy()
    np.testing.assert_array_equal(
        baselines.decode(baselines.encode(image)), image.transpose(1, 2, 0)
    )


def test_rounds_and_batch_are_checked():
    with pytest.raises(ValueError, match="rounds and batch must be at least 1, got 0 and 64"):
        bench.bench(BenchConfig(rounds=0))
