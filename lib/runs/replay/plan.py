# SPDX-License-Identifier: MIT
"""What of a run can be replayed: the code, the settings and the number of steps.

    plan = plan_replay(load_run(directory))
    plan.commit, plan.diff, plan.settings, plan.until, plan.notes

A run is replayed from its beginning in one training. One that was resumed with the same code and
settings is equal to that, bit for bit. Where a resume changed something that matters, the steps up
to there are replayed, with the settings of the beginning. Of a run that was interrupted, the steps
that it made are.
"""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ...config import dotconfig
from ...config.science import is_science
from ...config.symbols import menus
from ...config.tree import Tree, text_of
from ...errors import BadUse
from ...files import ROOT
from ...text import one_line
from ..journal import current_rows
from ..redact import REDACTED
from ..status import UnreadableRun, read
from ..stored import StoredRun, resolve

_LONGEST_CHAIN = 100  # branches of branches
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_SAVED = re.compile(r"step_([0-9]{8,18})")
_CUT = re.compile(r"^\[cut: \d+ characters in all\]$", re.MULTILINE)
_LOST = "\N{REPLACEMENT CHARACTER}"  # in the place of bytes that are not UTF-8
_CODE_MISSING = (
    "What can be done without its code: the same configuration with the present one, "
    "make KCONFIG_CONFIG={run}/.config"
)


@dataclass
class Plan:
    """`settings` are those in which the replay differs from the run's .config, symbol → text.

    Rows and checkpoints up to the step `until` are compared, all if it is None. `diff` is empty if
    there was none.
    """

    commit: str
    diff: str
    until: int | None = None
    processes: int = 1
    settings: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def plan_replay(run: StoredRun, data_dir: str = "data") -> Plan:
    """How to replay the run. Raises BadUse, saying why, when it cannot be.

    `data_dir` has the data when the folder where the run had it is not here.
    """
    if run.status == "running":
        raise BadUse(f"{run.name} is running: replay it when it has ended")
    if not run.journal.is_file() or not (run.dir / ".config").is_file():
        raise BadUse(f"{run.name} has no journal or no .config: there is nothing to replay")
    plan = Plan(_commit(run), _diff(run))
    if missing := _texts(run.part("git").get("untracked")):
        plan.notes.append(
            f"untracked files that the run may have used are not recorded: {', '.join(missing)}"
        )
    assignments, _ = dotconfig.read(run.dir / ".config")
    values = {assignment.name: assignment.value for assignment in assignments}
    _follow_resumes(run, plan, values)
    values |= plan.settings
    _keep_choices(run, plan, values)
    _find_places(run, plan, values, data_dir)
    if values.get("MAX_TIME", "0") not in ("", "0"):
        plan.notes.append("it was limited in time (MAX_TIME): here it may end at another step")
    hidden = sorted(name for name, value in values.items() if REDACTED in value)
    if hidden:
        plan.notes.append(
            f"secrets are not recorded, these settings lack them: {', '.join(hidden)}"
        )
    world_size = run.part("batch").get("world_size")
    plan.processes = world_size if type(world_size) is int and world_size > 0 else 1
    return plan


# -------------------------------------------------------------------------------------- the code


def _commit(run: StoredRun) -> str:
    commit = run.part("git").get("commit")
    if isinstance(commit, str) and _COMMIT.fullmatch(commit):
        return commit
    missing = _CODE_MISSING.format(run=run.dir)
    raise BadUse(f"{run.name} was not recorded with a git commit. {missing}")


def _diff(run: StoredRun) -> str:
    """The changes that were not committed. Raises BadUse when they are not known in full."""
    if not run.part("git").get("dirty"):
        return ""
    path, missing = run.dir / "git.diff", _CODE_MISSING.format(run=run.dir)
    try:
        diff = path.read_text("utf-8") if path.is_file() else ""
    except (OSError, ValueError) as error:
        raise BadUse(f"{path} cannot be read: {error}. {missing}") from None
    if not diff:
        raise BadUse(f"{run.name} had uncommitted changes, and {path} is missing. {missing}")
    if _CUT.search(diff[-200:]):
        raise BadUse(f"{path} was too long, and is cut off. {missing}")
    for number, line in enumerate(diff.split("\n"), 1):
        if line.startswith("+") and (REDACTED in line or _LOST in line):
            what = "a secret was redacted" if REDACTED in line else "the text is not UTF-8"
            raise BadUse(f"{path}:{number}: {what}, so the code is not what it was. {missing}")
    return diff


# ------------------------------------------------------------------------- what resumes changed


def _follow_resumes(run: StoredRun, plan: Plan, values: Mapping[str, str]) -> None:
    """The settings of the beginning, and the step up to which they and the code held."""
    if run.status != "completed":
        plan.until = _last_step(run)
        plan.notes.append(f"{run.status} after step {plan.until}: compared up to there")
    known = run.metadata.get("resumes")
    git, original = run.part("git"), dict[str, str]()
    for entry in reversed(known if isinstance(known, list) else []):
        changed = entry.get("changed") if isinstance(entry, dict) else None
        changed = changed if isinstance(changed, dict) else {}
        original |= {name: text_of(both[0]) for name, both in changed.items()}
        what = _science_in(changed)
        if entry.get("commit") != git.get("commit") or (entry.get("dirty") and not plan.diff):
            what.append("its code")
        elif entry.get("dirty"):
            plan.notes.append(
                f"resumed after step {entry.get('step')} with uncommitted changes, which are taken "
                "to be those of the beginning"
            )
        if what and type(entry.get("step")) is int:
            plan.until = min(entry["step"], plan.until or entry["step"])
            plan.notes.append(
                f"resumed after step {entry['step']} with changes in {', '.join(what)}: one "
                "training cannot make both parts, compared up to there"
            )
    plan.settings = {name: old for name, old in original.items() if old != values.get(name)}
    parent = run.part("parent")
    if parent and "checkpoint" not in parent:
        plan.notes.append(
            f"a branch of {one_line(parent.get('run'))}, whose first {parent.get('step')} steps "
            "are made again, too"
        )
    if plan.until == 0:
        raise BadUse(f"{run.name} has made no step that can be replayed: {plan.notes[0]}")


def _keep_choices(run: StoredRun, plan: Plan, values: Mapping[str, str]) -> None:
    """What the run chose by trial, as settings: the trial could end otherwise here."""
    precision, kernels = run.metadata.get("precision"), run.part("kernels")
    if values.get("PRECISION") == "auto" and isinstance(precision, str):
        plan.settings["PRECISION"] = precision
    if values.get("KERNELS") == "auto" and kernels:
        plan.settings["KERNELS"] = " ".join(f"{op}={name}" for op, name in kernels.items())


def _science_in(changed: Mapping[str, Any]) -> list[str]:
    """The symbols among `changed` that can change numbers; what is unknown here may."""
    syms = Tree().syms if changed else {}
    return [
        name
        for name in sorted(changed)
        if name not in syms or not syms[name].nodes or is_science(name, menus(syms[name]))
    ]


def _last_step(run: StoredRun) -> int:
    """The last one that was logged, or saved."""
    rows = (row for row, _ in current_rows(run.journal, on_damage=lambda _: None))
    logged = (row["step"] for row in rows if "step" in row)
    names = (path.stem for path in (run.dir / "checkpoints").glob("step_*"))
    saved = (int(match[1]) for name in names if (match := _SAVED.fullmatch(name)))
    return max(chain(logged, saved), default=0)


# --------------------------------------------------------------------------------------- places


def _find_places(run: StoredRun, plan: Plan, values: Mapping[str, str], data_dir: str) -> None:
    """Paths of the run as absolute ones: the work tree is elsewhere, and shares the data."""
    if values.get("DATA_FILES"):  # several, between spaces
        plan.settings["DATA_FILES"] = " ".join(map(_absolute, values["DATA_FILES"].split()))
    if values.get("DATA_DIR"):
        recorded = _absolute(values["DATA_DIR"])
        is_here = Path(recorded).is_dir()  # not if it is of another machine
        plan.settings["DATA_DIR"] = recorded if is_here else _absolute(data_dir)
    if values.get("INIT_FROM"):
        plan.settings["INIT_FROM"] = str(_parent_weights(run, values["INIT_FROM"]))


def _absolute(path: str) -> str:
    """The path, relative to this tree, as an absolute one."""
    return os.path.normpath(ROOT / Path(path).expanduser())


def _parent_weights(run: StoredRun, given: str) -> Path:
    """The checkpoint that the run began with. Raises BadUse when it is not here."""
    parent = _parent(run)
    path = Path(_absolute(given))
    if not path.is_file():
        directory = path if path.is_dir() else _run_named(run, str(parent.get("run") or given))
        path = directory / "checkpoints" / str(parent.get("checkpoint"))
        if _metadata_of(directory, parent) is None or not path.exists():
            raise BadUse(
                f"{run.name} began with the weights of {parent.get('run') or given} "
                f"({parent.get('checkpoint')}, step {parent.get('step')}), which are not here"
            )
    step = parent.get("step")  # best.pt may be that of a later step by now
    step_file = path.with_name(f"step_{step:08d}.pt") if type(step) is int else path
    return step_file if step_file.is_file() else path


def _parent(run: StoredRun) -> Mapping[str, Any]:
    """Whose weights the run began with; of a branch, its own parent is the run that knows."""
    parent, seen = run.part("parent"), 0
    while parent and "checkpoint" not in parent and seen < _LONGEST_CHAIN:
        name = str(parent.get("run"))
        fields = _metadata_of(_run_named(run, name), parent)
        if fields is None:
            raise BadUse(
                f"{run.name} is a branch of {name}, which is not here: it knows the weights"
            )
        above = fields.get("parent")
        parent, seen = above if isinstance(above, dict) else {}, seen + 1
    return parent


def _metadata_of(directory: Path, parent: Mapping[str, Any]) -> dict[str, Any] | None:
    """The metadata of the run in `directory` if it is the one that `parent` means."""
    try:
        fields = read(directory)
    except UnreadableRun:
        return None
    return fields if fields.get("run_id") == parent.get("run_id") else None


def _run_named(run: StoredRun, name: str) -> Path:
    try:
        return resolve(run.dir.parent, name)
    except BadUse as error:
        raise BadUse(f"{run.name} began with the weights of another run. {error}") from None


def _texts(value: Any) -> list[str]:
    return [one_line(item) for item in value] if isinstance(value, list) else []


def command_settings(settings: Mapping[str, str]) -> str:
    """The settings as the variable SET takes them."""
    return shlex.join(f"{name}={value}" for name, value in settings.items())
