# SPDX-License-Identifier: MIT
"""An optimizer from the symbols of a configuration."""

import pytest
import torch
from torch import nn

from lib.config.assign import apply
from lib.config.dotconfig import parse_words
from lib.config.settings import Settings
from lib.config.tree import Tree
from lib.errors import BadUse
from lib.optim.adamwspam import AdamWSPAM, Spam
from lib.optim.from_settings import optimizer_from_settings


def settings(words: str) -> Settings:
    tree = Tree()
    apply(tree, [parse_words(words, "SET")[0]])
    return Settings(tree)


def optimizer(words: str) -> torch.optim.Optimizer:
    return optimizer_from_settings(settings(words), nn.Linear(6, 5), 100)[0]


@pytest.mark.parametrize(
    ("words", "spam"),
    [
        ("SPAM_VARIANT=spam", Spam()),
        ("SPAM_VARIANT=stable", Spam(stable=True, reset_every=1000)),
        ("SPAM_RESET_EVERY=0", Spam(reset_every=0)),
        ("SPAM_THETA=9.5 SPAM_GRACE=3 SPAM_WARMUP=0", Spam(theta=9.5, grace=3, warmup=0)),
    ],
)
def test_spam_of_the_menu(words, spam):
    """By default the published values of the variant."""
    built = optimizer(f"OPTIMIZER=adamwspam {words}")
    assert isinstance(built, AdamWSPAM) and built.spam == spam


@pytest.mark.parametrize(
    ("words", "power"),
    [
        ("PRUNING_SCORE=v-power PRUNING_SCORE_POWER=0.5", 0.5),
        ("PRUNING_SCORE=v-power", 0.25),
        ("PRUNING_SCORE=bitter7", None),
    ],
)
def test_the_exponent_of_a_score(words, power):
    chosen = settings(f"OPTIMIZER=adamw PRUNING_METHOD=state {words}")
    _, pruner = optimizer_from_settings(chosen, nn.Linear(6, 5), 100)
    assert pruner.score.power == power


def test_what_the_pruner_refuses_is_bad_use():
    with pytest.raises(BadUse, match="PRUNING_METHOD=magnitude: Linear has no prunable weight"):
        optimizer("PRUNING_METHOD=magnitude PRUNING_EXEMPT_FIRST=y")
