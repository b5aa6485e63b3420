# SPDX-License-Identifier: MIT
"""The journal of a run: every metric it logged, one JSON object a line, append-only.

    {"step": 12, "time": 1730000000.123, "metrics": {"train/loss": 0.5, "lr": 0.001}}
    {"step": 12, "time": …, "media": {"val/confusion": {"type": "confusion_matrix", …}}}
    {"time": …, "event": "start", …}

Writing a row is one os.write on an O_APPEND descriptor: once `log` has returned, the row is in
the kernel's hands and outlives the process, kill -9 included. A row that cannot be written
(disk full, not a number) never ends the training: it is counted, and the reason is printed once.

JSON has no NaN and no infinity; in `metrics` they are the strings "NaN", "Infinity" and
"-Infinity", and `read_rows` gives the floats back.

    journal = Journal(path)
    journal.log({"train/loss": 0.5}, step=12)
    journal.close()
    for row, end_offset in read_rows(path): …

A training that is resumed from a checkpoint appends

    {"time": …, "event": "resume", "step": 120, "offset": 5321, "session": 1}

The rows from byte `offset`, where the journal ended when the checkpoint was saved, up to this line
are superseded: they stay in the file, and `read_rows` gives them, but not `current_rows`.
"""

import contextlib
import errno
import math
import os
import sys
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from .resumes import current_parts, last_bytes
from .scalars import PLAIN, arrived, to_scalars

_JSON = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _say_on_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Journal:
    """The writing end: for one thread of one process.

    `rows` counts the rows in the file, `refused` those that are not, by reason. `warn` is called
    with one sentence for the first row of each reason.

    Raises OSError when `path` cannot be opened for appending.
    """

    def __init__(self, path: str | Path, *, warn: Callable[[str], None] = _say_on_stderr) -> None:
        self.path = Path(path)
        self.rows = 0
        self.refused: Counter[str] = Counter()
        self._warn = warn
        # (CUDA events to wait for, the row) or, after such rows, (nothing, the encoded line)
        self._waiting: deque[tuple[Sequence[Any], Any]] = deque()
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._fd).st_size
        # True while the last line lacks its newline; the next write then begins with one.
        self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Append one row of scalars: int, float, bool, NumPy scalars, 0-d tensors.

        A CUDA tensor is not waited for: its row and all later ones are held back until an
        asynchronous copy of the value has arrived; later calls check for it.

        Raises TypeError when `step` is not an int, ValueError when it is negative.
        """
        if type(step) is not int or step < 0:
            raise _bad_step(step)
        now = time.time()
        events: list[Any] = []
        try:
            if not PLAIN.issuperset(map(type, metrics.values())):
                metrics, events = to_scalars(metrics)
        except TypeError as error:
            self._refuse(f"{error}")
            return
        self._submit({"step": step, "time": now, "metrics": metrics}, events)

    def record(self, fields: Mapping[str, Any], step: int) -> None:
        """Append a row without scalars, such as {"media": {name: {"type": …, …}}}."""
        if type(step) is not int or step < 0:
            raise _bad_step(step)
        self._submit({"step": step, "time": time.time(), **fields})

    def event(self, name: str, **fields: Any) -> None:
        """Append an event: start, resume, finish. `fields` may have its time."""
        self._submit({"time": time.time(), "event": name, **fields})

    def position(self) -> int:
        """Where the next row will begin, in bytes: all that was logged before is in the file.

        Waits for values still on a device.
        """
        self._drain(wait=True)
        return os.fstat(self._fd).st_size if self._fd >= 0 else self.path.stat().st_size

    def sync(self) -> None:
        """Wait for the disk; may be called from another thread."""
        if self._fd >= 0:
            try:
                os.fsync(self._fd)
            except OSError as error:
                self._refuse(f"{error.strerror} ({self.path})", rows=0)

    def flush(self) -> None:
        """Wait for values still on a device, then for the disk. Not for the hot path."""
        self._drain(wait=True)
        self.sync()

    def close(self) -> None:
        """Write and sync everything and close the file; closing twice is harmless."""
        self.flush()
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with contextlib.suppress(OSError):  # NFS may repeat here what fsync reported
                os.close(fd)

    def _submit(self, row: dict[str, Any], events: Sequence[Any] = ()) -> None:
        """Write the row, or queue it while values of it or of earlier rows are in flight."""
        try:
            item = row if events else _encode(row)
        except TypeError as error:  # a name that is not text, an integer past 64 bits
            self._refuse(f"{error}")
            return
        if events or self._waiting:
            self._waiting.append((events, item))
            self._drain(wait=False)
        else:
            self._write(item)

    def _drain(self, *, wait: bool) -> None:
        """Write the waiting rows, oldest first, up to one whose values have not arrived."""
        while self._waiting:
            events, item = self._waiting[0]
            try:
                if wait:
                    for event in events:
                        event.synchronize()
                elif not all(event.query() for event in events):
                    return
                line = _encode(arrived(item)) if events else item
            except (RuntimeError, TypeError) as error:  # RuntimeError: the device has failed
                self._waiting.popleft()
                self._refuse(f"{error}".partition("\n")[0])
                continue
            self._waiting.popleft()
            self._write(line)

    def _write(self, line: bytes) -> None:
        if self._torn:
            line = b"\n" + line
        try:
            written = os.write(self._fd, line)
            while written < len(line):  # a nearly full disk takes a part of the row
                self._torn = True
                line = line[written:]
                written = os.write(self._fd, line)
        except OSError as error:
            self._refuse(f"{error.strerror} ({self.path})")
            return
        self._torn = False
        self.rows += 1

    def _refuse(self, reason: str, rows: int = 1) -> None:
        first = reason not in self.refused
        self.refused[reason] += rows
        if first:
            self._warn(f"warning: metrics are being lost, training goes on: {reason}")


def _bad_step(step: Any) -> Exception:
    if type(step) is not int:
        return TypeError(f"step must be an int, not {type(step).__name__} ({step!r})")
    return ValueError(f"step must not be negative: {step}")


def _encode(row: dict[str, Any]) -> bytes:
    line = orjson.dumps(row, None, _JSON)
    if b"null" in line and "metrics" in row:  # orjson's NaN and infinity
        metrics = {name: _finite_or_text(value) for name, value in row["metrics"].items()}
        line = orjson.dumps({**row, "metrics": metrics}, None, _JSON)
    return line


def _finite_or_text(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


class DamagedRow(UserWarning):
    """A line of a journal that is not a row; `offset` and `end` are its place in the file."""

    def __init__(self, path: Path, offset: int, end: int) -> None:
        super().__init__(f"{path}: damaged row skipped at byte {offset}, {end - offset} bytes")
        self.path, self.offset, self.end = path, offset, end


def read_rows(
    path: str | Path,
    offset: int = 0,
    end: int | None = None,
    *,
    containing: bytes = b"",
    on_damage: Callable[[DamagedRow], Any] = warnings.warn,
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each complete row between the bytes `offset` and `end`, and the offset where it ends.

    A later call with the last offset continues there: a last line without its newline, torn or
    still being written, is left for it. A damaged line within the file is skipped and handed to
    `on_damage`; in what is yielded, `step` is an int from 0, `time` a number,
    `metrics` name → number and `media` name → dict, each where it is present. Lines without the
    bytes `containing` are skipped unparsed, to search a long journal quickly. Raises
    FileNotFoundError when there is no journal.
    """
    path = Path(path)
    if not path.is_file():  # opening a pipe would never end
        raise FileNotFoundError(errno.ENOENT, "no such regular file", str(path))
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n") or (end is not None and offset + len(line) > end):
                return
            start, offset = offset, offset + len(line)
            if line == b"\n" or containing not in line:
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                if line.isspace():  # what `mend` has blanked
                    continue
                row = None
            if b'NaN"' in line or b'Infinity"' in line:
                _restore_non_finite(row)
            if not _is_row(row):
                on_damage(DamagedRow(path, start, offset))
                continue
            yield row, offset


def current_rows(
    path: str | Path,
    *,
    containing: bytes = b"",
    tail: int | None = None,
    on_damage: Callable[[DamagedRow], Any] = warnings.warn,
) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the rows that count, as `read_rows` does: all but those that a resume superseded.

    With `tail`, only the last `tail` bytes of them; a row that begins before is left out or, cut
    off, handed to `on_damage`. Rows that are appended meanwhile are not waited for. Raises
    FileNotFoundError when there is no journal.
    """
    parts = current_parts(path)
    for start, end in parts if tail is None else last_bytes(parts, tail):
        yield from read_rows(path, start, end, containing=containing, on_damage=on_damage)


def _restore_non_finite(row: Any) -> None:
    metrics = row.get("metrics") if isinstance(row, dict) else None
    if isinstance(metrics, dict):
        for name, value in metrics.items():
            if isinstance(value, str):
                metrics[name] = _NON_FINITE.get(value, value)


def _is_row(row: Any) -> bool:
    """Whether every field has the right type, so that no reader needs to check it again."""
    if not isinstance(row, dict):
        return False
    step, metrics, media = row.get("step", 0), row.get("metrics", {}), row.get("media", {})
    return (
        type(step) is int
        and step >= 0
        and type(row.get("time", 0.0)) in (int, float)
        and type(metrics) is dict
        and PLAIN.issuperset(map(type, metrics.values()))
        and type(media) is dict
        and all(type(item) is dict for item in media.values())
    )
