# SPDX-License-Identifier: MIT
"""Values that do not go together are refused when they are assigned, with the reason."""

import pytest

from lib.config.assign import apply
from lib.config.dotconfig import ConfigError, parse_words
from lib.config.tree import Tree


@pytest.fixture(scope="module")
def tree():
    return Tree()


def assign(tree, words):
    tree.unset_values()
    return apply(tree, [parse_words(words, "SET")[0]])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("PRUNING_METHOD=magnitude PRUNING_END=1.5", "PRUNING_END=1.5: more than the whole"),
        ("PRUNING_METHOD=magnitude PRUNING_START=0.7", "START=0.7: later than PRUNING_END=0.6"),
        (
            "PRUNING_METHOD=magnitude PRUNING_UNIT=steps MAX_STEPS=900",
            "PRUNING_END=1000.0: pruning would end after training, MAX_STEPS=900",
        ),
        (
            "PRUNING_METHOD=magnitude PRUNING_SCHEDULE=one-shot PRUNING_UNIT=steps MAX_STEPS=90",
            "PRUNING_START=100.0: pruning would end after training, MAX_STEPS=90",
        ),
        (
            "PRUNING_METHOD=magnitude PRUNING_UNIT=steps PRUNING_FREQUENCY=2.5",
            "PRUNING_FREQUENCY=2.5: not a whole number of steps",
        ),
        ("PRUNING_METHOD=magnitude TARGET_SPARSITY=1.0", r"TARGET_SPARSITY=1.0: out of range"),
        ("PRUNING_METHOD=magnitude TARGET_SPARSITY=-0.1", "TARGET_SPARSITY=-0.1: out of range"),
        ("PRUNING_METHOD=state OPTIMIZER=sgd", "PRUNING_METHOD=state: unmet .* !OPTIMIZER_SGD"),
        (
            "OPTIMIZER=adamwprune PRUNING_METHOD=movement",
            "PRUNING_METHOD=movement: unmet .* !OPTIMIZER_ADAMWPRUNE",
        ),
        ("PRUNING_METHOD=magnitude PRUNING_PATTERN=2to4", "2to4: unmet .* HAS_2TO4"),
        (
            "MODEL=gpt2 PRUNING_METHOD=magnitude PRUNING_PATTERN=2to4 TARGET_SPARSITY=0.6",
            "TARGET_SPARSITY=0.6: PRUNING_PATTERN=2to4 removes two of four, 0.5 at most",
        ),
    ],
)
def test_refused(tree, words, complaint):
    with pytest.raises(ConfigError, match=complaint):
        assign(tree, words)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "OPTIMIZER=adamwprune",
        "OPTIMIZER=sgd PRUNING_METHOD=movement REGROWTH=0.5",
        "PRUNING_METHOD=magnitude PRUNING_UNIT=steps MAX_STEPS=1000",
        "PRUNING_METHOD=magnitude PRUNING_START=1.0 PRUNING_END=1.0",
        "MODEL=gpt2 PRUNING_METHOD=magnitude PRUNING_PATTERN=2to4 TARGET_SPARSITY=0.5",
    ],
)
def test_accepted(tree, words):
    assign(tree, words)
