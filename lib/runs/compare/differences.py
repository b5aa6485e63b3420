# SPDX-License-Identifier: MIT
"""What differs between runs: settings by symbol, environment, data.

    differing([{"lr": 1, "seed": 0}, {"lr": 2, "seed": 0}])     # {"lr": [1, 2]}
    science, others = differing_settings(runs)

What a run does not have is ABSENT there: a symbol whose dependencies it does not meet, a package
that was not installed. A run whose configuration is not here at all (kept elsewhere, damaged) has
UNKNOWN for every setting, and makes none differ.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any

from ...config.science import is_science
from ..stored import StoredRun


class Missing(Enum):
    """Why there is no value."""

    ABSENT = "–"
    UNKNOWN = "?"


ABSENT, UNKNOWN = Missing.ABSENT, Missing.UNKNOWN

Differences = dict[str, list[Any]]  # name → a value for each run

SEED = "SEED"
_MACHINE = ("device", "precision", "kernels", "environment", "batch", "mfu_peak")


def differing(mappings: Sequence[Mapping[str, Any] | None]) -> Differences:
    """The names whose values are not all equal, in the order they first appear.

    A mapping that is None is UNKNOWN throughout.
    """
    known = [mapping for mapping in mappings if mapping is not None]
    names = dict.fromkeys(name for mapping in known for name in mapping)
    found = {}
    for name in names:
        values = [mapping.get(name, ABSENT) for mapping in known]
        if any(not _equal(value, values[0]) for value in values[1:]):
            found[name] = [
                UNKNOWN if mapping is None else mapping.get(name, ABSENT) for mapping in mappings
            ]
    return found


def _equal(a: Any, b: Any) -> bool:
    """As Python does, except that True is not 1, and that NaN is NaN."""
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    return bool(a == b or (a != a and b != b))


def differing_settings(runs: Sequence[StoredRun]) -> tuple[Differences, Differences]:
    """(settings that change the numbers, the others); seed and name of the run are in neither."""
    found = differing([run.settings or None for run in runs])
    for name in (SEED, "TRACKER_RUN_NAME"):
        found.pop(name, None)
    science = {name: values for name, values in found.items() if name not in without_science()}
    return science, {name: values for name, values in found.items() if name not in science}


@cache
def without_science() -> frozenset[str]:
    """The symbols that change none of a run's numbers; one that Kconfig no longer has does."""
    from ...config.symbols import menus
    from ...config.tree import Tree  # takes 0.15 s

    tree = Tree()
    names = {tree.public_name(symbol): menus(symbol) for symbol in tree.settable}
    return frozenset(name for name, menu in names.items() if not is_science(name, menu))


def seed_of(run: StoredRun) -> Any:
    """The seed; None if it is not known."""
    seed = run.settings.get(SEED)
    return run.field("seed") if seed is None else seed


def ended_as(run: StoredRun) -> str:
    """The status of a run; of one that is kept elsewhere, the one that it was kept with."""
    kept = run.metadata.get("kept_status") if run.status == "kept" else None
    return str(kept or run.status)


def machine(run: StoredRun) -> dict[str, Any]:
    """What computed the run: device, precision, versions, hardware; flat, with dotted names."""
    fields = flat({name: run.metadata[name] for name in _MACHINE if name in run.metadata})
    return {name.removeprefix("environment."): value for name, value in fields.items()}


def data(run: StoredRun) -> dict[str, Any]:
    """What the run was trained on; flat, with dotted names."""
    return flat(run.part("dataset"))


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings with dotted names; those that are None are left out."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            found[f"{prefix}{key}"] = ", ".join(map(str, value))
        elif value is not None:
            found[f"{prefix}{key}"] = value
    return found


def tell_apart(runs: Sequence[StoredRun], most: int = 3) -> list[str]:
    """What is special about each run, for a legend: `LEARNING_RATE=0.01 OPTIMIZER=sgd`.

    At most `most` settings. Runs that they do not tell apart get their seeds, and then their names,
    as well.
    """
    labels = [
        " ".join(words[:most]) + (" …" if len(words) > most else "") for words in special(runs)
    ]
    seeds = [seed_of(run) for run in runs]
    if len(set(labels)) < len(labels) and len(set(map(str, seeds))) > 1:
        labels = [f"{label} seed {seed}".strip() for label, seed in zip(labels, seeds, strict=True)]
    return [
        label if label and labels.count(label) == 1 else f"{label} {run.name}".strip()
        for label, run in zip(labels, runs, strict=True)
    ]


def special(runs: Sequence[StoredRun]) -> list[list[str]]:
    """For each run NAME=value of the settings that differ and change the numbers.

    Of those that somebody has set in any of the runs, if there are such: others follow from them.
    """
    science, _ = differing_settings(runs)
    changed = {name for run in runs for name in run.changed_settings}
    chosen = [name for name in science if name in changed] or list(science)
    return [
        [f"{name}={spelt(science[name][i])}" for name in chosen if science[name][i] is not ABSENT]
        for i in range(len(runs))
    ]


def spelt(value: Any) -> str:
    """A value as one would type it: y and n for bools, "" for no text."""
    if value is None:
        return ABSENT.value
    if isinstance(value, Missing):
        return value.value
    if isinstance(value, bool):
        return "y" if value else "n"
    return str(value) if value != "" else '""'
