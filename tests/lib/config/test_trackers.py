# SPDX-License-Identifier: MIT
"""The words of TRACKER=, in Python and in the script that Kconfig calls."""

import subprocess
from pathlib import Path

import pytest

from lib.config.dotconfig import ConfigError
from lib.config.trackers import (
    SYMBOLS,
    WORDS,
    enabled_trackers,
    parse_trackers,
    tracker_assignments,
)

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/check-tracker-enabled.sh"


@pytest.mark.parametrize(
    ("text", "trackers"),
    [
        ("none", ()),
        ("NONE", ()),
        ("wandb", ("wandb",)),
        ("trackio", ("trackio",)),
        ("both", ("trackio", "wandb")),
        ("wandb,trackio", ("trackio", "wandb")),
        (" WandB ,\ttrackio, ", ("trackio", "wandb")),
        ("wandb wandb", ("wandb",)),
        ("both,wandb", ("trackio", "wandb")),
        ("tensorboard,both", ("trackio", "wandb", "tensorboard")),
        ("all", ("trackio", "wandb", "mlflow", "tensorboard")),
    ],
)
def test_words(text, trackers):
    assert parse_trackers(text) == trackers


@pytest.mark.parametrize(
    "text", ["", " ", ",", "wand", "wandbx", "wandb;trackio", "none,wandb", "$(x)"]
)
def test_other_words_are_refused_with_the_allowed_ones(text):
    with pytest.raises(ConfigError, match=r"TRACKER: .*"):
        parse_trackers(text)


def test_a_near_word_is_suggested():
    with pytest.raises(ConfigError, match=r"use all, both, mlflow, .*did you mean wandb"):
        parse_trackers("wand")


def test_all_trackers_are_set_on_or_off():
    values = {a.name: a.value for a in tracker_assignments("wandb", "TRACKER")}
    assert values == {
        symbol: "y" if symbol == "ENABLE_WANDB" else "n" for symbol in SYMBOLS.values()
    }
    assert enabled_trackers({name: value == "y" for name, value in values.items()}) == ("wandb",)


@pytest.mark.parametrize("words", [*WORDS, "wand", "wandbx", "", "Wandb, TRACKIO", "x\nwandb", "*"])
def test_the_script_agrees(words):
    for name in SYMBOLS:
        answer = subprocess.run(
            [SCRIPT, name, words], check=True, capture_output=True, text=True
        ).stdout
        try:
            expected = name in parse_trackers(words)
        except ConfigError:
            expected = name in words.lower().split()
        assert answer == ("y\n" if expected else "n\n")
