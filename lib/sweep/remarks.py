# SPDX-License-Identifier: MIT
"""What is said of a sweep's cells: why some are refused, what was left out, which are equal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .description import Sweep

if TYPE_CHECKING:
    from .cells import Settled

_SHOWN = 4  # cells named in a message


def refusals(refused: Mapping[str, Sequence[str]], count: int) -> list[str]:
    """A line for each reason: the labels of the cells, of `count` in all, that it refuses."""
    lines, some = [], False
    for reason, labels in refused.items():
        which = "every cell" if len(labels) == count else _some(labels)
        lines.append(reason if count == 1 else f"{reason} — in {which}")
        some |= "unmet dependency" in reason and len(labels) < count
    if some:
        lines.append("not every combination can be: name those that are meant as arms")
    return lines


def unused(sweep: Sweep, settled: Sequence["Settled"]) -> list[str]:
    """A line for each symbol of `set` and of the axes that has an effect in no cell."""
    never = [*sweep.fixed, *sweep.axes]
    never = [name for name in never if all(name not in one.settings for one in settled)]
    return [
        f"{sweep.place('axes' if name in sweep.axes else 'set', name)}: {name}: has an effect in "
        f"no cell, needs {settled[0].left_out[name]}"
        for name in never
        if settled
    ]


def left_out(settled: Iterable[tuple[str, Mapping[str, str]]]) -> list[str]:
    """A line for each symbol, and what it needs, that was left out of some cells.

    `settled`: of each cell its label and {symbol: what it needs}.
    """
    labels: dict[tuple[str, str], list[str]] = {}
    for label, of in settled:
        for name, needs in of.items():
            labels.setdefault((name, needs), []).append(label)
    return [
        f"{name} does not apply where it needs {needs}: left out of {_some(where)}"
        for (name, needs), where in labels.items()
    ]


def equal(points: int, distinct: int, same: Mapping[str, str]) -> list[str]:
    """How many of `points` are left, and which of them, by label, train the same as another."""
    lines = [f"{points} combinations, of which {distinct} differ"] if distinct < points else []
    return lines + [
        f"{label} is the same as {first}: trained once" for label, first in same.items()
    ]


def _some(labels: Sequence[str]) -> str:
    shown = "; ".join(labels[:_SHOWN])
    return f"{shown} and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else shown
