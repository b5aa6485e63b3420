# SPDX-License-Identifier: MIT
"""Going on with a run: its own configuration, and which of its symbols may change meanwhile.

    where = locate("model_adamw_20260101-120000", "outputs/training")  # a run or a checkpoint
    notes = load_run(tree, run_directory(where))
    apply(tree, layers)                                                  # SET, flags
    changed = checked_changes(tree, run_directory(where))                # {"NUM_EPOCHS": [10, 20]}

What is not science may change, apart from what identifies the run. Of what is science
(lib/config/science.py), only what is listed here: with those symbols the saved state keeps its
meaning. For all others there is a new run that begins with the weights of the old one.
"""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import yaml

from lib.config import dotconfig
from lib.config.assign import apply
from lib.config.dotconfig import Assignment, ConfigError, shorten
from lib.config.science import is_science
from lib.config.symbols import menus
from lib.config.tree import BOOL, Symbol, Tree, Value, text_of
from lib.errors import BadUse, did_you_mean
from lib.files import ROOT

AUTO = "auto"  # go on with the run of this launch if there is one

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
}
_HIDDEN = "[redacted]"  # what stands in a run's files in place of a secret (lib/runs/redact.py)


def locate(given: str, output_dir: str) -> Path:
    """The run directory or checkpoint that `given` names: a run in `output_dir`, or a path.

    Relative to the root of the project where it is below it, absolute elsewhere. Raises BadUse.
    """
    named = "/" not in given and given not in ("", ".", "..")
    places = [ROOT / output_dir / given] if named else []
    try:
        found = next((p for p in [*places, Path(given)] if given and p.exists()), None)
    except (OSError, ValueError):  # too long for a file system, or with a NUL in it
        found = None
    if found is None:
        hint = _near_runs(given, output_dir) if named else ""
        where = f"in {output_dir}, and no such path" if named else "there"
        raise BadUse(f"--resume {shorten(given)}: no run {where}{hint}; `make runs` lists the runs")
    path = Path(os.path.abspath(found))  # noqa: PTH100, a symbolic link stays one
    path = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    run_directory(path)
    return path


def run_directory(where: Path) -> Path:
    """The directory of the run that `where`, the run itself or a checkpoint in it, belongs to.

    Raises BadUse when that is not a run.
    """
    directory = where.parent.parent if where.parent.name == "checkpoints" else where
    lacking = [n for n in ("metadata.yaml", ".config") if not (ROOT / directory / n).is_file()]
    if not lacking:
        return directory
    if (ROOT / where).is_file():
        raise BadUse(
            f"--resume {where}: not in the checkpoints folder of a run. Its weights alone can "
            f"begin a new run: --init-from {where}, or make SET=INIT_FROM={where}"
        )
    raise BadUse(
        f"--resume {where}: not a run, {directory}/{lacking[0]} is missing; name the directory of "
        "a run, or a file in its checkpoints (`make runs` lists the runs)"
    )


def _near_runs(given: str, output_dir: str) -> str:
    try:
        return did_you_mean(given, [p.name for p in (ROOT / output_dir).iterdir() if p.is_dir()])
    except OSError:
        return ""


# ------------------------------------------------------------------ the run's own configuration


def load_run(tree: Tree, run_dir: Path, present: Mapping[str, Value] | None = None) -> list[str]:
    """Give `tree` the configuration of the run in `run_dir`; returns notes.

    A run's files lack secrets: a value that had one is taken from `present`, symbol → value, if
    what is there fits. Symbols that are newer than the run have their defaults.
    Raises ConfigError when the file is damaged, or has values of symbols that are gone.
    """
    path = run_dir / ".config"
    assignments, problems = dotconfig.read(ROOT / path, origin=str(path))
    if problems:
        raise ConfigError(problems)
    notes: list[str] = []
    known = [a for a in assignments if _exists(tree, a) or a.value not in ("n", "", "0")]
    notes += [f"{a.origin}: {a.name} is gone" for a in assignments if a not in known]
    gone = [f"{a.origin}: {a}: no such symbol any more" for a in known if not _exists(tree, a)]
    if gone:
        raise ConfigError(
            [
                *gone,
                f"check out the commit of the run ({run_dir}/metadata.yaml: git), or, if it does "
                "not matter for this run, remove the line",
            ]
        )
    apply(tree, [[_with_secret(a, present or {}, notes) for a in known]])
    notes += _newer(tree, {a.name for a in known}, path)
    tree.follow_defaults()
    _recall_origins(tree, run_dir)
    return notes


def _exists(tree: Tree, assignment: Assignment) -> bool:
    symbol = tree.syms.get(assignment.name)
    return symbol is not None and bool(symbol.nodes)


def _with_secret(
    assignment: Assignment, present: Mapping[str, Value], notes: list[str]
) -> Assignment:
    if _HIDDEN not in assignment.value:
        return assignment
    value = text_of(present.get(assignment.name))
    if value and _fits(assignment.value, value):
        return assignment._replace(value=value)
    notes.append(
        f"{assignment.name}={shorten(assignment.value)}: runs keep no secrets, and the present "
        f"configuration has no value that fits: give it with SET='{assignment.name}=…'"
    )
    return assignment


def _fits(hidden: str, value: str) -> bool:
    """Whether `value` may be what was redacted to `hidden`."""
    pattern = ".*".join(re.escape(part) for part in hidden.split(_HIDDEN))
    return re.fullmatch(pattern, value, re.DOTALL) is not None


def _newer(tree: Tree, named: set[str], path: Path) -> list[str]:
    """A note on the symbols that the run's .config does not have."""

    def is_named(symbol: Symbol) -> bool:
        symbols = symbol.choice.syms if symbol.choice else [symbol]
        return any(each.name in named for each in symbols)

    new = [
        f"{entry.name}={shorten(entry.text)}"
        for entry in tree.entries()
        if not is_named(entry.symbol)
    ]
    return [f"newer than {path}, so at their defaults: {', '.join(new)}"] if new else []


def _recall_origins(tree: Tree, run_dir: Path) -> None:
    """Where the values came from when the run began."""
    try:
        with (ROOT / run_dir / "origins.yaml").open(encoding="utf-8") as file:
            noted = yaml.load(file, Loader=yaml.CSafeLoader)
        origins = {name: str(of["origin"]) for name, of in noted.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        origins = {}  # absent or damaged: the values themselves are what matters
    tree.origins = {name: origins.get(name, f"{run_dir}/.config") for name in tree.chosen()}


# ------------------------------------------------------------------ what may change


def changes(tree: Tree, run_dir: Path) -> dict[str, list[Value]]:
    """{symbol: [value of the run in `run_dir`, value in `tree`]} of what differs, sorted.

    Symbols that are in use in only one of the two follow from others and are left out.
    """
    old = Tree()
    load_run(old, run_dir)
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
    if isinstance(old, str) and _HIDDEN in old:
        return _fits(old, str(new))
    return old == new


def checked_changes(tree: Tree, run_dir: Path) -> dict[str, list[Value]]:
    """`changes`. Raises ConfigError for those that would leave the saved state without meaning."""
    found = changes(tree, run_dir)
    problems = [
        f"{name}: {said(old)} → {said(new)}: {reason}"
        for name, (old, new) in found.items()
        if (reason := why_not(tree, name))
    ]
    problems += _batch_problem(tree, run_dir, found) + _lost_secrets(tree)
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
    return _BECAUSE.get(name) or _BECAUSE_OF_MENU[menu[0]]


def _menu(tree: Tree, name: str) -> tuple[str, ...]:
    options = tree.choice_options.get(name)
    return menus(next(iter(options.values())) if options else tree.syms[name])


def _batch_problem(tree: Tree, run_dir: Path, found: Mapping[str, list[Value]]) -> list[str]:
    if not BATCH & found.keys():
        return []
    old = Tree()
    load_run(old, run_dir)
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
        and _HIDDEN in entry.text
        and is_science(entry.name, entry.menu)
    ]


def said(value: Value) -> str:
    """A value for a message, on one line."""
    return shorten(text_of(value)) or '""'
