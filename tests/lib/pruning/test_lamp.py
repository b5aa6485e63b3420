# SPDX-License-Identifier: MIT
"""Layer-adaptive magnitude against the formula in exact fractions, and against a sort."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import Parameter

from lib.pruning.lamp import layer_adaptive
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule
from lib.pruning.select import ScoreError

# Few enough sizes for ties, and the ends of float32.
WEIGHTS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 3.0, 1e-45, -1e-30, 3.4e38]) | st.floats(
    allow_nan=False, allow_infinity=False, width=32
)


def formula(weights: list[float]) -> list[Fraction]:
    squares = [Fraction(w) ** 2 for w in weights]
    sums = [sum(other for other in squares if other >= own) for own in squares]
    return [own / total if own else Fraction(0) for own, total in zip(squares, sums, strict=True)]


def float32(fraction: Fraction) -> float:
    return float(np.float32(float(fraction)))


@given(st.lists(WEIGHTS, min_size=1, max_size=25))
def test_equals_the_formula(weights):
    w = torch.tensor(weights)
    copy = w.clone()
    found = layer_adaptive(w)
    assert w.equal(copy)
    expected = [float32(score) for score in formula(w.tolist())]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-44)
    assert ((found >= 0) & (found <= 1)).all() and not found.signbit().any()
    order = w.abs().argsort()
    assert (found[order].diff() >= 0).all()
    assert all(found[w.abs() == size].unique().numel() == 1 for size in w.abs())


def test_a_large_layer_sums_without_loss():
    """A sum in float32 would stop to grow."""
    w = torch.full((1 << 22,), 1e-3)
    w[0] = 1.0
    found = layer_adaptive(w)
    expected = 1e-6 / (1.0 + ((1 << 22) - 1) * 1e-6)
    assert found[0] == 1.0 and found[1].item() == pytest.approx(expected, rel=1e-6)


def layers_of(*sizes: int) -> dict[str, Parameter]:
    torch.manual_seed(0)
    scales = torch.logspace(-2, 1, len(sizes))
    each = zip(sizes, scales, strict=True)
    return {f"layer{i}": Parameter(s * torch.randn(n, 8)) for i, (n, s) in enumerate(each)}


def pruner_of(weights: dict[str, Parameter], sparsity: float) -> Pruner:
    pruner = Pruner(weights, Schedule(sparsity, 9, start=1, end=1), score="lamp")
    pruner.attach(torch.optim.SGD(weights.values(), lr=0.0))
    return pruner


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9, 0.98])
def test_prunes_what_sorting_all_layers_would(sparsity):
    """As in the paper: sort each layer, divide by the sums of what follows, cut at one value."""
    weights = layers_of(3, 50, 200)
    scores = []
    for weight in weights.values():
        squares = weight.detach().double().flatten().square()
        order = squares.argsort()
        ranked = squares[order] / squares[order].flip(0).cumsum(0).flip(0)
        scores.append(torch.empty_like(ranked).index_copy_(0, order, ranked))
    k = round(sparsity * sum(map(len, scores)))
    cut = torch.cat(scores).sort().values[k]

    pruner = pruner_of(weights, sparsity)
    pruner.prepare()

    assert pruner.pruned == k
    for mask, score in zip(pruner.masks.values(), scores, strict=True):
        assert mask.flatten().equal((score >= cut).to(torch.uint8))
        assert mask.any(), "no layer vanishes"


def test_what_is_pruned_counts_no_more():
    """In two updates, the sums of the second are of what the first one left."""
    weights = layers_of(5, 60)
    pruner = Pruner(weights, Schedule(0.8, 9, start=1, end=5, frequency=4), score="lamp")
    pruner.attach(torch.optim.SGD(weights.values(), lr=0.0))
    for _ in range(5):
        pruner.prepare()
    once = pruner_of(layers_of(5, 60), 0.8)
    once.prepare()
    # The largest weights count in every sum, those that are gone in none: it is the same.
    assert all(pruner.masks[name].equal(mask) for name, mask in once.masks.items())
    pruner.verify()


def test_ties_go_by_layer_and_index():
    weights = {name: Parameter(torch.ones(1, 4)) for name in "ab"}
    pruner = pruner_of(weights, 0.75)
    pruner.prepare()
    assert [mask.tolist() for mask in pruner.masks.values()] == [[[0, 0, 0, 0]], [[0, 0, 1, 1]]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_name_the_layer(bad):
    weights = layers_of(4, 4)
    with torch.no_grad():
        weights["layer1"][2, 3] = bad
    with pytest.raises(ScoreError, match=r"layer1: \d+ of its scores are infinite or NaN"):
        pruner_of(weights, 0.5).prepare()


def test_a_layer_of_zeros_is_named():
    weights = layers_of(4, 4)
    with torch.no_grad():
        weights["layer0"].zero_()
    with pytest.raises(ScoreError, match="layer0: all of its 32 scores are zero"):
        pruner_of(weights, 0.5).prepare()


def test_sharded_layers_are_refused():
    with pytest.raises(ValueError, match="lamp needs whole layers, and their weights are sharded"):
        Pruner(layers_of(4), Schedule(0.5, 9), score="lamp", group=object())
