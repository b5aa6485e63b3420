# SPDX-License-Identifier: MIT
"""How far a tracker has got: tracking/<backend>.json in the run directory.

`rows` and `offset` are the same place, in rows and in bytes of the journal. `steps` has the last
step of every metric and `before` what that was when the run was last resumed: enough to leave out
what a resumed run repeats. The file is replaced by rename after each delivery, without syncing:
after a power cut it may be out of date, but never torn.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..files import write_atomic
from ..runs.directory import make_private
from .backends import Row

FOLDER = "tracking"

_MAX_STEP = 2**63 - 1
_MAX_TIME = 253_370_764_800  # 9999-01-01, in seconds since the epoch: datetime ends soon after


@dataclass
class Cursor:
    """How far one tracker is in the journal, and its condition."""

    rows: int = 0
    offset: int = 0
    written: int = 0  # one more than the index of the last row given to the tracker
    dropped: int = 0  # values, each a metric or a medium of a row, that the tracker refused
    refusal: str = ""  # the last of them, and why
    cut: dict[str, str] = field(default_factory=dict)  # facts that it has not in full, and why
    repeated: int = 0  # values that a resumed run logged again
    condition: str = "starting"  # starting, delivering, retrying, handed over, failed, finished
    error: str = ""
    where: str = ""
    updated: float = 0.0
    described: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)

    def rewind(self) -> None:
        """Back to the start of the journal."""
        self.rows = self.offset = self.written = self.dropped = self.repeated = 0
        self.described = 0
        self.refusal = ""
        self.steps, self.before, self.cut = {}, {}, {}

    def advance(self, row: dict[str, Any], end: int) -> Row:
        """Move past a row of read_rows and return what a tracker should get of it.

        After a `resume` event, values at steps that were logged before it are left out: a tracker
        has each of them once, whether it got it before or after. System metrics and artifacts do
        not count as repeated.
        """
        index, self.rows, self.offset = self.rows, self.rows + 1, end
        if row.get("event") == "resume":
            self.before = dict(self.steps)
        metrics, media = row.get("metrics", {}), row.get("media", {})
        if "event" in row or not (metrics or media):
            return Row(index, 0, 0.0)
        step, moment = row.get("step"), row.get("time")
        if (problem := _bad_place(step, moment)) is not None:
            return Row(index, -1, 0.0, unfit=dict.fromkeys([*metrics, *media], problem))
        fitting = Row(index, step, moment, self._new(metrics, step))
        for name, item in self._new(media, step).items():
            if isinstance(item.get("type"), str):
                fitting.media[name] = item
            else:
                fitting.unfit[name] = "a medium without a type"
        return fitting

    def _new(self, values: dict[str, Any], step: int) -> dict[str, Any]:
        fresh = {}
        for name, value in values.items():
            if name.startswith(("system/", "artifact/")):
                fresh[name] = value
            elif step <= self.before.get(name, -1):
                self.repeated += 1
            else:
                fresh[name] = value
                self.steps[name] = max(step, self.steps.get(name, -1))
        return fresh

    def remarks(self) -> list[str]:
        """For users: what the tracker does not have although the run was delivered."""
        said = []
        if self.dropped:
            values = "value" if self.dropped == 1 else "values"
            said.append(f"{self.dropped:,} {values} left out, the last was {self.refusal}")
        if self.cut:
            names = ", ".join(sorted(self.cut)[:5]) + (" …" if len(self.cut) > 5 else "")
            said.append(f"{len(self.cut)} settings or facts are not complete there: {names}")
        return said

    def save(self, run_dir: Path, name: str) -> None:
        """Write the cursor file. Raises OSError."""
        self.updated = time.time()
        path = path_of(run_dir, name)
        make_private(path.parent)
        write_atomic(path, json.dumps(asdict(self), indent=1), sync=False)


def load(run_dir: Path, name: str) -> Cursor | None:
    """The cursor of a tracker; None if it has none of this run, or the file is damaged."""
    try:
        stored = json.loads(path_of(run_dir, name).read_text())
        return Cursor(**{f.name: stored[f.name] for f in fields(Cursor)})
    except (OSError, ValueError, TypeError, LookupError):
        return None


def valid_step(step: object) -> bool:
    """Whether trackers can take `step`: all of them store it as a signed 64-bit integer."""
    return type(step) is int and 0 <= step <= _MAX_STEP


def _bad_place(step: object, moment: object) -> str | None:
    """What is wrong with the step or the time of a row."""
    if not valid_step(step):
        return f"step {str(step)[:40]} is not an integer from 0 to 2^63 - 1"
    if not isinstance(moment, (int, float)) or not 0 <= moment <= _MAX_TIME:
        return f"time {str(moment)[:40]} is not in the years 1970 to 9998"
    return None


def path_of(run_dir: Path, name: str) -> Path:
    """tracking/<name>.json"""
    return run_dir / FOLDER / f"{name}.json"


@contextmanager
def exclusive(run_dir: Path, name: str) -> Iterator[Callable[[], bool]]:
    """The right to deliver to one tracker: call it to take it; False while another has it."""
    path = path_of(run_dir, name).with_suffix(".lock")
    make_private(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield lambda: _try_lock(fd)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: delivering is still better
        return True
    return True
