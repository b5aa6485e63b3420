# SPDX-License-Identifier: MIT
"""The sweep that the variables of `make matrix` describe: a grid without a file.

    sweep_of_variables({"OPTIMIZER": "sgd adamw", "SEED": "1 2 3", "NUM_EPOCHS": "5"}, base=text)

Several words are an axis, one word is a setting. Words are split as in a shell, so that a value
with a space is in quotes.
"""

import re
from collections.abc import Mapping
from typing import Any

from ..config import dotconfig
from ..config.assign import apply
from ..config.dotconfig import ConfigError
from ..config.tree import Tree
from ..errors import BadUse
from .description import Sweep, sweep_of

_LONGEST = 45  # of a name that is made from the axes


def sweep_of_variables(
    variables: Mapping[str, str], name: str = "", *, base: str, metric: str = ""
) -> Sweep:
    """The grid of `variables`, {symbol: words}, on the .config with the text `base`.

    `name` is by default made from the axes and the digest. The `metric` is by default that by which
    the configuration judges checkpoints; what counts is its last value. Raises BadUse.
    """
    fixed: dict[str, Any] = {}
    axes: dict[str, Any] = {}
    places = {}
    for symbol, text in variables.items():
        words = dotconfig.split_words(text, symbol)
        if len(words) > 1:
            axes[symbol] = words
        else:
            fixed[symbol] = words[0] if words else ""
        places["axes", symbol] = places["set", symbol] = "make matrix"
    seeds = axes.pop("SEED", None) or ([fixed.pop("SEED")] if "SEED" in fixed else [])
    places["seeds",] = "make matrix: SEED"
    if not axes and len(seeds) < 2:
        raise BadUse(
            'a matrix needs several values: make matrix LEARNING_RATE="0.001 0.002" SEED="1 2 3"'
        )
    places["defconfig",] = ".config"
    text, metrics = _minimal(base, metric)
    given = {"set": fixed, "axes": axes, "seeds": seeds, "metric": metrics}
    given = {key: value for key, value in given.items() if value}
    if name:
        return sweep_of(given, name, text, places)
    digest = sweep_of(given, "matrix", text, places).digest
    words = re.sub(r"[^a-z0-9]+", "-", "-".join(axes or ["seeds"]).lower()).strip("-")
    return sweep_of(given, f"{words[:_LONGEST].strip('-')}-{digest[:6]}", text, places)


def _minimal(base: str, metric: str) -> tuple[str, list[dict[str, str]]]:
    """The minimal form of the .config with the text `base`, and the metrics."""
    assignments, problems = dotconfig.parse(base, ".config")
    if problems:
        raise ConfigError(problems)
    tree = Tree()
    apply(tree, [assignments])
    tree.follow_defaults()
    values = tree.values()
    if metric:
        metrics = [{"name": metric}]
    else:
        goal = {"min": "minimize", "max": "maximize"}[str(values["CHECKPOINT_MODE"])]
        metrics = [{"name": str(values["CHECKPOINT_METRIC"]), "goal": goal}]
    return tree.defconfig_text(), metrics
