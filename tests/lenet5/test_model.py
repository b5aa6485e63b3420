# SPDX-License-Identifier: MIT
"""LeNet-5 against the same network in NumPy, and its size."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lenet5.model import LeNet5


def test_it_has_61706_parameters():
    assert sum(p.numel() for p in LeNet5().parameters()) == 61_706


def in_numpy(weights: dict[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    """The logits [10] of one image [1, 32, 32], in float64, by the definition of each layer."""

    def convolve_and_pool(x: np.ndarray, name: str) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(1, 2))
        x = np.einsum("chwij,kcij->khw", windows, weights[f"{name}.weight"])
        x = np.maximum(x + weights[f"{name}.bias"][:, None, None], 0)
        channels, height, width = x.shape
        return x.reshape(channels, height // 2, 2, width // 2, 2).max(axis=(2, 4))

    x = convolve_and_pool(convolve_and_pool(image, "conv1"), "conv2").reshape(-1)
    for name in ("fc1", "fc2", "fc3"):
        x = weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]
        x = x if name == "fc3" else np.maximum(x, 0)
    return x


def test_the_logits_are_those_of_the_definition():
    torch.manual_seed(0)
    model, images = LeNet5(), torch.randn(3, 1, 32, 32)
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    expected = np.stack([in_numpy(weights, image.double().numpy()) for image in images])
    np.testing.assert_allclose(model(images).detach().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    model = LeNet5()
    F.cross_entropy(model(torch.randn(64, 1, 32, 32)), torch.arange(64) % 10).backward()
    assert all(p.grad.abs().max() > 0 for p in model.parameters())


def test_parameters_are_contiguous():
    """Masking or flattening weights in place relies on it."""
    assert all(p.is_contiguous() for p in LeNet5().parameters())


@pytest.mark.parametrize("size", [28, 36])
def test_images_of_another_size_are_refused(size):
    with pytest.raises(RuntimeError):
        LeNet5()(torch.zeros(1, 1, size, size))
