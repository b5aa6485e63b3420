# SPDX-License-Identifier: MIT
"""Tables with a column for each run, which fit a terminal and can be searched in a pipe.

    Screen().show(Grid("Metrics", ["A", "B"], [("val/loss", ["0.2 *", "0.3"])]))

On a terminal that is too narrow, rows and columns change places if that helps; else the columns are
folded into several tables, and long words into lines. A cell may have several lines. In a pipe
nothing is cut, folded or coloured.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

from ... import text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BEST = " *"  # the end of a cell with a best value
_NARROWEST = 10  # columns of a cell that is folded
_STYLES = {BEST: "bold green"}


@dataclass(frozen=True)
class Grid:
    """`rows` are (name, a cell for each of `heads`). Numbers are right-aligned if `right`."""

    title: str
    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    right: bool = False
    corner: str = ""
    whole: bool = False  # never turned or folded

    def turned(self) -> "Grid":
        """The same with rows and columns changed."""
        rows = [(head, [cells[i] for _, cells in self.rows]) for i, head in enumerate(self.heads)]
        return replace(self, heads=[name for name, _ in self.rows], rows=rows)

    def part(self, first: int, count: int) -> "Grid":
        """Only some of the columns."""
        there = slice(first, first + count)
        rows = [(name, cells[there]) for name, cells in self.rows]
        return replace(self, heads=self.heads[there], rows=rows)

    def merged(self) -> "Grid":
        """Columns with the same cells are one, under all of their heads: `A B D`."""
        columns: dict[tuple[str, ...], list[str]] = {}
        for i, head in enumerate(self.heads):
            columns.setdefault(tuple(cells[i] for _, cells in self.rows), []).append(head)
        rows = [(name, [column[i] for column in columns]) for i, (name, _) in enumerate(self.rows)]
        return replace(self, heads=[" ".join(heads) for heads in columns.values()], rows=rows)


class Screen:
    """Where tables are shown: standard output, or another `stream`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._console = _console(self._stream) if self._stream.isatty() else None

    @property
    def width(self) -> int | None:
        """Of the terminal; None in a pipe."""
        return self._console.width if self._console else None

    def say(self, line: str = "") -> None:
        """A line of text."""
        print(text.printable(line), file=self._stream)

    def show(self, grid: Grid) -> None:
        """The table under its title; nothing if it has no rows."""
        if not grid.rows:
            return
        self.say()
        if grid.title:
            self.say(grid.title)
        if self._console is None:
            cells = [(grid.corner, *grid.heads), *((name, *row) for name, row in grid.rows)]
            right = range(1, len(grid.heads) + 1) if grid.right else ()
            print(
                *(f"  {line}" for line in text.columns(cells, right)), sep="\n", file=self._stream
            )
            return
        for number, part in enumerate(_fitting(grid, self._console)):
            if number:
                self.say()
            self._console.print(_table(part))


def _console(stream: TextIO) -> "Console":
    from rich.console import Console

    return Console(file=stream, markup=False, highlight=False, emoji=False)


def _fitting(grid: Grid, console: "Console") -> list[Grid]:
    if grid.whole:
        return [grid]
    for shape in (grid, grid.turned()):
        if _wanted(shape, console) <= console.width:
            return [shape]
    widest = max(len(name) for name, _ in grid.rows)
    each = max(_NARROWEST, max(len(head) for head in grid.heads)) + 2
    count = max(1, (console.width - min(widest, console.width // 3) - 4) // each)
    if count < len(grid.heads):  # equally many in each part
        parts = -(-len(grid.heads) // count)
        count = -(-len(grid.heads) // parts)
    return [grid.part(first, count) for first in range(0, len(grid.heads), count)]


def _wanted(grid: Grid, console: "Console") -> int:
    from rich.measure import Measurement

    options = console.options.update(width=10_000)
    return Measurement.get(console, options, _table(grid)).maximum


def _table(grid: Grid) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=True, show_edge=False)
    table.add_column(Text(f"  {grid.corner}"), overflow="fold")
    for head in grid.heads:
        justify = "right" if grid.right else "left"
        table.add_column(Text(_lines(head)), justify=justify, overflow="fold")
    for name, cells in grid.rows:
        shown = [Text(_lines(c), style=_STYLES.get(c[-len(BEST) :], "")) for c in cells]
        table.add_row(Text(f"  {text.one_line(name)}", overflow="fold"), *shown)
    return table


def _lines(cell: str) -> str:
    """Printable; line breaks stay, which in a pipe are spaces."""
    return "\n".join(map(text.one_line, cell.split("\n")))
