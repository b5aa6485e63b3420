# SPDX-License-Identifier: MIT
"""A training, followed by its journal: how far it is, and the evaluations as they are logged.

    follower = Follower(run_dir, "val/loss")
    for step, value in follower.read(): …       # what is new since the last call
    follower.step, follower.total, follower.steps_per_s(), follower.last

Only what was appended is read, and no file stays open in between.
"""

from collections import deque
from pathlib import Path

from ..runs import status
from ..runs.journal import read_rows
from ..runs.resumes import current_parts
from ..runs.series import ignore

_PACE_ROWS = 50


class Follower:
    """`step` is the latest one, `total` how many there will be (0 while that is not known).

    `last` is the latest value of `metric`, None before the first.
    """

    def __init__(self, run_dir: Path, metric: str) -> None:
        self.run_dir, self.metric = run_dir, metric
        self.step, self.total = 0, 0
        self.last: float | None = None
        self._journal = run_dir / "logs" / "metrics.jsonl"
        self._offset: int | None = None
        self._pace: deque[tuple[int, float]] = deque(maxlen=_PACE_ROWS)

    def read(self) -> list[tuple[int, float]]:
        """The new evaluations: (step, value) of `metric`. A missing journal has none."""
        found: list[tuple[int, float]] = []
        try:
            if self._offset is None:  # of a run that goes on, only the rows that count
                *parts, (last, _) = current_parts(self._journal) or [(0, 0)]
                for start, end in parts:
                    self._read(found, start, end)
                self._offset = last
            self._read(found, self._offset, None)
        except FileNotFoundError:
            pass
        return found

    def steps_per_s(self) -> float | None:
        """The pace of the latest rows; None before there are two."""
        if len(self._pace) < 2:
            return None
        (first, began), (last, ended) = self._pace[0], self._pace[-1]
        return (last - first) / (ended - began) if last > first and ended > began else None

    def _read(self, found: list[tuple[int, float]], start: int, end: int | None) -> None:
        for row, offset in read_rows(self._journal, start, end, on_damage=ignore):
            self._offset = offset
            step, metrics = row.get("step"), row.get("metrics")
            if row.get("event") == "resume":  # the steps after it are made again
                self._pace.clear()
            if step is None or not metrics or next(iter(metrics)).startswith("system/"):
                continue
            if not self.total:
                self.total = _total_steps(self.run_dir)
            self.step = step
            if "time" in row:
                self._pace.append((step, row["time"]))
            if self.metric in metrics:
                self.last = float(metrics[self.metric])
                found.append((step, self.last))


def _total_steps(run_dir: Path) -> int:
    try:
        total = status.read(run_dir, without=("environment", "git")).get("total_steps")
    except status.UnreadableRun:
        return 0
    return total if type(total) is int and total > 0 else 0
