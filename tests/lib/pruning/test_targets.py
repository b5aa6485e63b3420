# SPDX-License-Identifier: MIT
"""Which weights are prunable."""

import pytest
import torch
from torch import nn

from lenet5.model import LeNet5
from lib.pruning.targets import prunable


class Tied(nn.Module):
    """An embedding, a block that is used twice, and a head tied to the embedding."""

    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(10, 8)
        self.first = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.second = nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.lm_head = nn.Linear(8, 10, bias=False)
        self.lm_head.weight = self.wte.weight


def test_linear_and_convolution_and_nothing_else():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    assert list(prunable(model)) == ["0.weight", "2.weight"]


def test_lenet5():
    assert sum(w.numel() for w in prunable(LeNet5()).values()) == 61470


def test_tied_weights_count_once_and_heads_tied_to_embeddings_do_not():
    assert list(prunable(Tied())) == ["first.weight"]


def test_embeddings_when_asked_once():
    assert list(prunable(Tied(), embeddings=True)) == ["wte.weight", "first.weight"]


def test_exemptions():
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(4)])
    assert list(prunable(model, exempt_first=True)) == ["1.weight", "2.weight", "3.weight"]
    assert list(prunable(model, exempt_last=True)) == ["0.weight", "1.weight", "2.weight"]


def test_frozen_weights_are_left_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].weight.requires_grad_(False)
    assert list(prunable(model)) == ["1.weight"]


def test_nothing_left():
    with pytest.raises(ValueError, match="no prunable weight: 1 weights of Linear or Conv2d"):
        prunable(nn.Linear(2, 2), exempt_first=True)


def test_channels_last_is_as_good_as_any_other_format():
    model = nn.Sequential(nn.Conv2d(4, 4, 3)).to(memory_format=torch.channels_last)
    assert list(prunable(model)) == ["0.weight"]


def test_other_types_of_layers():
    model = nn.Sequential(nn.Conv1d(2, 2, 3), nn.Linear(2, 2))
    assert list(prunable(model, layers=(nn.Conv1d,))) == ["0.weight"]
    with pytest.raises(ValueError, match="0 weights of Conv3d layers were found"):
        prunable(model, layers=(nn.Conv3d,))
