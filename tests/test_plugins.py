import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from fdsl_gpu import FormulaStream, get_dataset, list_datasets, plugins, render
from fdsl_gpu.formulas.base import PlainInstance
from fdsl_gpu.preview import PreviewConfig, preview

ROOT = Path(__file__).parent.parent
MOIRE = ROOT / "examples" / "moire.py"


def test_a_file_lists_renders_and_streams():
    spec = get_dataset(MOIRE)
    assert (spec.name, spec.version, spec.num_classes) == (str(MOIRE), 1, 25)
    images, labels = render(MOIRE, range(50), image_size=32)
    assert sorted(labels.tolist()) == sorted(list(range(25)) * 2)
    # two gratings of frequencies that the label says, each between dark and light
    assert images.min() < 10 and images.max() > 245
    assert len({image.numpy().tobytes() for image in images}) == 50
    alone, _ = render(MOIRE, [31], image_size=32)
    assert torch.equal(alone[0], images[31])
    batches = DataLoader(
        FormulaStream(MOIRE, 5, image_size=32, num_samples=20), batch_size=None, num_workers=2
    )
    assert torch.equal(torch.cat([part for part, _ in batches]), images[:20])


def test_a_file_previews(tmp_path):
    path = preview(PreviewConfig(dataset=str(MOIRE), output=tmp_path / "sheet.png"))
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_page_shows_the_example_as_it_is():
    page = (ROOT / "docs" / "your-own-formula.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert blocks[0] == MOIRE.read_text()
    assert len(MOIRE.read_text().splitlines()) < 60


def test_the_other_blocks_of_the_page_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "your-own-formula.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)[1:]:
        exec(compile(block, "your-own-formula.md", "exec"), {})


def test_a_drawing_of_its_own_is_taken(tmp_path):
    path = tmp_path / "dotted.py"
    path.write_text(
        "import numpy as np\n"
        "from fdsl_gpu.formulas.base import PlainInstance\n"
        "VERSION = 3\n"
        "class formula:\n"
        "    num_classes, target, channels = 1, 'class', 1\n"
        "    def instance(self, indices, seed, view):\n"
        "        labels = np.zeros(len(indices), np.int64)\n"
        "        return PlainInstance(indices, labels, view.image_size, {})\n"
        "    def draw_numpy(self, instance, images):\n"
        "        images[:] = 1\n"
        "    def draw_numba(self, instance, images):\n"
        "        images[:] = 2\n"
    )
    assert get_dataset(path).version == 3
    assert render(path, [0], image_size=3)[0].unique().tolist() == [2]
    assert render(path, [0], image_size=3, backend="numpy")[0].unique().tolist() == [1]


def test_entry_points_add_names(monkeypatch):
    import sys

    get_dataset(MOIRE)  # so that its module is there to be named
    point = EntryPoint("moire-25", "moire:Moire", plugins.ENTRY_POINTS)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    plugins.installed_datasets.cache_clear()
    try:
        assert "moire" in sys.modules and "moire-25" in list_datasets()
        assert get_dataset("moire-25").num_classes == 25
    finally:
        plugins.installed_datasets.cache_clear()


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "there is no Python file"),
        ("x = 1", "has no function or class named 'formula'"),
        ("raise KeyError('k')", r"fails when it is run: KeyError\('k'\)"),
    ],
)
def test_files_without_a_formula_are_refused(tmp_path, content, message, request):
    path = tmp_path / f"broken_{abs(hash(content))}.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        get_dataset(path)


def test_plain_instance_describes_its_values():
    import numpy as np

    values = {"angle": np.zeros(2)}
    instance = PlainInstance(np.arange(2, dtype=np.uint64), np.arange(2), 8, values)
    assert list(instance.describe()) == ["label", "angle"]
