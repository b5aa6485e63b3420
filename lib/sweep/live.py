# SPDX-License-Identifier: MIT
"""How a sweep is going: a table that redraws itself on a terminal, lines elsewhere.

with open_display(sys.stdout) as display:
    display.say("digits_1a2b3c4d completed: val/loss 0.123")
    display.show(view)          # as often as there is something new
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TextIO

from ..text import duration, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

_SECONDS_BETWEEN_LINES = 60.0
_BAR = 12  # columns


@dataclass(frozen=True)
class Row:
    """A training in progress; `remark` says what it is doing if it is not training."""

    run: str
    label: str
    step: int = 0
    total: int = 0
    pace: float | None = None  # steps a second
    value: float | None = None  # of the metric, the latest
    remark: str = ""

    @property
    def fraction(self) -> float:
        """How much of it is done."""
        return min(1.0, self.step / self.total) if self.total else 0.0


@dataclass(frozen=True)
class View:
    """A sweep at a moment. `best` and `counts` are ready to print."""

    name: str
    metric: str
    done: int
    total: int
    counts: str
    rows: Sequence[Row]
    best: str
    elapsed_s: float
    left_s: float | None


class Display(Protocol):
    """What both displays have in common."""

    def say(self, text: str) -> None:
        """Print a line that stays."""

    def show(self, view: View) -> None:
        """Show how it is going now."""

    def __enter__(self) -> "Display": ...

    def __exit__(self, *_: object) -> None: ...


def open_display(stream: TextIO) -> Display:
    """The display for `stream`."""
    return Table(stream) if stream.isatty() else Lines(stream)


def summary(view: View) -> str:
    """A view in one line."""
    parts = [f"{view.done}/{view.total}", view.counts]
    parts += [f"best {view.best}"] if view.best else []
    parts += [f"about {duration(view.left_s)} left"] if view.left_s is not None else []
    return "; ".join(part for part in parts if part)


class Lines:
    """What is said, with the time, and every minute how it is going."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._next = clock() + _SECONDS_BETWEEN_LINES

    def say(self, text: str) -> None:
        """See Display."""
        print(f"{datetime.now():%H:%M:%S} {one_line(text)}", file=self._stream, flush=True)

    def show(self, view: View) -> None:
        """See Display."""
        if self._clock() >= self._next:
            self._next = self._clock() + _SECONDS_BETWEEN_LINES
            self.say(summary(view))

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Table:
    """The trainings in progress as a table at the bottom; what is said scrolls by above it."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, highlight=False)
        # Drawn by `show` alone: a thread that draws could do so while this process starts another.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def say(self, text: str) -> None:
        """See Display."""
        self._console.print(f"{datetime.now():%H:%M:%S} {one_line(text)}", markup=False)

    def show(self, view: View) -> None:
        """See Display."""
        self._live.update(draw(view), refresh=True)

    def __enter__(self) -> "Table":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def draw(view: View) -> "RenderableType":
    """The table of a view, for rich."""
    from rich import box
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    for name in ("run", "cell", "progress", "step", "steps/s", view.metric):
        right = name in ("step", "steps/s", view.metric)
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "cell")
    for row in view.rows:
        table.add_row(*(Text(one_line(cell)) for cell in _cells(row)))
    elapsed = f"{duration(view.elapsed_s)} so far"
    left = f", about {duration(view.left_s)} left" if view.left_s is not None else ""
    head = f"{view.name}: {view.done} of {view.total} done; {view.counts}; {elapsed}{left}"
    lines = [Text(head, style="bold"), table]
    if view.best:
        lines.append(Text(f"best so far: {one_line(view.best)}"))
    return Group(*lines)


def _cells(row: Row) -> tuple[str, ...]:
    filled = round(_BAR * row.fraction)
    bar = "━" * filled + "╌" * (_BAR - filled)
    step = f"{row.step}/{row.total}" if row.total else ""
    pace = f"{row.pace:.3g}" if row.pace else ""
    value = f"{row.value:.5g}" if row.value is not None else ""
    return row.run, row.label, row.remark or bar, step, pace, value
