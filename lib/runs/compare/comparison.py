# SPDX-License-Identifier: MIT
"""Two or more runs side by side: everything that differs, and the metrics.

found = compare(runs)
found.science["LEARNING_RATE"]      # ["0.01", "0.001"]: a value for each run
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadUse
from ...files import ROOT
from ...text import one_line
from ..stored import StoredRun
from .code import Code, compare_code
from .differences import (
    Differences,
    data,
    differing,
    differing_settings,
    machine,
    seed_of,
    tell_apart,
)
from .metrics import Metric, side_by_side


@dataclass(frozen=True)
class Comparison:
    """Lists have a value for each run, in the order of `runs`.

    `labels` say in a few words what is special about each run. `science` are settings that change
    the numbers, `others` are not; the seeds are apart. `notes` are sentences about what
    could not be compared, or is not as it seems.
    """

    runs: list[StoredRun]
    labels: list[str]
    seeds: list[Any]
    science: Differences
    others: Differences
    metrics: list[Metric]
    data: Differences
    machine: Differences
    code: Code
    notes: list[str]


def compare(
    runs: Sequence[StoredRun], metrics: Sequence[str] = (), root: Path = ROOT
) -> Comparison:
    """Compare `runs`; `metrics` are names and globs (default: all that say how good a run is).

    `root` is the checkout that knows the commits. Unreadable runs are left out, with a note. Raises
    BadUse for fewer than two runs that can be read, and for a metric that no run has.
    """
    readable = [run for run in runs if run.status != "unreadable"]
    notes = [
        f"{run.name} is unreadable and left out: {one_line(run.metadata.get('error', ''))}"
        for run in runs
        if run.status == "unreadable"
    ]
    if len(readable) < 2:
        raise BadUse(_too_few(readable, notes))
    science, others = differing_settings(readable)
    return Comparison(
        readable,
        tell_apart(readable),
        [seed_of(run) for run in readable],
        science,
        others,
        side_by_side(readable, metrics),
        differing([data(run) or None for run in readable]),
        differing([machine(run) or None for run in readable]),
        compare_code(readable, root),
        notes + [note for run in readable for note in _remarks(run)],
    )


def _too_few(runs: Sequence[StoredRun], notes: Sequence[str]) -> str:
    chosen = f"only {runs[0].name} was chosen" if runs else "no run that can be read was chosen"
    more = f" ({'; '.join(notes)})" if notes else ""
    show = f" `make show RUN={runs[0].name}` shows one." if runs else ""
    return f'{chosen}, and two are needed to compare{more}: RUNS="a b", or WHERE=….{show}'


def _remarks(run: StoredRun) -> list[str]:
    found = []
    if run.status == "kept":
        found.append(
            f"{run.name} is kept but not here: only its summary can be compared "
            f"(make pull RUN={run.name})"
        )
    elif not run.settings:
        found.append(f"{run.name}: config.yaml is missing or damaged, its settings are not known")
    if run.status == "running":
        found.append(f"{run.name} is still running")
    resumes = run.metadata.get("resumes")
    for entry in resumes if isinstance(resumes, list) else ():
        changed = entry.get("changed") if isinstance(entry, dict) else None
        if changed:
            names = ", ".join(map(str, changed))
            found.append(f"{run.name} went on from step {entry.get('step')} with other {names}")
    return found
