# SPDX-License-Identifier: MIT
"""Groups of runs that differ in the seed alone, or that are equal in chosen fields.

    groups = grouped(runs, value=lambda run: run.value("val/loss"))
    groups[0].values            # {0: 0.21, 1: 0.20}: a value for each seed

By default the runs of a group are equal in every setting that changes the numbers
(lib/config/science.py), apart from SEED. A run whose settings are not here is in a group with those
of the same science_hash, which includes the seed, alone.

A seed counts once. Runs of the same group with the same seed are repeats: they share what is
random, so that they say nothing about other seeds, and their mean is the value of the seed. Neither
groups nor values depend on the order of the runs.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter

from ...errors import BadUse
from ..query.select import Names
from ..stored import StoredRun
from .differences import SEED, seed_of, spelt, without_science
from .significance import mean


@dataclass(frozen=True)
class Group:
    """`runs` are sorted by name; `values` is seed → value, in the order of seeds."""

    key: tuple[Hashable, ...]
    runs: tuple[StoredRun, ...]
    values: dict[Hashable, float]

    @property
    def repeats(self) -> int:
        """How many runs repeat the seed of another one."""
        return len(self.runs) - len(self.values)


def grouped(
    runs: Iterable[StoredRun],
    value: Callable[[StoredRun], float],
    by: Sequence[str] = (),
) -> list[Group]:
    """The groups, in the order of the names of their first runs.

    by: symbols and fields, as WHERE knows them, that make a group instead of all settings. Raises
    BadUse for one that no run has.
    """
    runs = sorted(runs, key=lambda run: run.name)
    key_of = _fields(runs, by) if by else recipe
    members: dict[tuple[Hashable, ...], list[StoredRun]] = {}
    for run in runs:
        members.setdefault(key_of(run), []).append(run)
    return [Group(key, tuple(group), _by_seed(group, value)) for key, group in members.items()]


def recipe(run: StoredRun) -> tuple[Hashable, ...]:
    """Equal for runs that differ in no setting that changes the numbers, except in the seed."""
    settings = run.settings
    if not settings:
        digest = run.metadata.get("science_hash")
        return ("science_hash", str(digest)) if digest else ("run", run.name)
    names, values = _science(tuple(settings))
    return names, values(settings)


@cache
def _science(names: tuple[str, ...]) -> tuple[tuple[str, ...], Callable[[Mapping], Hashable]]:
    """(those of `names` that make a recipe, what takes their values out of settings)

    Thousands of runs have the same names.
    """
    apart = without_science() | {SEED}
    chosen = tuple(sorted(name for name in names if name not in apart))
    return chosen, itemgetter(*chosen) if chosen else lambda settings: ()


def _fields(
    runs: Sequence[StoredRun], names: Sequence[str]
) -> Callable[[StoredRun], tuple[Hashable, ...]]:
    """A function that gives the values of `names` as WHERE knows them: OPTIMIZER, model, tag."""
    known = Names(runs)
    try:
        columns = [known.column(name) for name in names]
    except BadUse as error:
        raise BadUse(f"GROUP={','.join(names)}: {error}") from None

    def values(run: StoredRun) -> tuple[Hashable, ...]:
        found = [column.of(run) for column in columns]
        return tuple(", ".join(v) if isinstance(v, list) else v for v in found)

    return values


def _by_seed(
    runs: Sequence[StoredRun], value: Callable[[StoredRun], float]
) -> dict[Hashable, float]:
    values: dict[Hashable, list[float]] = {}
    for run in runs:
        values.setdefault(seed_of(run), []).append(value(run))
    return {seed: mean(values[seed]) for seed in sorted(values, key=spelt)}
