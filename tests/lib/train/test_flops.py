# SPDX-License-Identifier: MIT
"""Flops by the formula against flops counted, and the table of peaks."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lib.train import flops


def test_the_formula_counts_what_a_transformer_block_computes():
    """One block of attention (not halved for causality) and MLP, forward and backward."""
    width, context, batch = 64, 32, 3
    weights = [torch.randn(n, m, requires_grad=True) for n, m in shapes(width)]
    x = torch.randn(batch, context, width, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        qkv, projection, up, down = weights
        q, k, v = (x @ qkv.t()).split(width, dim=2)
        y = (q @ k.transpose(1, 2)).softmax(-1) @ v
        F.relu(y @ projection.t() @ up.t()).matmul(down.t()).sum().backward()
    parameters = sum(weight.numel() for weight in weights)
    per_token = flops.transformer_flops_per_token(parameters, 1, width, context)
    assert counter.get_total_flops() == per_token * batch * context


def shapes(width: int) -> list[tuple[int, int]]:
    return [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]


def test_convolutions_and_products_are_counted_forward_and_backward():
    """Twice a multiply-add; nobody asks for the gradient of the images."""
    with torch.device("meta"):
        first, second, head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3, stride=2), nn.Linear(16, 10)
        images = torch.empty(5, 3, 17, 17)

    def loss() -> torch.Tensor:
        return head(second(first(images).relu()).mean((2, 3))).sum()

    convolutions = 2 * (2 * 8 * 3 * 9 * 15**2) + 3 * (2 * 16 * 8 * 9 * 7**2)
    assert flops.counted_flops(loss) == 5 * (convolutions + 3 * 2 * 16 * 10)
    assert images.grad is None and head.weight.grad.is_meta


def test_gpt2_124m_takes_what_is_known_of_it():
    """124 M parameters without positions at 1,024 tokens: 0.856 GFLOP a token."""
    parameters = 124_439_808 - 1024 * 768
    per_token = flops.transformer_flops_per_token(parameters, 12, 768, 1024)
    assert per_token == pytest.approx(0.855e9, rel=1e-3)


@pytest.mark.parametrize(
    ("device", "tera"),
    [
        ("NVIDIA A10G", 70),
        ("NVIDIA A10", 125),
        ("NVIDIA A10-24Q", None),  # a share of one
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("A100-PCIE-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA H20", None),
        ("NVIDIA B200", 2250),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA RTX 6000 Ada Generation", 364),
        ("NVIDIA RTX A1000", None),
        ("NVIDIA RTX A6000", None),
        ("NVIDIA GeForce GTX 1080", None),
        ("Quadro RTX 6000", None),
        ("Tesla T4", None),
        ("Tesla V100-SXM2-16GB", None),
        ("AMD Instinct MI300X", 1307),
        ("AMD Instinct MI250X", 191.5),
        ("AMD Radeon PRO W7900", 123),
        ("", None),
    ],
)
def test_a_device_is_known_by_its_whole_name(device, tera, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: device)
    peak = flops.peak_flops(torch.device("cuda:0"), "bfloat16")
    if tera is None:
        assert peak is None
    else:
        assert peak.flops == tera * 1e12
        assert f"{tera} TFLOP/s" in peak.source


def test_float32_on_a_gpu_has_no_peak_in_the_table():
    assert flops.peak_flops(torch.device("cuda:0"), "float32") is None


def test_a_cpu_is_measured():
    peak = flops.peak_flops(torch.device("cpu"), "float32")
    assert 1e8 < peak.flops < 1e15
    assert "measured" in peak.source
