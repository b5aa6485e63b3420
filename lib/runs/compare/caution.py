# SPDX-License-Identifier: MIT
"""What a reader of a leaderboard should know: where runs differ in more than their settings.

A difference between rows may come from other code, data or hardware as well as from the settings.
What is not known of a run (one that is kept elsewhere) is passed over.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..stored import StoredRun
from .differences import differing_settings, ended_as, seed_of
from .seeds import Group

_MOST = 4  # names that fit into a sentence


def about_group(group: Group, *, mixed: bool) -> list[str]:
    """Sentences about the runs of one row; `mixed`: they need not have the same settings."""
    runs = group.runs
    said = [
        f"different {what}: {_few(values)}"
        for what, fact in _FACTS.items()
        if len(values := _values(runs, fact)) > 1
    ]
    unfinished = Counter(status for run in runs if (status := ended_as(run)) != "completed")
    if unfinished:
        said.append("not finished: " + ", ".join(f"{n} {s}" for s, n in unfinished.items()))
    unknown = [run.name for run in runs if not run.settings]
    if unknown:
        said.append(
            f"the settings of {_few(unknown)} are not here: runs with other seeds may be other rows"
        )
    if mixed and (science := differing_settings(runs)[0]):
        said.append(f"different settings: {_few(list(science))}")
    times = Counter(map(str, map(seed_of, runs)))
    again = [f"{seed} ({n} runs)" for seed, n in times.items() if n > 1]
    if again:
        said.append(f"counted once, with the mean of its runs: seed {_few(again)}")
    return said


def about_rows(rows: Sequence[Sequence[StoredRun]]) -> list[str]:
    """Sentences about what rows do not have in common with each other."""
    said = []
    for what, fact in _FACTS.items():
        known = [values for runs in rows if (values := _values(runs, fact))]
        if any(set(values) != set(known[0]) for values in known):
            said.append(f"the rows are of different {what}: {_few(sorted(set().union(*known)))}")
    return said


def _values(runs: Sequence[StoredRun], fact: Callable[[StoredRun], Any]) -> list[str]:
    return list(dict.fromkeys(str(value) for run in runs if (value := fact(run))))


def _commit(run: StoredRun) -> str | None:
    git = run.part("git")
    commit = git.get("commit")
    return f"{str(commit)[:10]}{' with changes' if git.get('dirty') else ''}" if commit else None


def _data(run: StoredRun) -> Any:
    dataset = run.part("dataset")
    return dataset.get("fingerprint") or dataset.get("name")


def _hardware(run: StoredRun) -> str | None:
    environment, device = run.part("environment"), run.metadata.get("device")
    gpus = environment.get("gpus")
    if gpus and not str(device).startswith("cpu"):
        return ", ".join(str(gpu.get("name")) for gpu in gpus if isinstance(gpu, dict))
    cpu = environment.get("cpu")
    return cpu.get("model") if isinstance(cpu, dict) else device


_FACTS: dict[str, Callable[[StoredRun], Any]] = {
    "commits": _commit,
    "data": _data,
    "hardware": _hardware,
    "precision": lambda run: run.metadata.get("precision"),
    "PyTorch": lambda run: run.part("environment").get("torch"),
}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" * (len(names) > _MOST))
