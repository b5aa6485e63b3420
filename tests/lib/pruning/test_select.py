# SPDX-License-Identifier: MIT
"""Exact selection against a stable sort."""

import math
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.pruning import slices
from lib.pruning.select import Scored, ScoreError, prune_smallest

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
FEW = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 3.4e38, -3.4e38, 2.0, 2.0000002])


def scored(name: str, scores: torch.Tensor, mask: torch.Tensor | None = None) -> Scored:
    mask = torch.ones(len(scores), dtype=torch.uint8) if mask is None else mask
    return Scored(name, mask, lambda start, stop: scores[start:stop] + 0.0)


def reference(scores: list[float], k: int) -> list[int]:
    """Mask with the k smallest cleared, ties by index: Python's sort is stable."""
    lost = sorted(range(len(scores)), key=lambda i: scores[i])[:k]
    return [int(i not in set(lost)) for i in range(len(scores))]


@settings(max_examples=100)
@given(st.data())
def test_equals_a_stable_sort_over_several_tensors(data):
    tensors = data.draw(st.lists(st.lists(FLOATS | FEW, max_size=30), min_size=1, max_size=4))
    tensors = [[*values, 1.0] for values in tensors]  # not all zero
    everything = [x for values in tensors for x in values]
    k = data.draw(st.integers(0, len(everything)))
    items = [scored(f"layer{i}", torch.tensor(v)) for i, v in enumerate(tensors)]

    prune_smallest(items, k)

    assert torch.cat([item.mask for item in items]).tolist() == reference(everything, k)


@given(st.lists(FLOATS.filter(lambda x: abs(x) > 1e-30), min_size=2, max_size=60), st.data())
def test_in_two_updates_what_was_pruned_stays_and_the_rest_is_ranked(values, data):
    first = data.draw(st.integers(0, len(values) - 1))
    second = data.draw(st.integers(first, len(values)))
    weights = torch.tensor(values)
    item = Scored(
        "layer", torch.ones(len(values), dtype=torch.uint8), lambda a, b: weights[a:b] + 0.0
    )
    prune_smallest([item], first)
    before = item.mask.clone()
    weights.mul_(item.mask)

    prune_smallest([item], second)

    assert not (item.mask & ~before & 1).any()
    assert item.mask.tolist() == reference(values, second)


def test_returns_the_histogram_in_ascending_order():
    histogram = prune_smallest([scored("a", torch.tensor([-2.0, 0.0, 1.0, 1.0]))], 1)
    (bins,) = histogram.nonzero(as_tuple=True)
    assert histogram[bins].tolist() == [1, 1, 2]
    assert int(histogram.sum()) == 4


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_name_the_layer(bad):
    items = [scored("good", torch.rand(9)), scored("conv2.weight", torch.tensor([1.0, bad]))]
    with pytest.raises(ScoreError, match=r"conv2.weight: 1 of its scores are infinite or NaN"):
        prune_smallest(items, 3)


def test_all_zero_scores_name_the_layer():
    items = [scored("good", torch.rand(9)), scored("conv2.weight", torch.zeros(5))]
    with pytest.raises(ScoreError, match=r"conv2.weight: all of its 5 scores are zero"):
        prune_smallest(items, 3)


def test_denormal_scores_are_not_zero():
    """All of them are below 3.7e-40, in the lowest bin of the first digit."""
    scores = torch.tensor([3e-40, 0.0, 1e-45, 2e-40])
    item = scored("a", scores)
    prune_smallest([item], 2)
    assert item.mask.tolist() == reference(scores.tolist(), 2)


def test_k_out_of_range():
    mask = torch.tensor([0, 0, 1], dtype=torch.uint8)
    scores = torch.tensor([0.0, 0.0, 1.0])
    for k in (1, 4):
        with pytest.raises(ValueError, match=f"cannot prune {k} of 3 .* 2 are pruned"):
            prune_smallest([scored("a", scores, mask)], k)


def test_a_pruned_entry_with_a_score_is_refused():
    mask = torch.tensor([0, 1, 1], dtype=torch.uint8)
    with pytest.raises(ScoreError, match="a: a pruned weight, its state or its score is not zero"):
        prune_smallest([scored("a", torch.tensor([1.0, 2.0, 3.0]), mask)], 2)


def test_slices_of_any_size_give_the_same(monkeypatch):
    scores = torch.randn(5000).round(decimals=1)
    masks = []
    for size in (7, 64, 5000):
        monkeypatch.setitem(slices.SLICE, "cpu", size)
        item = scored("a", scores)
        prune_smallest([item], 1234)
        masks.append(item.mask)
    assert masks[0].equal(masks[1]) and masks[0].equal(masks[2])
    assert masks[0].tolist() == reference(scores.tolist(), 1234)


def test_every_border_of_a_bin():
    """Neighbouring bit patterns around each power of two, positive and negative."""
    bits = [e << 23 | low for e in range(255) for low in (0, 1, 0xFFFF, 0x10000, 0x7FFFFF)]
    positive = [struct.unpack("<f", struct.pack("<I", b))[0] for b in bits]
    values = positive + [-x for x in positive]
    torch.manual_seed(0)
    values = [values[i] for i in torch.randperm(len(values))]
    for k in range(1, len(values), 97):
        item = scored("a", torch.tensor(values))
        prune_smallest([item], k)
        assert item.mask.tolist() == reference(values, k), k


@pytest.mark.slow
def test_more_than_2_to_the_24_elements_with_one_odd_one():
    """float32 counters stop at 2^24, and quantile refuses more."""
    n = 2**24 + 4096
    scores = torch.ones(n)
    scores[-1] = 0.5
    item = scored("a", scores)
    prune_smallest([item], 2**24 + 2)
    assert item.mask.numel() - int(item.mask.count_nonzero()) == 2**24 + 2
    assert item.mask[-1] == 0  # the smallest
    assert not item.mask[: 2**24 + 1].any() and item.mask[2**24 + 1 : -1].all()  # ties by index
