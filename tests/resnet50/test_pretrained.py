# SPDX-License-Identifier: MIT
"""Weights from files: in each form, for another number of classes, and of other networks."""

import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.errors import Failure
from lib.pruning.export import FORMATS
from lib.train.batch_norm import norm_layer
from resnet50.export import read_by
from resnet50.model import ResNet
from resnet50.pretrained import load_pretrained
from tests.resnet50.test_model import give_weights, images, torchvision_model


def network(depth=18, classes=5, width=4, stem="cifar", **more) -> ResNet:
    return ResNet(depth, classes, width, stem, **more)


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    model = network()
    give_weights(model)
    return dict(model.state_dict())


def equal(model, weights) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[k], v) for k, v in weights.items() if "num_batches" not in k)


def without_counters(weights):
    return {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}


FORMS = {
    "bare": lambda w: w,
    "in a state_dict": lambda w: {"state_dict": w, "epoch": 3},
    "of DistributedDataParallel": lambda w: {f"module.{k}": v for k, v in w.items()},
    "both": lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}},
    "without counters": without_counters,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_pth_file(weights, tmp_path, form):
    torch.save(FORMS[form](weights), tmp_path / "w.pth")
    model = network()
    said = load_pretrained(model, str(tmp_path / "w.pth"))
    assert equal(model, weights)
    assert said.endswith("a ResNet-18 of width 4 with the cifar stem")
    assert model.conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_safetensors_file_below_the_home_directory(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    contiguous = {name: value.contiguous() for name, value in weights.items()}
    save_file(contiguous, tmp_path / "w.safetensors")
    model = network(norm=norm_layer("frozen"))
    load_pretrained(model, "~/w.safetensors")
    assert equal(model, weights)


def test_half_precision_becomes_float32(weights, tmp_path):
    half = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
    torch.save(half, tmp_path / "w.pth")
    model = network()
    load_pretrained(model, str(tmp_path / "w.pth"))
    assert model.conv1.weight.dtype == torch.float32
    torch.testing.assert_close(model.conv1.weight, weights["conv1.weight"], rtol=1e-3, atol=1e-3)


def test_torchvisions_own(tmp_path):
    theirs = torchvision_model(50)
    give_weights(theirs)
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    model = ResNet(50, 10)
    load_pretrained(model, str(tmp_path / "resnet50.pth"))
    assert equal(model, theirs.state_dict())


def test_torchvision_takes_an_export(tmp_path):
    """Every tensor, the zeros of the pruned ones too, and the same logits."""
    model, theirs = ResNet(18, 10), torchvision_model(18)
    give_weights(model)
    pruned = torch.rand(model.layer3[0].conv1.weight.shape) < 0.5
    model.layer3[0].conv1.weight.data[pruned] = 0.0
    FORMATS["dense"][1](tmp_path / "model.safetensors", model.state_dict(), {})
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert not theirs.layer3[0].conv1.weight[pruned].any()
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(images()), model.eval()(images()))


@pytest.mark.parametrize("given", ["model.safetensors", ""])
def test_our_own_export_is_read_back_bit_for_bit(weights, tmp_path, given):
    FORMATS["dense"][1](tmp_path / "model.safetensors", weights, {})
    model = network()
    load_pretrained(model, str(tmp_path / given))
    assert equal(model, weights)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            {"depth": 34, "width": 64, "stem": "imagenet"},
            r"models\.resnet34\(num_classes=5\) takes",
        ),
        (
            {"width": 64},
            "a ResNet-18 of width 64 with the cifar stem, torchvision's are of width 64",
        ),
        ({"stem": "imagenet"}, "has no such network: .*width 4"),
    ],
)
def test_who_reads_an_export_is_said(model, says):
    assert re.search(says, read_by(network(**model).state_dict()))


def test_another_number_of_classes_gets_a_new_last_layer(weights, tmp_path):
    torch.save(weights, tmp_path / "w.pth")
    model = network(classes=7)
    head = model.fc.weight.clone()
    said = load_pretrained(model, str(tmp_path / "w.pth"))
    assert "its last layer is for 5 classes, the data have 7" in said.lower()
    assert torch.equal(model.fc.weight, head)
    assert equal(model, {k: v for k, v in weights.items() if not k.startswith("fc.")})


OTHERS = {
    "another depth": (
        lambda: network(34).state_dict(),
        "is a ResNet-34 of width 4 with the cifar stem, this model is a ResNet-18 of width 4 with "
        "the cifar stem: set RESNET_DEPTH=34",
    ),
    "bottlenecks": (lambda: network(50).state_dict(), "set RESNET_DEPTH=50"),
    "another width": (lambda: network(width=8).state_dict(), "set RESNET_WIDTH=8,"),
    "another stem": (lambda: network(stem="imagenet").state_dict(), "set RESNET_STEM=imagenet,"),
    "all of them": (
        lambda: network(34, width=8, stem="imagenet").state_dict(),
        "set RESNET_DEPTH=34 RESNET_WIDTH=8 RESNET_STEM=imagenet,",
    ),
    "another kind of network": (
        lambda: {"features.0.weight": torch.zeros(2, 3, 3, 3), "x": torch.zeros(1)},
        "has no weights of a ResNet under torchvision's names; its tensors are features.0.weight,",
    ),
    "one more tensor": (
        lambda: network().state_dict() | {"layer1.0.extra": torch.zeros(1)},
        "not quite this network: layer1.0.extra do not match",
    ),
    "a missing tensor": (
        lambda: {k: v for k, v in network().state_dict().items() if k != "bn1.bias"},
        "not quite this network: bn1.bias do not match",
    ),
    "grey images": (
        lambda: network().state_dict() | {"conv1.weight": torch.zeros(4, 1, 3, 3)},
        "a variant that is not offered here: conv1.weight is (4, 1, 3, 3), this model's is (4, 3,",
    ),
    "integers": (
        lambda: network().state_dict() | {"fc.bias": torch.zeros(5, dtype=torch.int8)},
        "fc.bias is of torch.int8",
    ),
    "a checkpoint of a run": (lambda: {"model_state_dict": {}, "step": 3}, "set INIT_FROM instead"),
    "a list": (lambda: [1, 2], "is no table of weights"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_weights_of_something_else_are_refused_and_nothing_changes(tmp_path, case):
    contents, message = OTHERS[case]
    torch.save(contents(), tmp_path / "w.pth")
    model = network()
    give_weights(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(Failure, match=re.escape(message)):
        load_pretrained(model, str(tmp_path / "w.pth"))
    assert equal(model, before)


def test_a_depth_that_is_not_offered(tmp_path):
    weights = dict(network(101).state_dict())
    for number in range(4, 8):  # ResNet-152 has 8 blocks in the second stage
        extra = {k: v for k, v in weights.items() if k.startswith("layer2.3.")}
        weights |= {k.replace("layer2.3.", f"layer2.{number}."): v for k, v in extra.items()}
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(Failure, match=r"is a ResNet-113 .*one of 18, 34, 50, 101"):
        load_pretrained(network(), str(tmp_path / "w.pth"))


@pytest.mark.parametrize("name", ["none.pth", "none.safetensors", "text.pth", "text.safetensors"])
def test_files_that_cannot_be_read(tmp_path, name):
    if name.startswith("text"):
        (tmp_path / name).write_text("<html>not found</html>")
    with pytest.raises(Failure, match=rf"RESNET_PRETRAINED: cannot read \S+{name}"):
        load_pretrained(network(), str(tmp_path / name))


def test_code_in_a_file_does_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    torch.save({"conv1.weight": Evil()}, tmp_path / "w.pth")
    with pytest.raises(Failure, match="cannot read"):
        load_pretrained(network(), str(tmp_path / "w.pth"))
    assert not (tmp_path / "ran").exists()
