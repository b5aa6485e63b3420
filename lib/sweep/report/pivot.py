# SPDX-License-Identifier: MIT
"""A grid as rows and columns: the last axis across, the others down.

    pivot = pivot_of(board)
    pivot.cells["dense",]["0.9"].mean()

Where an axis has no effect, as the sparsity of a dense network, the column is –.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from .board import Board, Configuration, Params, params_key, value_text

NONE = "–"
_MOST_COLUMNS = 12


@dataclass(frozen=True)
class Pivot:
    """`cells` is the values of `down` → that of `across` → the configuration."""

    down: tuple[str, ...]
    across: str
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, ...], Mapping[str, Configuration]]


def pivot_of(board: Board) -> Pivot | None:
    """The table of a grid; None of a search, and of a grid with fewer than two axes.

    The last axis with few values is across. Rows and columns are in the order of the first trials.
    """
    first = _first_trials(board)
    rows = sorted(board.rows, key=lambda row: first[row.key])
    values = {name: {_value(row, name) for row in rows} for name in board.names}
    varied = [name for name in board.names if len(values[name]) > 1]
    if board.sweep.method != "grid" or len(varied) < 2:
        return None
    few = [name for name in varied if len(values[name]) <= _MOST_COLUMNS]
    across = few[-1] if few else min(varied, key=lambda name: len(values[name]))
    down = tuple(name for name in varied if name != across)
    cells: dict[tuple[str, ...], dict[str, Configuration]] = {}
    for row in rows:
        cells.setdefault(tuple(_value(row, name) for name in down), {})[_value(row, across)] = row
    columns = tuple(dict.fromkeys(_value(row, across) for row in rows))
    return Pivot(down, across, tuple(sorted(columns, key=lambda c: c != NONE)), cells)


def _first_trials(board: Board) -> dict[Params, int]:
    """Of each configuration, the number of its first trial."""
    first: dict[Params, int] = {}
    for trial in board.trials:
        key = params_key(trial.params)
        first[key] = min(trial.number, first.get(key, trial.number))
    return first


def _value(row: Configuration, name: str) -> str:
    return value_text(row.params[name]) if name in row.params else NONE
