# SPDX-License-Identifier: MIT
"""Two checkpoints compared tensor by tensor."""

import math

import pytest
import torch

from lib.train import checkpoint
from lib.train.checkpoint.compare import compare_checkpoints

WEIGHTS = {"a": torch.tensor([1.0, -2.0, 0.0]), "b": torch.tensor(3, dtype=torch.int64)}
STATE = {"state": {0: {"exp_avg": torch.ones(2), "step": torch.tensor(4.0)}}, "lr": 0.1}


def compared(tmp_path, **changes):
    """The parts of a checkpoint against one with other weights."""
    both = {"one": WEIGHTS, "other": {**WEIGHTS, **changes}}
    for name, weights in both.items():
        state = {"model_state_dict": weights, "optimizer_state_dict": STATE, "step": 1}
        checkpoint.save(tmp_path / f"{name}.pt", state)
    return compare_checkpoints(tmp_path / "one.pt", tmp_path / "other.pt")


def test_equal_in_every_bit(tmp_path):
    weights, optimizer = compared(tmp_path)
    assert (weights.name, weights.tensors, weights.equal, weights.max_abs) == ("weights", 2, 2, 0)
    assert (optimizer.tensors, optimizer.equal, optimizer.farthest) == (2, 2, "")


@pytest.mark.parametrize(
    ("changed", "greatest", "relative"),
    [
        (torch.tensor([1.0, -2.5, 0.0]), 0.5, 0.2),
        (torch.tensor([1.0, -2.0, 1e-9]), 1e-9, 1.0),
        (torch.tensor([1.0, -2.0, -0.0]), 0.0, 0.0),  # other bits, the same value
        (torch.tensor([1.0, math.nan, 0.0]), math.inf, math.inf),
        (torch.tensor([1.0, -2.0]), math.inf, math.inf),
        (torch.tensor([1.0, -2.0, 0.0]).double(), math.inf, math.inf),
    ],
)
def test_how_far_apart(changed, greatest, relative, tmp_path):
    weights, optimizer = compared(tmp_path, a=changed)
    assert (weights.equal, weights.farthest) == (1, "a")
    assert weights.max_abs == pytest.approx(greatest)
    assert weights.max_rel == pytest.approx(relative)
    assert optimizer.equal == optimizer.tensors


def test_a_tensor_that_only_one_has(tmp_path):
    weights, _ = compared(tmp_path, c=torch.ones(1))
    assert (weights.tensors, weights.equal, weights.farthest) == (3, 2, "c")
    assert weights.max_abs == math.inf
