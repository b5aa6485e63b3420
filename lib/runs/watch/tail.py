# SPDX-License-Identifier: MIT
"""The journal of one run, read as it grows: curves of bounded size, and the latest values.

    tail = Tail(run_dir, metadata)
    while tail.read(seconds=0.03): …    # True while there is more to read now
    tail.curves["train/loss"].points(), tail.last["lr"], tail.step

Only what was appended since is read, and no file stays open. When the run is resumed from a
checkpoint, the rows that this supersedes no longer count, and the journal is read again.
"""

import os
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..best import BestSoFar
from ..curve import Curve
from ..journal import DamagedRow, read_rows
from ..resumes import current_parts
from ..stored import last_metrics

MOST_CURVES = 400  # of a run; the latest value of every metric is shown all the same
_POINTS = 1024  # of a curve; wider than terminals are
_LARGEST = 1e100  # what is above, in magnitude, would leave the rest of a picture flat
_PACE_ROWS = 200  # that the pace is measured over
_ROWS_A_LOOK = 64  # at the clock
_END_BYTES = 8192  # hold at least one row of scalars


class Tail:
    """What the journal of `run_dir` says so far; `read` goes on.

    `last` has the latest value of each metric, `step` and `time` are those of the latest row of the
    training. `lost` counts, by metric, values that are NaN or infinite, with the first such step.
    `best` is the best evaluation so far (lib/runs/best.py), by the criterion in `metadata`.
    """

    def __init__(self, run_dir: Path, metadata: Mapping[str, Any]) -> None:
        self.path = run_dir / "logs" / "metrics.jsonl"
        self._metadata = metadata
        self._restart()

    def describe(self, metadata: Mapping[str, Any]) -> None:
        """Take new metadata; another criterion of the best evaluation means reading again."""
        self._metadata = metadata
        if self.best.criterion != BestSoFar(metadata).criterion:
            self._restart()

    def _restart(self) -> None:
        self.curves: dict[str, Curve] = {}
        self.last: dict[str, float] = {}
        self.lost: dict[str, tuple[int, int]] = {}
        self.step, self.time, self.rows, self.damaged = 0, 0.0, 0, 0
        self.best = BestSoFar(self._metadata)
        self._pace: deque[tuple[int, float]] = deque(maxlen=_PACE_ROWS)
        self._file: tuple[int, int] | None = None  # (device, inode)
        self._parts: list[tuple[int, int]] = []
        self._offset = self._known = self._size = 0

    @property
    def progress(self) -> float:
        """How much of the journal has been read, as a share of its bytes."""
        return min(1.0, self._offset / self._size) if self._file and self._size else 1.0

    def read(self, seconds: float) -> bool:
        """Read for about so long at most; True when there is more to read now.

        A journal that is missing, or cannot be read, has no rows.
        """
        try:
            info = self.path.stat()
            if self._file != (info.st_dev, info.st_ino) or info.st_size < self._offset:
                self._restart()
                self._begin(info)
            self._size = info.st_size
            return self._read_parts(time.monotonic() + seconds)
        except OSError:
            return False

    def _begin(self, info: os.stat_result) -> None:
        self._parts = current_parts(self.path)
        self._known = self._parts[-1][1] if self._parts else 0
        self._offset = self._parts[0][0] if self._parts else 0
        self.last = last_metrics(self.path)  # before a long journal has been read
        self._file = (info.st_dev, info.st_ino)

    def _read_parts(self, deadline: float) -> bool:
        """Read on in the parts that count; what is appended belongs to the last one."""
        while True:
            is_last = len(self._parts) < 2
            end = None if is_last else self._parts[0][1]
            rows = read_rows(self.path, self._offset, end, on_damage=self._count_damage)
            for number, (row, offset) in enumerate(rows):
                self._offset = offset
                if row.get("event") == "resume" and self._offset > self._known:
                    self._restart()
                    return True
                self._add(row)
                if number % _ROWS_A_LOOK == _ROWS_A_LOOK - 1 and time.monotonic() > deadline:
                    return True
            if is_last:
                return False
            del self._parts[0]
            self._offset = self._parts[0][0]

    def _count_damage(self, damage: DamagedRow) -> None:
        self.damaged += 1
        self._offset = damage.end

    def _add(self, row: Mapping[str, Any]) -> None:
        step, metrics = row.get("step"), row.get("metrics")
        self.rows += 1
        if step is None or not metrics:
            return
        self.last.update(metrics)
        self.best.see(step, metrics)
        if not next(iter(metrics)).startswith("system/"):
            self.step, self.time = step, row.get("time", self.time)
            self._pace.append((step, self.time))
        for name, value in metrics.items():
            if not abs(value) < _LARGEST:
                count, first = self.lost.get(name, (0, step))
                self.lost[name] = (count + 1, first)
                continue
            curve = self.curves.get(name)
            if curve is None:
                if len(self.curves) >= MOST_CURVES:
                    continue
                curve = self.curves[name] = Curve(_POINTS)
            curve.add(step, value)

    def steps_per_s(self) -> float | None:
        """The pace of the latest rows, with the evaluations between them; None if not known."""
        if len(self._pace) < 2:
            return None
        (first, began), (last, ended) = self._pace[0], self._pace[-1]
        return (last - first) / (ended - began) if last > first and ended > began else None


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a text file, of any size; none if it cannot be read."""
    try:
        if not path.is_file():  # reading a pipe would never end
            return []
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 512 * count))
            return file.read().decode("utf-8", "replace").splitlines()[-count:]
    except OSError:
        return []


def latest_step(run_dir: Path) -> int | None:
    """The step of the latest row, from the end of the journal; None before the first."""
    path = run_dir / "logs" / "metrics.jsonl"
    step = None
    try:
        start = max(0, path.stat().st_size - _END_BYTES)
        for row, _ in read_rows(path, start, on_damage=lambda _: None):
            step = row.get("step", step)
    except OSError:
        pass
    return step
