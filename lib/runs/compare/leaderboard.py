# SPDX-License-Identifier: MIT
"""Groups of runs in the order of a metric, each tested against the first.

    board = leaderboard(runs, "val/loss")
    board.rows[0].mean, board.rows[1].outcome.significant

A group is what lib/runs/compare/seeds.py says: by default runs that differ in the seed alone. Only
completed runs count unless `statuses` says otherwise. A value that is not finite is not left out,
which would favour settings that sometimes diverge: it makes the mean of its row NaN or infinite,
and the row comes last. The correction is for all rows that can be tested, also if `limit` hides
some of them.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from ...errors import BadUse
from ..stored import StoredRun
from .caution import about_group, about_rows
from .differences import SEED, ended_as, special, spelt, without_science
from .metrics import direction, known, no_such_metric, split
from .seeds import Group, grouped
from .significance import Outcome, against_first, mean, mean_interval, std

FINISHED = ("completed",)


@dataclass(frozen=True)
class Row:
    """A group: `label` says what is special about it; numbers are over seeds, n of them.

    `std` is the sample standard deviation, `low` and `high` the confidence interval of the mean;
    NaN for n = 1. `outcome` is None in the first row. `warnings` say what the runs do not have in
    common.
    """

    label: str
    runs: tuple[StoredRun, ...]
    values: dict[Hashable, float]
    mean: float
    std: float
    low: float
    high: float
    best: float
    worst: float
    outcome: Outcome | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def n(self) -> int:
        """The number of different seeds."""
        return len(self.values)


@dataclass(frozen=True)
class Leaderboard:
    """`rows` are those that are shown of `total`; `tested` of these were compared with the first.

    `left_out` counts runs by the reason why they are in no row; `warnings` are about rows among
    each other.
    """

    by: str
    lower: bool
    alpha: float
    group: tuple[str, ...]
    rows: list[Row]
    total: int
    tested: int
    left_out: Counter[str]
    warnings: list[str]


def leaderboard(
    runs: Iterable[StoredRun],
    by: str = "val/loss",
    *,
    group: Sequence[str] = (),
    limit: int | None = None,
    alpha: float = 0.05,
    statuses: Sequence[str] = FINISHED,
    lower: bool | None = None,
) -> Leaderboard:
    """The groups of `runs` in the order of the metric `by`, the best first.

    statuses: those that count; empty: all. lower: whether lower is better; None: as the name
    of the metric says. Raises BadUse for a metric that no run has or whose direction is not known.
    """
    runs = list(runs)
    values, left_out = _values(runs, by, statuses)
    counted = [run for run in runs if id(run) in values]
    if lower is None:
        lower = direction(by, counted)
    if lower is None:
        raise BadUse(f"is a low or a high {by} better? Say MODE=min or MODE=max")
    groups = grouped(counted, lambda run: values[id(run)], group)
    groups.sort(key=lambda g: _rank(g, lower))
    outcomes = against_first([g.values for g in groups], alpha)
    shown = groups[:limit]
    labels = _labels(shown, group)
    rows = [
        _row(g, label, lower, alpha, outcome, group)
        for g, label, outcome in zip(shown, labels, [None, *outcomes], strict=False)
    ]
    tested = sum(bool(outcome.test) for outcome in outcomes)
    warnings = about_rows([row.runs for row in rows])
    return Leaderboard(
        by, lower, alpha, tuple(group), rows, len(groups), tested, left_out, warnings
    )


def _values(
    runs: Sequence[StoredRun], by: str, statuses: Sequence[str]
) -> tuple[dict[int, float], Counter[str]]:
    """({id of a run: value}, why runs were left out)"""
    left_out: Counter[str] = Counter()
    found: dict[int, float] = {}
    for run in runs:
        if statuses and (status := ended_as(run)) not in statuses:
            left_out[status] += 1
        elif (value := run.value(by)) is None:
            left_out[f"without {by}"] += 1
        else:
            found[id(run)] = float(value)
    if not found:
        raise BadUse(_nothing(runs, by, left_out))
    return found, left_out


def _nothing(runs: Sequence[StoredRun], by: str, left_out: Counter[str]) -> str:
    if not runs:
        return "there are no runs: train one with `make`"
    there = known(runs)
    if split(by)[0] not in there:
        return f"BY={by}: {no_such_metric(split(by)[0], there)}"
    return f"no run is left: {said(left_out)}. STATUS=all takes in runs of every status"


def said(left_out: Counter[str]) -> str:
    """`2 failed, 1 without val/loss`"""
    return ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())


def _rank(group: Group, lower: bool) -> tuple[bool, float, str]:
    centre = mean(list(group.values.values()))
    key = group.runs[0].name  # for a stable order of equal means
    if not math.isfinite(centre):
        return True, 0.0, key
    return False, centre if lower else -centre, key


def _row(
    group: Group, label: str, lower: bool, alpha: float, outcome: Outcome | None, by: Sequence[str]
) -> Row:
    values = list(group.values.values())
    finite = [value for value in values if not math.isnan(value)] or [math.nan]
    ends = min(finite), max(finite)
    return Row(
        label,
        group.runs,
        group.values,
        mean(values),
        std(values),
        *mean_interval(values, 1 - alpha),
        *(ends if lower else ends[::-1]),
        outcome,
        about_group(group, mixed=bool(by)),
    )


def _labels(groups: Sequence[Group], by: Sequence[str]) -> list[str]:
    """What is special about each row among those that are shown."""
    if by:
        return [
            " ".join(f"{name}={spelt(value)}" for name, value in zip(by, group.key, strict=True))
            for group in groups
        ]
    first = [group.runs[0] for group in groups]
    words = special(first) if len(first) > 1 else [_changed(first[0])]
    labels = [" ".join(part) for part in words]
    return [
        label if label and labels.count(label) == 1 else f"{label} {run.name}".strip()
        for label, run in zip(labels, first, strict=True)
    ]


def _changed(run: StoredRun) -> list[str]:
    """Of a single row: what is not the default and changes the numbers."""
    names = [name for name in run.changed_settings if name not in without_science() | {SEED}]
    return [f"{name}={spelt(run.settings.get(name))}" for name in names]
