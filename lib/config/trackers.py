# SPDX-License-Identifier: MIT
"""Which experiment trackers there are: the one place to add a new one.

`TRACKER=` on the make command line and `--tracker` of the training programs take words: the name of
a tracker, or one of the words below for several; separated by commas or spaces, in any order and
case. What is named is enabled, all others are disabled.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ..errors import did_you_mean
from .dotconfig import Assignment, ConfigError, shorten


class Tracker(NamedTuple):
    """One experiment tracker: a row here, a backend file and an ENABLE_ symbol make a new one."""

    symbol: str  # in Kconfig
    backend: str  # module:class, a lib.tracking.backends.Backend
    package: str  # what has to be installed
    check: str = ""  # module:function, asked before a run starts: see lib/tracking/launch.py


_TRACKING = __package__.rpartition(".")[0] + ".tracking"
_BACKENDS = f"{_TRACKING}.backends"
TRACKERS = {
    "trackio": Tracker("ENABLE_TRACKIO", f"{_BACKENDS}.trackio:Trackio", "trackio"),
    "wandb": Tracker(
        "ENABLE_WANDB", f"{_BACKENDS}.wandb:Wandb", "wandb", f"{_TRACKING}.wandb_login:check"
    ),
    "mlflow": Tracker("ENABLE_MLFLOW", f"{_BACKENDS}.mlflow:MLflow", "mlflow"),
    "tensorboard": Tracker(
        "ENABLE_TENSORBOARD", f"{_BACKENDS}.tensorboard:TensorBoard", "tensorboard"
    ),
}
SYMBOLS = {name: tracker.symbol for name, tracker in TRACKERS.items()}
WORDS = {
    "none": (),
    "both": ("trackio", "wandb"),
    "all": tuple(SYMBOLS),
    **{name: (name,) for name in SYMBOLS},
}


def parse_trackers(text: str, origin: str = "TRACKER") -> tuple[str, ...]:
    """The trackers that `text` names, in the order of the table.

    Raises ConfigError for an unknown word, for no word at all, and for `none` beside others.
    """
    words = text.lower().replace(",", " ").split()
    problems = []
    for word in words:
        if word not in WORDS:
            hint = did_you_mean(word, WORDS, n=1)
            problems.append(f"{origin}: `{shorten(word)}` is not a tracker: {_allowed()}{hint}")
    if not words:
        problems.append(f"{origin}: names no tracker: {_allowed()}")
    elif "none" in words and len(set(words)) > 1:
        problems.append(f"{origin}: `none` excludes the others in `{shorten(text)}`")
    if problems:
        raise ConfigError(problems)
    chosen = {name for word in words for name in WORDS[word]}
    return tuple(name for name in SYMBOLS if name in chosen)


def tracker_assignments(text: str, origin: str) -> list[Assignment]:
    """What `TRACKER=text` sets: y or n for the ENABLE_ symbol of every tracker."""
    chosen = parse_trackers(text, origin)
    return [
        Assignment(symbol, "y" if name in chosen else "n", f"{origin}={shorten(text)}")
        for name, symbol in SYMBOLS.items()
    ]


def enabled_trackers(values: Mapping[str, object]) -> tuple[str, ...]:
    """The trackers whose symbol is true in `values`, in the order of the table."""
    return tuple(name for name, symbol in SYMBOLS.items() if values[symbol])


def _allowed() -> str:
    return f"use {', '.join(sorted(WORDS))}, or several of them with commas"
