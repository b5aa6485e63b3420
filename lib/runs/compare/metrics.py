# SPDX-License-Identifier: MIT
"""The metrics of runs side by side, and which value is the best.

rows = side_by_side(runs, ["val/loss"])
rows[0].values, rows[0].best        # [0.2, None, 0.1], {2}
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ... import text
from ...errors import BadUse, did_you_mean
from ..direction import lower_is_better
from ..stored import HOW, StoredRun

_FIRST = ("val/", "test/", "train/", "final/", "perf/")
_PROGRESS = ("system/", "lr", "epoch", "grad_norm")  # say how the training went, not how well


@dataclass(frozen=True)
class Metric:
    """A row of the table: a value for each run, None where it has none.

    `best` are the indices of the best values: several if they are equal, none if all are, or if it
    is not known whether lower or higher is better.
    """

    name: str
    values: list[float | None]
    lower: bool | None
    best: frozenset[int]


def side_by_side(runs: Sequence[StoredRun], names: Sequence[str] = ()) -> list[Metric]:
    """A row for each of `names`, which may be globs; by default all that say how good a run is.

    Raises BadUse, with near matches, for a metric that no run has.
    """
    chosen = matching(runs, names) if names else _all(runs)
    rows = [_row(name, runs) for name in chosen]
    return rows if names else _without_repetition(rows)


def matching(runs: Sequence[StoredRun], wanted: Sequence[str]) -> list[str]:
    """The metrics that `wanted`, names or globs, name. Raises BadUse for one that no run has."""
    there = known(runs)
    found: dict[str, None] = {}
    for word in wanted:
        name, how = split(word)
        hits = [metric for metric in there if metric == name or fnmatchcase(metric, name)]
        if not hits:
            raise BadUse(no_such_metric(name, there))
        found |= dict.fromkeys(f"{hit}{how}" for hit in hits)
    return list(found)


def no_such_metric(name: str, there: Sequence[str]) -> str:
    """The message for a metric that no run has."""
    hint = did_you_mean(name, there)
    if not hint:
        few = ", ".join(there[:8]) + (" …" if len(there) > 8 else "")
        hint = f"; there are {few}" if there else ": nothing was logged"
    return f"no run has the metric {name}{hint}"


def split(word: str) -> tuple[str, str]:
    """`val/loss:min` → (`val/loss`, `:min`)."""
    name, colon, how = word.rpartition(":")
    return (name, f":{how}") if colon and how in HOW else (word, "")


def known(runs: Iterable[StoredRun]) -> list[str]:
    """The metrics that any of the runs has logged or ended with, the most telling first."""
    names = {name for run in runs for name in (*run.metric_names, *run.part("final_metrics"))}
    return sorted(names, key=_place)


def direction(name: str, runs: Iterable[StoredRun] = ()) -> bool | None:
    """Whether lower is better: by the name, else as the runs choose their best checkpoint by it."""
    name, _ = split(name)
    lower = lower_is_better(name)
    if lower is not None:
        return lower
    modes = {
        checkpoint.get("mode")
        for run in runs
        if (checkpoint := run.part("checkpoint")).get("metric") == name
    }
    return {"min": True, "max": False}.get(modes.pop()) if len(modes) == 1 else None


def shown(name: str, value: float) -> str:
    """A value of the metric `name`, with its unit."""
    return "NaN" if math.isnan(value) else text.metric(split(name)[0], value)


def best_of(values: Sequence[float | None], lower: bool | None) -> frozenset[int]:
    """The indices of the best finite values; see Metric."""
    finite = [v for v in values if v is not None and math.isfinite(v)]
    given = [v for v in values if v is not None]
    if lower is None or not finite or len(given) < 2 or len({str(v) for v in given}) < 2:
        return frozenset()
    best = min(finite) if lower else max(finite)
    return frozenset(i for i, value in enumerate(values) if value == best)


def _row(name: str, runs: Sequence[StoredRun]) -> Metric:
    values, lower = [run.value(name) for run in runs], direction(name, runs)
    return Metric(name, values, lower, best_of(values, lower))


def _all(runs: Sequence[StoredRun]) -> list[str]:
    return [name for name in known(runs) if not name.startswith(_PROGRESS)]


def _without_repetition(rows: Sequence[Metric]) -> list[Metric]:
    """final/best_val_loss says what val/loss, at the best evaluation, says already."""
    plain = {f"final/best_{row.name.replace('/', '_')}": row.values for row in rows}
    return [row for row in rows if plain.get(row.name) != row.values]


def _place(name: str) -> tuple[int, str]:
    places = (i for i, prefix in enumerate(_FIRST) if name.startswith(prefix))
    return next(places, len(_FIRST)), name
