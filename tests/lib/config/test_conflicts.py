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
        ("PRUNING_METHOD=lamp PRUNING_SCOPE=layer", "SCOPE=layer: unmet .* !PRUNING_METHOD_LAMP"),
        ("PRUNING_METHOD=lamp PRUNING_PATTERN=channel", "channel: unmet .* !PRUNING_METHOD_LAMP"),
        (
            "PRUNING_METHOD=magnitude PRUNING_SCHEDULE=alternating REGROWTH=0.5",
            "REGROWTH=0.5: unmet .* !PRUNING_SCHEDULE_ALTERNATING",
        ),
        ("PRUNING_METHOD=state PRUNING_SCORE_POWER=0.5", "0.5: unmet .* PRUNING_SCORE_V_POWER"),
        ("WARMUP_STEPS=1000000000 MAX_STEPS=30", "WARMUP_STEPS=1000000000: .* MAX_STEPS=30"),
        ('OUTPUT_DIR=""', 'OUTPUT_DIR="": its files would go into .*: choose another directory'),
        ("OUTPUT_DIR=.", r'OUTPUT_DIR="\.": its files would go into'),
        ("OUTPUT_DIR=/", 'OUTPUT_DIR="/": its files would go into / itself'),
        ("DATA_DIR=lib/..", 'DATA_DIR="lib/..": its files would go into'),
        ("NUM_THREADS=4096", r"NUM_THREADS=4096: out of range, want an integer in \[0, 1024\]"),
        ("MODEL=gpt2 DATASET=custom DATASET_NAME=a/b", 'DATASET_NAME="a/b": .* use letters'),
        ("MODEL=gpt2 DATASET=custom DATASET_NAME=..", r'DATASET_NAME="\.\.": .* not only dots'),
        ('MODEL=gpt2 DATASET=custom DATASET_NAME=""', 'DATASET_NAME="": .* needs a name'),
        ("MODEL=gpt2 DATASET_NAME=books", "DATASET_NAME=books: unmet .* DATASET_CUSTOM"),
        (
            "MODEL=gpt2 PRUNING_METHOD=magnitude PRUNING_PATTERN=2to4 TARGET_SPARSITY=0.6",
            "TARGET_SPARSITY=0.6: PRUNING_PATTERN=2to4 removes two of four weights: at most 0.5",
        ),
    ],
)
def test_refused(tree, words, complaint):
    with pytest.raises(ConfigError, match=complaint):
        assign(tree, words)


@pytest.mark.parametrize(
    ("file", "words", "note"),
    [
        ("", "OPTIMIZER=sgd", "LEARNING_RATE 0.002 → 0.05, WEIGHT_DECAY 0.01 → 0.0"),
        ("MODEL=gpt2", "DATASET=custom", "TOKENIZER bytes → gpt2"),
        ("MODEL=gpt2", "DATASET=tinystories", "TOKENIZER bytes → gpt2, VAL_FRACTION 0.05 → 0.01"),
    ],
)
def test_defaults_that_follow_are_said(tree, file, words, note):
    assign(tree, file)
    tree.follow_defaults()
    assert apply(tree, [parse_words(words, "SET")[0]]) == [
        f"these defaults follow what was set: {note}"
    ]


@pytest.mark.parametrize("words", ["SEED=1", "BATCH_SIZE=9 MAX_STEPS=2", "MODEL=gpt2"])
def test_where_nothing_follows_nothing_is_said(tree, words):
    """Of another model everything would have to be said."""
    assert assign(tree, words) == []


@pytest.mark.parametrize(
    "words",
    [
        "",
        "WARMUP_STEPS=30 MAX_STEPS=30",
        "WARMUP_STEPS=30",
        "MODEL=gpt2 MAX_STEPS=2",  # a short trial; the default of WARMUP_STEPS is 700
        "MODEL=gpt2 DATASET=custom DATASET_NAME=my-books.2",
        "OPTIMIZER=adamwprune",
        "OPTIMIZER=sgd PRUNING_METHOD=movement REGROWTH=0.5",
        "PRUNING_METHOD=magnitude PRUNING_UNIT=steps MAX_STEPS=1000",
        "PRUNING_METHOD=magnitude PRUNING_START=1.0 PRUNING_END=1.0",
        "MODEL=gpt2 PRUNING_METHOD=magnitude PRUNING_PATTERN=2to4 TARGET_SPARSITY=0.5",
    ],
)
def test_accepted(tree, words):
    assign(tree, words)
