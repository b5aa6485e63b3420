# SPDX-License-Identifier: MIT
"""What may change when a run goes on.

What is not science may change, apart from what identifies the run. Of what is science
(lib/config/science.py), only what is listed here, or whose help ends with

    May change when a run goes on.

With those symbols the saved state keeps its meaning. For all others there is a new run that begins
with the weights of the old one.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from ..files import ROOT
from .dotconfig import ConfigError, shorten
from .resume import HIDDEN, fits, load_run
from .science import is_science
from .symbols import help_of, menus
from .tree import BOOL, Tree, Value, text_of

# Science that may change: how long the training lasts, what its updates are scaled by, what is
# measured and when, and what computes it. What is not listed stays, so that a new symbol does.
MAY_CHANGE = frozenset(
    {
        "CHECKPOINT_METRIC",
        "CHECKPOINT_MODE",
        "COMPILE",
        "DATA_FILES",  # they may lie elsewhere; the checkpoint has the fingerprint of the data
        "DEVICE",
        "EARLY_STOP",
        "EVAL_INTERVAL",
        "GRAD_CLIP",
        "KERNELS",
        "LEARNING_RATE",
        "LR_SCHEDULE",
        "MAX_STEPS",
        "MAX_TIME",
        "MIN_LR_RATIO",
        "NUM_EPOCHS",
        "NUM_THREADS",
        "PRECISION",
        "RANK_TIMEOUT",
        "WARMUP_STEPS",
        "WEIGHT_DECAY",
    }
)
_IN_HELP = "May change when a run goes on."
# May change together, as long as a step has as many examples: the batch may have to be divided in
# another way on other devices.
BATCH = frozenset({"BATCH_SIZE", "GRAD_ACCUM", "HYPER_PARAM_AUTO", "TARGET_EFFECTIVE_BATCH"})

# Not science, and yet what the run is: where it is, and what trackers know it by.
_IDENTITY = "a run keeps its name and place, also in the trackers"
IDENTITY = dict.fromkeys(
    ("OUTPUT_DIR", "TRACKER_RUN_NAME", "TRACKER_PROJECT", "WANDB_PROJECT", "WANDB_ENTITY"),
    _IDENTITY,
)

# Why a symbol of science stays, by the outermost menu that it is in, or by name.
_BECAUSE_OF_MENU = {
    "Model": "the saved weights are those of another model",
    "Data": "the steps made so far saw other data",
    "Training": "the steps made so far were others",
    "Device": "the saved state is divided in another way",
    "Learning rate": "the steps made so far were others",
    "Optimizer": "the saved state of the optimizer would mean something else",
    "Pruning": "the saved masks and scores would mean something else",
}
_BECAUSE = {
    "SEED": "the order of the data and the random numbers of the steps made so far were others",
    "INIT_FROM": "the run goes on from its own checkpoint",
    "EMA_DECAY": "the mean of the weights has been taken with the old decay since the first step",
}


def _stored(run_dir: Path) -> Tree:
    """The configuration of the run, without the secrets in it."""
    tree = Tree()
    load_run(tree, run_dir)
    return tree


def _differences(old: Tree, tree: Tree, run_dir: Path) -> dict[str, list[Value]]:
    """Symbols that are in use in only one of the two follow from others, and are left out."""
    before, after = old.values(), tree.values()
    names = {entry.name for entry in old.entries()} & {entry.name for entry in tree.entries()}
    return {
        name: [before[name], after[name]]
        for name in sorted(names)
        if not _same(name, before[name], after[name], run_dir)
    }


def _same(name: str, old: Value, new: Value, run_dir: Path) -> bool:
    if name == "OUTPUT_DIR":  # whatever it was called when the run began: it may have been moved
        place = (ROOT / run_dir).resolve().parent
        return old == new or (ROOT / str(new)).resolve() == place
    if isinstance(old, str) and HIDDEN in old:
        return fits(old, str(new))
    return old == new


def checked_changes(tree: Tree, run_dir: Path) -> dict[str, list[Value]]:
    """{symbol: [value of the run in `run_dir`, value in `tree`]} of what differs, sorted.

    Raises ConfigError for changes that would leave the saved state without meaning.
    """
    old = _stored(run_dir)
    found = _differences(old, tree, run_dir)
    problems = [
        f"{name}: {said(before)} → {said(after)}: {reason}"
        for name, (before, after) in found.items()
        if (reason := why_not(tree, name))
    ]
    problems += _batch_problem(old, tree, found) + _lost_secrets(tree)
    if not problems:
        return found
    words = [f"INIT_FROM={run_dir}"]  # and what was asked for, without what follows from it
    words += [f"{name}={text_of(found[name][1])}" for name in found if name in tree.origins]
    raise ConfigError(
        [
            f"{run_dir} cannot go on like this:",
            *problems,
            "a new run can, from the weights of this one: "
            f"make KCONFIG_CONFIG={run_dir}/.config SET={shlex.quote(shlex.join(words))}",
        ]
    )


def why_not(tree: Tree, name: str) -> str:
    """Why the symbol, or choice, `name` must not change when a run goes on; empty if it may."""
    if name in IDENTITY:
        return IDENTITY[name]
    menu = _menu(tree, name)
    if name in MAY_CHANGE or name in BATCH or not is_science(name, menu):
        return ""
    if name in tree.syms and help_of(tree.syms[name]).rstrip().endswith(_IN_HELP):
        return ""
    return _BECAUSE.get(name) or _BECAUSE_OF_MENU[menu[0]]


def _menu(tree: Tree, name: str) -> tuple[str, ...]:
    options = tree.choice_options.get(name)
    return menus(next(iter(options.values())) if options else tree.syms[name])


def _batch_problem(old: Tree, tree: Tree, found: Mapping[str, list[Value]]) -> list[str]:
    if not BATCH & found.keys():
        return []
    before, after = _examples(old.values()), _examples(tree.values())
    if before == after:
        return []
    return [f"a step would have {after} examples, and the steps made so far had {before}"]


def _examples(values: Mapping[str, Value]) -> int:
    """How many examples go into a step."""
    if values["HYPER_PARAM_AUTO"]:
        return int(values["TARGET_EFFECTIVE_BATCH"])
    return int(values["BATCH_SIZE"]) * int(values["GRAD_ACCUM"])


def _lost_secrets(tree: Tree) -> list[str]:
    """Science whose text lacks a secret; a tracker that lacks its password is no reason to stop."""
    return [
        f"{entry.name}={shorten(entry.text)}: give the whole value with SET='{entry.name}=…', or "
        "in the present configuration: runs keep no secrets"
        for entry in tree.entries()
        if entry.symbol.orig_type is not BOOL
        and HIDDEN in entry.text
        and is_science(entry.name, entry.menu)
    ]


def said(value: Value) -> str:
    """A value for a message, on one line."""
    return shorten(text_of(value)) or '""'
