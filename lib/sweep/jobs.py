# SPDX-License-Identifier: MIT
"""The trials that a worker has claimed, and how they are going, for its display.

pace = Pace(slots=2)
pace.learn(seconds)                             # after each completed training
display.show(pace.view(sweep, progress, jobs, best))
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from .claims import Claim
from .description import Sweep
from .live import Row, View
from .slots import Slot
from .training import Order, Training
from .trials import Progress


@dataclass
class Job:
    """A claimed trial in a slot; without a `training` while its run is still held by another.

    `pruned`: the pruner gave it up. `mine`: false once the trial was taken away from this worker.
    """

    claim: Claim
    slot: Slot
    order: Order
    training: Training | None = None
    pruned: bool = False
    mine: bool = True
    began: float = field(default_factory=time.monotonic)

    def row(self) -> Row:
        """How it is going."""
        name, label = self.order.run_name, label_of(self.claim)
        if self.training is None:
            return Row(name, label, remark="waits: its last process is still ending")
        follower = self.training.follower
        if follower is None:
            return Row(name, label, remark="starts")
        return Row(
            run=follower.run_dir.name,
            label=label,
            step=follower.step,
            total=follower.total,
            pace=follower.steps_per_s(),
            value=follower.last,
            remark="stops" if self.training.asked else "",
        )


def label_of(claim: Claim) -> str:
    """What tells the cell from the others, with its seed, and what this attempt changes in it."""
    changes = " ".join(f"{symbol}={value}" for symbol, value in claim.changes.items())
    return " ".join(filter(None, (claim.cell.label, f"seed {claim.cell.seed}", changes)))


class Pace:
    """How long trainings take, with `slots` of them at a time here."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._began = time.monotonic()
        self._durations: list[float] = []

    def learn(self, seconds: float) -> None:
        """A training was completed in so many seconds."""
        self._durations.append(seconds)

    def view(self, sweep: Sweep, progress: Progress, jobs: Sequence[Job], best: str) -> View:
        """The sweep at this moment."""
        rows = [job.row() for job in jobs]
        counts = [f"{progress.running} running"]
        counts += [f"{n} {name}" for name in ("pruned", "failed") if (n := getattr(progress, name))]
        return View(
            name=sweep.name,
            metric=sweep.metric.name,
            done=progress.finished,
            total=progress.total,
            counts=", ".join(counts),
            rows=rows,
            best=best,
            elapsed_s=time.monotonic() - self._began,
            left_s=self._left(progress, rows),
        )

    def _left(self, progress: Progress, rows: Sequence[Row]) -> float | None:
        """Seconds until the end, if the rest takes as long as what was trained here so far."""
        if not self._durations:
            return None
        mean = sum(self._durations) / len(self._durations)
        elsewhere = max(0, progress.running - len(rows))
        missing = progress.total - progress.finished - progress.running
        trials = missing + elsewhere + sum(1 - row.fraction for row in rows)
        return mean * trials / max(self._slots, progress.running)
