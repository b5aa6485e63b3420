# SPDX-License-Identifier: MIT
"""A thread of the forwarder for each tracker, which reads the journal and fills the tracker.

Whatever the tracker does, only its thread waits or fails. After an error the backend is opened
again, with growing pauses, so that a server that was down is filled once it is back. A value that
the tracker cannot take is left out and counted; the rest of its row is delivered.
"""

import contextlib
import copy
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..advice import installing
from ..runs.journal import DamagedRow, read_rows
from ..runs.redact import redact
from . import cursor as cursors
from .backends import Backend, Refusal, Row, brief, load
from .cursor import Cursor
from .describe import describe, modified

POLL_S = 0.5
_LONGEST_PAUSE_S = 30.0
_TRIES_AFTER_THE_END = 3
_PATIENCE_S = 10.0  # for an earlier forwarder to end, before users are told of it
_REFUSALS_SAID = 10  # different ones; the others are only counted


class Ending:
    """Declared once, when no more rows will come; `status` and `time` say how and when it ended.

    `handed_over`: the run goes on, and the forwarder of that training delivers the rest.
    """

    def __init__(self) -> None:
        self.handed_over = False
        self.status = ""
        self.time: float | None = None
        self._event = threading.Event()

    def declare(self, status: str, time: float | None) -> None:
        self.status, self.time = status, time
        self._event.set()

    def hand_over(self) -> None:
        self.handed_over = True
        self.declare(self.status or "interrupted", self.time)

    def __bool__(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        self._event.wait(seconds)


class Delivery(threading.Thread):
    """Delivers the journal of `run_dir` to the tracker `name` until `ending`.

    `say` is called with one sentence for each new kind of trouble. `cursor.condition` is the
    outcome: finished or failed. `waits` while another process delivers to the tracker.
    """

    def __init__(
        self, run_dir: Path, name: str, ending: Ending, say: Callable[[str], None]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.cursor = cursors.load(run_dir, name) or Cursor()
        self.waits = True
        self._run_dir = run_dir
        self._journal = run_dir / "logs" / "metrics.jsonl"
        self._ending = ending
        self._say = say
        self._failures = 0
        self._refusals: set[tuple[str, str]] = set()
        self._backend: Backend | None = None
        self._modified = 0

    def run(self) -> None:
        with cursors.exclusive(self._run_dir, self.name) as lock:
            patient_until = time.monotonic() + _PATIENCE_S
            while not lock():  # an earlier forwarder of this run is still ending
                if self._ending.handed_over:
                    return
                if time.monotonic() > patient_until:
                    self._say(f"{self.name}: waiting, another process is delivering to it")
                time.sleep(POLL_S)
            self.waits = False
            self.cursor = cursors.load(self._run_dir, self.name) or Cursor()
            while not self._attempt():
                self._pause(min(2.0 ** (self._failures - 1), _LONGEST_PAUSE_S))

    def _pause(self, seconds: float) -> None:
        """Before another try; the end of the run cuts it short."""
        if self._ending:
            time.sleep(min(seconds, 1.0))
        else:
            self._ending.wait(seconds)

    def _attempt(self) -> bool:
        """Deliver to the end of the run; False when it is worth another try."""
        try:
            self._deliver()
        except ImportError as error:
            self._trouble(
                "failed", f"{brief(error)}. Install it: {installing(f'adamwprune[{self.name}]')}"
            )
            return True
        except Exception as error:  # an SDK may raise anything
            self._failures += 1
            over = bool(self._ending) and self._failures >= _TRIES_AFTER_THE_END
            over = over or self._ending.handed_over
            self._trouble("failed" if over else "retrying", brief(error))
            if self._backend is not None:
                with contextlib.suppress(Exception):
                    self._backend.abandon()
            return over
        return True

    def _deliver(self) -> None:
        backend = self._open()
        while True:
            ended = bool(self._ending)  # asked before reading, so that no row is missed
            self._describe(backend)
            more = self._deliver_batch(backend)
            if self._ending.handed_over or (ended and not more):
                break
            if not more:
                self._ending.wait(POLL_S)
        backend.finish(self._ending.status, self._ending.time)
        self.cursor.condition = "handed over" if self._ending.handed_over else "finished"
        self._save()

    def _open(self) -> Backend:
        description = describe(self._run_dir)
        self._backend = backend = load(self.name)(description, self.cursor.state)
        held = backend.open()
        if held is not None and held < self.cursor.written:
            self.cursor.rewind()
            self._modified = 0
        self._held = held or 0
        self.cursor.condition = "delivering"
        self.cursor.where = redact(backend.where)
        self._save()
        return backend

    def _describe(self, backend: Backend) -> None:
        if (now := modified(self._run_dir)) == self._modified:
            return
        run = describe(self._run_dir)
        if run.mark != self.cursor.described:
            backend.run = run
            backend.describe(run.facts)
            for name in sorted(backend.cut.keys() - self.cursor.cut.keys()):
                self._say(f"{self.name}: {name} is not complete there: {backend.cut[name]}")
            self.cursor.described, self.cursor.cut = run.mark, dict(backend.cut)
            self._save()
        self._modified = now

    def _deliver_batch(self, backend: Backend) -> bool:
        """Deliver up to one batch; False when there was nothing to read.

        The cursor advances only when the tracker has the rows.
        """
        after = copy.copy(self.cursor)  # shares `state` with the backend
        after.steps = dict(self.cursor.steps)
        rows: list[Row] = []
        for row in self._read(after):
            if row.index >= self._held and (row.metrics or row.media):
                rows.append(row)
            if len(rows) >= backend.batch_rows:
                break
        if after.offset == self.cursor.offset:
            return False
        if rows:
            backend.refused.clear()
            backend.write(rows)
            self._count(backend.refused, after)
            after.written = rows[-1].index + 1
            after.condition, after.error = "delivering", ""
        self.cursor = after
        self._failures = 0
        self._save()
        return True

    def _read(self, after: Cursor) -> Iterator[Row]:
        def count_damaged(damage: DamagedRow) -> None:
            after.dropped += 1
            after.refusal = redact(str(damage))
            self._say(after.refusal)

        for values, end in read_rows(self._journal, after.offset, on_damage=count_damaged):
            row = after.advance(values, end)
            if row.unfit:
                self._count([Refusal(n, row.step, why) for n, why in row.unfit.items()], after)
            yield row

    def _count(self, refusals: Sequence[Refusal], after: Cursor) -> None:
        """Count what is left out; report the first of each kind."""
        for name, step, reason in refusals:
            after.dropped += 1
            after.refusal = f"{name} at step {step}: {reason}" if step >= 0 else f"{name}: {reason}"
            if (name, reason) in self._refusals or len(self._refusals) > _REFUSALS_SAID:
                continue
            self._refusals.add((name, reason))
            if len(self._refusals) > _REFUSALS_SAID:
                self._say(f"{self.name}: more values are left out; they are counted only")
            else:
                self._say(f"{self.name}: left out {after.refusal}")

    def _trouble(self, condition: str, reason: str) -> None:
        if reason != self.cursor.error:
            self._say(f"{self.name}: {condition}: {reason}")
        self.cursor.condition, self.cursor.error = condition, reason
        try:
            self._save()
        except OSError as error:
            self._say(f"{self.name}: cannot write its cursor: {error.strerror}")

    def _save(self) -> None:
        self.cursor.save(self._run_dir, self.name)
