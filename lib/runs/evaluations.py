# SPDX-License-Identifier: MIT
"""Evaluations of a run that exists, in progress or not, kept in its metadata.yaml.

    add_evaluation(run, {"data": "validation", "checkpoint": "best", "step": 200,
                         "settings": {"stride": 64}, "results": {"perplexity": 2.8}})

The field `evaluations` is a list of these, each with its time. One with the same data, step and
settings as an earlier one replaces it. `results` are numbers by name; those of several tasks are
nested: {task: {metric: number}}.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from .. import text
from . import metadata
from .amend import amend
from .stored import StoredRun
from .words import entries

_MOST = 200  # of a run; the oldest go
_SAME = ("data", "checkpoint", "step", "settings")


def add_evaluation(run: StoredRun, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Keep an evaluation; returns it with its time, as it is stored. Raises Failure."""
    entry = {"time": metadata.now(), **evaluation}

    def change(fields: dict[str, Any]) -> dict[str, Any]:
        others = [e for e in entries(fields, "evaluations") if not _same(e, entry)]
        return {**fields, "evaluations": [*others, entry][-_MOST:]}

    return amend(run.dir, change)["evaluations"][-1]


def as_rows(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(what was evaluated, the numbers) for each of them in metadata.yaml, the oldest first."""
    for entry in entries(fields, "evaluations"):
        said = [f"{name} {value}" for name, value in numbers(entry.get("results"))]
        how = [f"{name} {value}" for name, value in numbers(entry.get("settings"))]
        yield f"{entry.get('data')}, step {entry.get('step')}", ", ".join([*said, *how])


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(name) == other.get(name) for name in _SAME)


def numbers(results: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(name, value) of what is in `results`, formatted; names of nested ones are joined."""
    if isinstance(results, Mapping):
        for name, value in results.items():
            yield from numbers(value, f"{prefix} {name}".strip())
    elif isinstance(results, list):
        yield prefix, " ".join(map(str, results))
    elif type(results) is int:
        yield prefix, f"{results:,}"
    else:
        yield prefix, text.metric(prefix, results)
