# SPDX-License-Identifier: MIT
"""Going on with a run: finding it, and loading its own configuration.

where = locate("model_adamw_20260101-120000", "outputs/training")  # a run or a checkpoint
notes = load_run(tree, run_directory(where))
apply(tree, layers)                                                # SET, flags
changed = checked_changes(tree, run_directory(where))              # lib/config/changes.py
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import BadUse, did_you_mean
from ..files import ROOT
from . import config_yaml, dotconfig
from .assign import apply
from .dotconfig import Assignment, ConfigError, shorten
from .tree import Symbol, Tree, Value, expand_home, text_of

AUTO = "auto"  # go on with the run of this launch if there is one
HIDDEN = "[redacted]"  # what stands in a run's files in place of a secret (lib/runs/redact.py)


def locate(given: str, output_dir: str) -> Path:
    """The run directory or checkpoint that `given` names: a run in `output_dir`, or a path.

    Relative to the root of the project where it is below it, absolute elsewhere. Raises BadUse.
    """
    named = "/" not in given and given not in ("", ".", "..")
    places = [ROOT / expand_home(output_dir) / given] if named else []
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
    if lacking == [".config"]:
        raise BadUse(
            f"--resume {where}: {directory}/.config is missing. The run of a script goes on when "
            "the script is started again, with adamwprune.run(…, resume=True)"
        )
    raise BadUse(
        f"--resume {where}: not a run, {directory}/{lacking[0]} is missing; name the directory of "
        "a run, or a file in its checkpoints (`make runs` lists the runs)"
    )


def _near_runs(given: str, output_dir: str) -> str:
    try:
        return did_you_mean(
            given, [p.name for p in (ROOT / expand_home(output_dir)).iterdir() if p.is_dir()]
        )
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
    models = {symbol.name for symbol in tree.choice_options["MODEL"].values()}
    if not problems and not models & {a.name for a in assignments if a.value == "y"}:
        problems = [f"{path} is damaged, it names no model: `make verify RUN={run_dir}` says more"]
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
    if HIDDEN not in assignment.value:
        return assignment
    value = text_of(present.get(assignment.name))
    if value and fits(assignment.value, value):
        return assignment._replace(value=value)
    notes.append(
        f"{assignment.name}={shorten(assignment.value)}: runs keep no secrets, and the present "
        f"configuration has no value that fits: give it with SET='{assignment.name}=…'"
    )
    return assignment


def fits(hidden: str, value: str) -> bool:
    """Whether `value` may be what was redacted to `hidden`."""
    pattern = ".*".join(re.escape(part) for part in hidden.split(HIDDEN))
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
        noted = config_yaml.load(ROOT / run_dir / "origins.yaml")
        origins = {name: str(of["origin"]) for name, of in noted.items()}
    except (OSError, ValueError, TypeError, KeyError):
        origins = {}  # absent or damaged: the values themselves are what matters
    tree.origins = {name: origins.get(name, f"{run_dir}/.config") for name in tree.chosen()}
