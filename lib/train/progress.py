# SPDX-License-Identifier: MIT
"""How far a training is: a bar on a terminal, now and then a line elsewhere.

    with open_progress(total_steps, steps_per_epoch, say=run.say) as progress:
        progress.update(step, {"train/loss": 0.5, "perf/samples_per_s": 8000.0})

The metrics have the names of the journal. Both displays remember those of earlier updates.
"""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol, TextIO

_SECONDS_BETWEEN_LINES = 5.0

# What is shown of the metrics, and how, in this order.
_IN_LINES: dict[str, str] = {
    "train/loss": "loss {:.4f}",
    "train/accuracy": "accuracy {:.2%}",
    "val/loss": "val loss {:.4f}",
    "val/accuracy": "val accuracy {:.2%}",
    "perf/samples_per_s": "{:,.0f} samples/s",
    "perf/tokens_per_s": "{:,.0f} tokens/s",
}
_IN_THE_BAR: dict[str, str] = {  # 80 columns have to do
    "train/loss": "loss {:.3f}",
    "train/accuracy": "acc {:.1%}",
    "val/loss": "val {:.3f}",
    "perf/samples_per_s": "{:,.0f} samples/s",
    "perf/tokens_per_s": "{:,.0f} tokens/s",
}


class Progress(Protocol):
    """What both kinds of display offer."""

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show that `step` steps are done, and those of `metrics` that the display has room for."""

    def __enter__(self) -> "Progress": ...

    def __exit__(self, *_: object) -> None: ...


def open_progress(
    total_steps: int,
    steps_per_epoch: int,
    *,
    say: Callable[[str], None] = print,
    stream: TextIO | None = None,
) -> Progress:
    """The display that suits `stream` (default: standard output); lines go through `say`."""
    stream = stream or sys.stdout
    if stream.isatty():
        return Bar(total_steps, steps_per_epoch, stream)
    return Lines(total_steps, steps_per_epoch, say)


class Lines:
    """A line at the first update, at the last, and in between at most every five seconds."""

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
    """A bar that redraws itself; what is printed meanwhile appears above it."""

    def __init__(self, total_steps: int, steps_per_epoch: int, stream: TextIO) -> None:
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
        self._task = self._progress.add_task("", total=total_steps, epoch="", metrics="")
        self.update(0, {})

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """See Progress."""
        self._metrics.update(metrics)
        self._progress.update(
            self._task,
            completed=step,
            epoch=_epoch(step, self._total, self._per_epoch),
            metrics=" ".join(_format(self._metrics, _IN_THE_BAR)),
        )

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _epoch(step: int, total_steps: int, steps_per_epoch: int) -> str:
    """The epoch that step number `step`, counted from 1, belongs to."""
    epochs = -(-total_steps // steps_per_epoch)
    return f"epoch {max(1, -(-step // steps_per_epoch))}/{epochs}"


def _format(metrics: Mapping[str, float], formats: dict[str, str]) -> list[str]:
    return [text.format(metrics[name]) for name, text in formats.items() if name in metrics]
