# SPDX-License-Identifier: MIT
"""The network against torchvision's, and against logits that torchvision's has computed.

The stored logits are for machines on which torchvision cannot be imported. To make them again:

    python -m tests.resnet50.test_model
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.torchvision_import import import_torchvision
from lib.train.batch_norm import norm_layer
from lib.train.flops import counted_flops
from resnet50.model import STAGES, ResNet

STORED = Path(__file__).with_name("torchvision_logits.safetensors")
DEPTHS = [pytest.param(d, marks=pytest.mark.slow) if d > 50 else d for d in sorted(STAGES)]


def torchvision_model(depth: int, stem: str = "imagenet", classes: int = 10) -> nn.Module:
    """torchvision's network; for CIFAR with the first layers replaced."""
    try:
        models = import_torchvision().models
    except ImportError as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    model = getattr(models, f"resnet{depth}")(num_classes=classes)
    if stem == "cifar":
        model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return model


def random_numbers(count: int, key: int) -> Tensor:
    """Uniform in [-1, 1), float32: the same with every version of NumPy and PyTorch."""
    raw = np.random.Philox(key=key).random_raw(count) >> np.uint64(40)
    return torch.from_numpy(raw.astype(np.float32) / 2**23 - 1)


def give_weights(model: nn.Module) -> None:
    """Weights, gains and running statistics that let every part of the network count."""
    for key, (name, value) in enumerate(model.state_dict().items()):
        if not value.is_floating_point():
            continue
        numbers = random_numbers(value.numel(), key).view(value.shape)
        if value.ndim == 4:  # variance 1 / inputs
            numbers *= (3 / value[0].numel()) ** 0.5
        elif "running_var" in name or (name.endswith(".weight") and value.ndim == 1):
            numbers = 1 + numbers / 2
        else:
            numbers *= 0.1
        value.copy_(numbers)


def images(size: int = 64) -> Tensor:
    return random_numbers(2 * 3 * size * size, 1000).view(2, 3, size, size)


def logits(model: nn.Module, size: int = 64) -> dict[str, Tensor]:
    """In float64. Evaluation comes first: in training the running statistics move."""
    model, x = model.double(), images(size).double()
    with torch.no_grad():
        return {mode: model.train(mode == "train")(x) for mode in ("eval", "train")}


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_the_logits_are_torchvisions(depth, stem):
    ours, theirs = ResNet(depth, 10, stem=stem), torchvision_model(depth, stem)
    give_weights(theirs)
    ours.load_state_dict(theirs.state_dict())
    size = 64 if stem == "imagenet" else 16
    torch.testing.assert_close(logits(ours, size), logits(theirs, size))
    # The running statistics have moved alike.
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))


@pytest.mark.parametrize("depth", [18, 50])
def test_the_gradients_are_torchvisions(depth):
    ours, theirs = ResNet(depth, 10), torchvision_model(depth)
    give_weights(theirs)
    ours.load_state_dict(theirs.state_dict())
    for model in (ours, theirs):
        F.cross_entropy(model.double()(images().double()), torch.tensor([3, 7])).backward()
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    torch.testing.assert_close(gradients, {name: p.grad for name, p in theirs.named_parameters()})


@pytest.mark.parametrize("depth", [18, 50])
def test_the_logits_are_those_that_torchvision_has_computed(depth):
    model, stored = ResNet(depth, 10), load_file(STORED)
    give_weights(model)
    for mode, value in logits(model).items():
        torch.testing.assert_close(value, stored[f"resnet{depth}.{mode}"])


@pytest.mark.parametrize("depth", DEPTHS)
def test_it_begins_with_torchvisions_distributions(depth):
    """Standard deviations of the convolutions; each block begins as its shortcut."""
    torch.manual_seed(0)
    ours, theirs = ResNet(depth, 10), torchvision_model(depth)
    expected = theirs.state_dict()
    for name, value in ours.state_dict().items():
        if value.ndim == 4 and value.numel() > 9000:
            assert value.std().item() == pytest.approx(expected[name].std().item(), rel=0.05), name
    last = "bn3" if depth >= 50 else "bn2"
    for name, value in ours.named_parameters():
        if name.endswith(f"{last}.weight"):
            assert not value.any(), name
        elif "bn" in name or "downsample.1" in name:
            assert (value == (1 if name.endswith("weight") else 0)).all(), name


@pytest.mark.parametrize(
    ("depth", "parameters", "published"), [(18, 11.7e6, 1.8e9), (50, 25.6e6, 4.1e9)]
)
def test_size_and_cost_are_the_published_ones(depth, parameters, published):
    """Multiply-adds of the forward pass of an image of 224 pixels. A training step has three times
    as many, but for the gradient of the images, which nobody asks for.
    """
    with torch.device("meta"):
        model = ResNet(depth, 1000)
        batch, labels = torch.empty(2, 3, 224, 224), torch.zeros(2, dtype=torch.int64)
    step = counted_flops(lambda: F.cross_entropy(model(batch), labels)) / 2
    of_images = 2 * 64 * 3 * 7**2 * 112**2
    assert (step + of_images) / 6 == pytest.approx(published, rel=0.02)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.005)


@pytest.mark.parametrize("norm", ["batch", "synced", "frozen"])
def test_weights_and_activations_have_channels_innermost(norm):
    model = ResNet(50, 10, width=8, norm=norm_layer(norm))
    seen = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    F.cross_entropy(model(images()), torch.tensor([3, 7])).backward()
    assert len(seen) == 106
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last), name
            assert parameter.grad.stride() == parameter.stride(), name


def test_frozen_norms_stay_and_give_an_image_the_same_logits_in_any_batch():
    model = ResNet(18, 10, width=8, stem="cifar", norm=norm_layer("frozen"))
    give_weights(model)
    before = {name: value.clone() for name, value in model.named_buffers()}
    together = model.train()(images(16))
    torch.testing.assert_close(together[:1], model(images(16)[:1]))
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


@pytest.mark.parametrize("size", [8, 17, 33])
def test_images_of_any_size(size):
    for stem in ("cifar", "imagenet"):
        model = ResNet(18, 7, width=4, stem=stem)
        assert model(torch.zeros(3, 3, size, size)).shape == (3, 7)


def main() -> None:
    """Store what torchvision computes."""
    stored = {}
    for depth in (18, 50):
        model = torchvision_model(depth)
        give_weights(model)
        stored |= {f"resnet{depth}.{mode}": value for mode, value in logits(model).items()}
    save_file(stored, STORED)


if __name__ == "__main__":
    main()
