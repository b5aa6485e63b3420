# SPDX-License-Identifier: MIT
"""The progress of a training: a bar on a terminal, a line every few seconds elsewhere.

    with open_progress(total_steps, steps_per_epoch, done=step, say=run.say) as progress:
        progress.update(step, {"train/loss": 0.5, "perf/samples_per_s": 8000.0})

The metrics have their names in the journal. Both displays remember those of earlier updates.
"""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol, TextIO

_SECONDS_BETWEEN_LINES = 5.0

# The metrics that are shown, in this order, and their formats.
_IN_LINES: dict[str, str] = {
    "train/loss": "loss {:.4f}",
    "train/accuracy": "accuracy {:.2%}",
    "val/loss": "val loss {:.4f}",
    "val/accuracy": "val accuracy {:.2%}",
    "perf/samples_per_s": "{:,.0f} samples/s",
    "perf/tokens_per_s": "{:,.0f} tokens/s",
}
_IN_THE_BAR: dict[str, str] = {
    "train/loss": "loss {:.3f}",
    "train/accuracy": "acc {:.1%}",
    "val/loss": "val {:.3f}",
    "perf/samples_per_s": "{:short}/s",
    "perf/tokens_per_s": "{:short} tok/s",
}
_LEAST_BAR = 10  # columns: less does not show progress
_TIME_LEFT = 7  # columns, as in 1:23:45


class Progress(Protocol):
    """What both displays have in common."""

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show that `step` steps are done, and as many of `metrics` as there is room for."""

    def __enter__(self) -> "Progress": ...

    def __exit__(self, *_: object) -> None: ...


def open_progress(
    total_steps: int,
    steps_per_epoch: int,
    *,
    done: int = 0,
    say: Callable[[str], None] = print,
    stream: TextIO | None = None,
) -> Progress:
    """The display for `stream` (default: standard output); lines are written by `say`.

    `done` steps were made before, in another process.
    """
    stream = stream or sys.stdout
    if stream.isatty():
        return Bar(total_steps, steps_per_epoch, stream, done)
    return Lines(total_steps, steps_per_epoch, say)


class Lines:
    """A line at the first update, at the last one, and in between at most every five seconds."""

    def __init__(
        self,
        total_steps: int,
        steps_per_epoch: int,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._per_epoch = total_steps, steps_per_epoch
        self._say, self._clock = say, clock
        self._metrics: dict[str, float] = {}
        self._first: tuple[int, float] | None = None  # step and time of the first update
        self._next_line = 0.0

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """See Progress."""
        self._metrics.update(metrics)
        now = self._clock()
        first = self._first = self._first or (step, now)
        if step < self._total and now < self._next_line:
            return
        self._next_line = now + _SECONDS_BETWEEN_LINES
        left = self._time_left(step, now, *first)
        place = [f"step {step}/{self._total}", _epoch(step, self._total, self._per_epoch)]
        self._say(", ".join([*place, *_format(self._metrics, _IN_LINES), *left]))

    def _time_left(self, step: int, now: float, first_step: int, start: float) -> list[str]:
        if step == first_step or step == self._total:
            return []
        seconds = (now - start) / (step - first_step) * (self._total - step)
        return [f"{seconds // 60:.0f}:{seconds % 60:02.0f} left"]

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Bar:
    """A bar that redraws itself; other output appears above it.

    In a narrow terminal the bar shows fewer metrics; the journal has all of them.
    """

    def __init__(
        self, total_steps: int, steps_per_epoch: int, stream: TextIO, done: int = 0
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._total, self._per_epoch = total_steps, steps_per_epoch
        self._metrics: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("{task.fields[epoch]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[metrics]}"),
            TimeRemainingColumn(compact=True),
            console=Console(file=stream),
            expand=True,
        )
        self._task = self._progress.add_task(
            "", total=total_steps, completed=done, epoch="", metrics=""
        )
        self.update(done, {})

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """See Progress."""
        self._metrics.update(metrics)
        epoch = _epoch(step, self._total, self._per_epoch)
        taken = len(f"{epoch}  {step}/{self._total}  ") + _TIME_LEFT + _LEAST_BAR
        self._progress.update(
            self._task, completed=step, epoch=epoch, metrics=self._metrics_within(taken)
        )

    def _metrics_within(self, taken: int) -> str:
        """As many of the metrics, in their order, as fit next to `taken` columns."""
        parts = _format(self._metrics, _IN_THE_BAR)
        while parts and len(" ".join(parts)) > self._progress.console.width - taken:
            parts.pop()
        return " ".join(parts)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _epoch(step: int, total_steps: int, steps_per_epoch: int) -> str:
    """The epoch that step number `step`, counted from 1, belongs to."""
    epochs = -(-total_steps // steps_per_epoch)
    return f"epoch {max(1, -(-step // steps_per_epoch))}/{epochs}"


class _Number(float):
    """A float that `{:short}` shows with three digits: 812, 12.3k, 1.23M."""

    def __format__(self, spec: str) -> str:
        if spec != "short":
            return super().__format__(spec)
        for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
            if self >= 0.9995 * size:
                return f"{self / size:#.3g}{unit}".replace(".k", "k").replace(".M", "M")
        return f"{self:.3g}"


def _format(metrics: Mapping[str, float], formats: dict[str, str]) -> list[str]:
    return [
        text.format(_Number(metrics[name])) for name, text in formats.items() if name in metrics
    ]
