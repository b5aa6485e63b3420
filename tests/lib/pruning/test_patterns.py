# SPDX-License-Identifier: MIT
"""Two of four along the input, and whole channels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lib.config.settings import load_settings
from lib.pruning.patterns import PATTERNS
from tests.models import MODELS

TWO_OF_FOUR, CHANNEL = PATTERNS["2to4"], PATTERNS["channel"]
FEW = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])


@given(arrays("float32", (3, 8), elements=FEW))
def test_two_of_four_are_the_smallest_ties_by_index(scores):
    scores = torch.tensor(scores)
    mask = torch.ones(3, 8, dtype=torch.uint8)
    TWO_OF_FOUR.prune(mask, scores, torch.zeros(6, dtype=torch.uint8))
    for row_mask, row in zip(mask.view(-1, 4).tolist(), scores.view(-1, 4).tolist(), strict=True):
        lost = sorted(range(4), key=lambda i: row[i])[:2]
        assert row_mask == [int(i not in lost) for i in range(4)]
    sums = TWO_OF_FOUR.unit_scores(scores)
    assert sums.allclose(scores.view(-1, 4).sort(1).values[:, :2].sum(1))


def test_a_group_pruned_once_stays_as_it_is():
    mask = torch.tensor([[0, 1, 0, 1]], dtype=torch.uint8)
    assert TWO_OF_FOUR.unit_mask(mask).tolist() == [0]
    scores = torch.tensor([[9.0, 0.0, 9.0, 0.0]])
    TWO_OF_FOUR.prune(mask, scores, torch.zeros(1, dtype=torch.uint8))
    assert mask.tolist() == [[0, 1, 0, 1]]


def test_groups_of_a_convolution_run_along_its_input_channels():
    mask = torch.ones(2, 4, 3, 3, dtype=torch.uint8)
    scores = torch.rand(2, 4, 3, 3)
    TWO_OF_FOUR.prune(mask, scores, torch.zeros(18, dtype=torch.uint8))
    assert (mask.sum(1) == 2).all()
    assert ((scores * mask).sum(1) == scores.sort(1).values[:, 2:].sum(1)).all()


def test_channels():
    scores = torch.tensor([[1.0, 2.0], [5.0, 0.0], [0.0, 0.5]])
    assert CHANNEL.unit_scores(scores).tolist() == [1.5, 2.5, 0.25]
    mask = torch.ones(3, 2, dtype=torch.uint8)
    CHANNEL.prune(mask, scores, torch.tensor([1, 0, 1], dtype=torch.uint8))
    assert mask.tolist() == [[1, 1], [0, 0], [1, 1]]
    assert CHANNEL.unit_mask(mask).tolist() == [1, 0, 1]


@pytest.mark.parametrize("model", MODELS)
def test_the_first_layer_is_exempt_where_its_input_cannot_be_pruned_2to4(model, tmp_path):
    """Images have one or three channels."""
    (tmp_path / "config").write_text(f"CONFIG_MODEL_{model.upper()}=y\n")
    flags = ["--config", str(tmp_path / "config"), "--pruning-method", "magnitude"]
    plain = load_settings(model, flags)
    assert not plain.PRUNING_EXEMPT_FIRST
    if plain.HAS_2TO4:
        pruned = load_settings(model, [*flags, "--pruning-pattern", "2to4"])
        assert pruned.PRUNING_EXEMPT_FIRST == plain.HAS_IMAGE_DATA
