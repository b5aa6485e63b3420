# SPDX-License-Identifier: MIT
"""How far a tracker has got: tracking/<backend>.json in the run directory.

`rows` and `offset` say the same in rows and in bytes of the journal. `steps` is the last step of
every metric and `resumed` whether the run was resumed, which is all it takes to leave out what a
resumed run repeats. The file is replaced by rename after each delivery, without syncing: after
a power cut it may be older than the truth, never torn.
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

from lib.files import write_atomic
from lib.tracking.backends import Row

FOLDER = "tracking"


@dataclass
class Cursor:
    """The place of one tracker in the journal and how it is doing."""

    rows: int = 0
    offset: int = 0
    dropped: int = 0  # rows the tracker refused, or whose file is gone
    repeated: int = 0  # values that a resumed run wrote again
    condition: str = "starting"  # starting, delivering, retrying, failed, finished, disabled
    error: str = ""
    where: str = ""
    updated: float = 0.0
    resumed: bool = False
    described: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)

    def rewind(self) -> None:
        """Back to the start of the journal."""
        self.rows = self.offset = self.dropped = self.repeated = self.described = 0
        self.resumed = False
        self.steps.clear()

    def advance(self, row: dict[str, Any], end: int) -> Row:
        """Move past a row of the journal and return what a tracker should get of it.

        After a resume, what the run logs again at steps it had reached before is left out, so that
        steps never go back in a tracker. System metrics and artifacts are not repetitions.
        """
        index, self.rows, self.offset = self.rows, self.rows + 1, end
        step, moment = row.get("step"), row.get("time")
        if row.get("event") == "resume":
            self.resumed = True
        if not isinstance(step, int) or not isinstance(moment, (int, float)):
            return Row(index, 0, 0.0)
        metrics, media = row.get("metrics") or {}, row.get("media") or {}
        numbers = {k: v for k, v in metrics.items() if isinstance(v, (int, float))}
        return Row(index, step, moment, self._new(numbers, step), self._new(media, step))

    def _new(self, values: dict[str, Any], step: int) -> dict[str, Any]:
        fresh = {}
        for name, value in values.items():
            if name.startswith(("system/", "artifact/")):
                fresh[name] = value
            elif self.resumed and step <= self.steps.get(name, -1):
                self.repeated += 1
            else:
                fresh[name] = value
                self.steps[name] = max(step, self.steps.get(name, -1))
        return fresh

    def save(self, run_dir: Path, name: str) -> None:
        """Write the cursor file. Raises OSError."""
        self.updated = time.time()
        path = path_of(run_dir, name)
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, json.dumps(asdict(self), indent=1), sync=False)


def load(run_dir: Path, name: str) -> Cursor | None:
    """The cursor of a tracker; None when it never was one of this run, or the file is damaged."""
    try:
        stored = json.loads(path_of(run_dir, name).read_text())
        return Cursor(**{f.name: stored[f.name] for f in fields(Cursor) if f.name in stored})
    except (OSError, ValueError, TypeError):
        return None


def path_of(run_dir: Path, name: str) -> Path:
    """tracking/<name>.json"""
    return run_dir / FOLDER / f"{name}.json"


@contextmanager
def exclusive(run_dir: Path, name: str) -> Iterator[Callable[[], bool]]:
    """The right to deliver to one tracker: call it to take it, False while another has it."""
    path = path_of(run_dir, name).with_suffix(".lock")
    path.parent.mkdir(exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield lambda: _try_lock(fd)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: better twice than never
        return True
    return True
