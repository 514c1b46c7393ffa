"""Files as this project, timm and the authors of FDSL write them."""

import argparse

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from fdsl_gpu.checkpoints import save_checkpoint, save_weights
from fdsl_gpu.weights import load_weights, read_weights


def randomised(model, seed=1):
    """The model with a value of its own in every tensor, so that any mix-up shows."""
    generator = torch.Generator().manual_seed(seed)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator))
    return model.eval()


def body(model, image_size=64):
    """What the model makes of an image before its head."""
    model.eval()
    model.reset_classifier(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return model(torch.rand(2, 3, image_size, image_size, generator=generator))


@pytest.fixture(scope="module")
def torchvision_resnet():
    """As the authors of FractalDB trained: torchvision's ResNet on 1,000 categories."""
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=1000)


@pytest.mark.parametrize("form", ["bare", "data_parallel", "checkpoint"])
def test_published_resnets_load(tmp_path, torchvision_resnet, form):
    weights = torchvision_resnet.state_dict()
    path = tmp_path / "FractalDB-1000_resnet18.pth"
    if form != "bare":
        weights = {f"module.{name}": value for name, value in weights.items()}
    if form == "checkpoint":
        optimizer = torch.optim.SGD(torchvision_resnet.parameters(), 0.1).state_dict()
        weights = {"epoch": 90, "arch": "resnet18", "state_dict": weights, "optimizer": optimizer}
    torch.save(weights, path)
    read = read_weights(path)
    assert read.arch == ("resnet18" if form == "checkpoint" else None)
    model = timm.create_model("resnet18", num_classes=10)
    report = load_weights(model, read, new_head=True)
    assert set(report.fresh) == {"fc.weight", "fc.bias"} == set(report.unused)
    assert "loaded 120 tensors" in str(report)
    theirs = torchvision_resnet.eval()
    theirs_body = torch.nn.Sequential(*list(theirs.children())[:-1], torch.nn.Flatten())
    with torch.no_grad():
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        expected = theirs_body(images)
    assert torch.allclose(body(model), expected, atol=1e-5)


def test_a_published_deit_loads_with_its_command_line_and_at_another_size(tmp_path):
    theirs = randomised(timm.create_model("test_vit", num_classes=1000, img_size=64))
    path = tmp_path / "checkpoint.pth"
    command = argparse.Namespace(lr=1e-3, model="deit_tiny_patch16_224")
    torch.save({"model": theirs.state_dict(), "epoch": 300, "args": command}, path)
    model = timm.create_model("test_vit", num_classes=7, img_size=64)
    report = load_weights(model, read_weights(path), new_head=True)
    assert set(report.fresh) == {"head.weight", "head.bias"}
    assert torch.equal(body(model), body(theirs))
    larger = timm.create_model("test_vit", num_classes=7, img_size=96)
    report = load_weights(larger, read_weights(path), new_head=True)
    assert "pos_embed" in report.loaded
    assert larger.pos_embed.std() > 0.1  # resized values, not fresh ones of deviation 0.02


def test_own_files_tell_their_model(tmp_path):
    model = randomised(timm.create_model("test_resnet", num_classes=5))
    save_weights(tmp_path / "model.safetensors", model, {"arch": "test_resnet", "mean": 0.2})
    state = {"arch": "test_resnet", "update": 1, "settings": {"mean": 0.2}}
    average = {name: value + 1 for name, value in model.state_dict().items()}
    save_checkpoint(tmp_path, state | {"state_dict": model.state_dict(), "state_dict_ema": average})
    whole = read_weights(tmp_path)
    assert (whole.arch, whole.about["mean"]) == ("test_resnet", 0.2)
    copy = timm.create_model("test_resnet", num_classes=5)
    report = load_weights(copy, whole, new_head=False)
    assert not report.fresh and not report.unused
    assert all(torch.equal(value, copy.state_dict()[k]) for k, value in model.state_dict().items())
    # the average of the weights is what a checkpoint is for, where it has one
    last = read_weights(tmp_path / "last.pt")
    assert (last.arch, last.about["mean"]) == ("test_resnet", 0.2)
    assert torch.equal(last.tensors["fc.bias"], average["fc.bias"])


def test_another_architecture_is_refused_before_anything_is_copied(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model("resnet18", num_classes=3).state_dict(), path)
    for other, message in [
        ("resnet10t", r"tensors of the model do not come from it; .*conv1"),
        ("test_vit", r"not there: .*only there: bn1.bias"),
    ]:
        model = timm.create_model(other, num_classes=3)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ValueError, match=message):
            load_weights(model, read_weights(path), new_head=True)
        assert all(torch.equal(value, before[k]) for k, value in model.state_dict().items())
    # every tensor of a smaller relative is there, but not every tensor that is there is wanted
    save_file(timm.create_model("resnet50", num_classes=3).state_dict(), path)
    with pytest.raises(ValueError, match=r"only there: layer1.2.bn1.bias"):
        load_weights(timm.create_model("resnet26"), read_weights(path), new_head=True)
    report = load_weights(
        timm.create_model("resnet26"), read_weights(path), new_head=True, partial=True
    )
    assert "layer4.1.conv3.weight" in report.loaded and "and" in str(report)


def test_another_number_of_classes_is_told_apart(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=3).state_dict(), path)
    with pytest.raises(ValueError, match=r"number of classes: fc.weight is \[3, 96\] there"):
        model = timm.create_model("test_resnet", num_classes=4)
        load_weights(model, read_weights(path), new_head=False)
    gray = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    with pytest.raises(ValueError, match=r"does not fit the model: .*conv1.* is \[\d+, 3, 3, 3\]"):
        load_weights(gray, read_weights(path), new_head=True)


class Bad:
    def __reduce__(self):
        return (print, ("run",))


def test_unusable_files_are_named(tmp_path, capsys):
    with pytest.raises(ValueError, match="there is no file of weights"):
        read_weights(tmp_path / "absent.pth")
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {}, "extra": Bad()}, path)
    with pytest.raises(ValueError, match="more than weights and plain values"):
        read_weights(path)
    assert "run" not in capsys.readouterr().out  # nothing in the file was run
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="holds no weights"):
        read_weights(path)
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ValueError, match="is damaged"):
        read_weights(path)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"cut")
    with pytest.raises(ValueError, match="is damaged"):
        read_weights(path)
