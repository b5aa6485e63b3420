# SPDX-License-Identifier: MIT
"""Forward the journal of a run to its trackers, beside the training process.

    python -m lib.tracking.forwarder RUN_DIR --trackers wandb,mlflow [--finish-timeout 60]
                                     [--system-interval 15] [--background] [--session 0]

Follows a run in progress until it ends, or until its process is gone, which makes the run
interrupted; replays one that has ended. What the SDKs print goes into logs/tracking.log. With
--background the priority is low until the run has ended. With --session N, the number of times
that the run was resumed, it ends when the run is resumed again: that training starts its own.
Exit code 0 when every tracker has everything, 1 otherwise.
"""

import argparse
import contextlib
import math
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import lock
from ..files import is_abandoned
from ..runs import metadata
from ..runs.journal import read_rows
from ..runs.redact import redact
from ..runs.stored import load_run
from ..text import printable
from .cursor import valid_step
from .delivery import POLL_S, Delivery, Ending
from .describe import modified, resumes, timestamp
from .system import SystemMetrics

_NICE = 10
_PREFIX = "adamwprune-tracking-"  # of folders in the temporary directory


class Console:
    """The terminal of the training, while this process's own output goes into a log file."""

    def __init__(self, log: Path) -> None:
        self._said: set[str] = set()
        self._terminal = os.fdopen(os.dup(2), "w")
        os.set_inheritable(self._terminal.fileno(), False)
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for output in (1, 2):
            os.dup2(fd, output)
        os.close(fd)

    def say(self, text: str) -> None:
        """Print a line to the terminal and the log, once, however often it is said."""
        text = printable(redact(text))
        if text in self._said:
            return
        self._said.add(text)
        for stream in (self._terminal, sys.stderr):
            try:
                print(f"tracking: {text}", file=stream, flush=True)
            except OSError:  # the terminal is gone, or the disk is full
                continue


class Session:
    """One training of a run, from its start or a resume to the next resume; None: all of them."""

    def __init__(self, run_dir: Path, number: int | None) -> None:
        self._run_dir, self._number = run_dir, number
        self._modified = -1
        self._over = False

    def is_over(self) -> bool:
        """Whether the run has been resumed since."""
        if self._number is None or (now := modified(self._run_dir)) == self._modified:
            return self._over
        self._modified = now
        self._over = resumes(self._run_dir) > self._number
        return self._over


def forward(
    run_dir: Path,
    trackers: list[str],
    *,
    finish_timeout: float,
    say: Callable[[str], None],
    system_interval: float = 0.0,
    background: bool = False,
    session: int | None = None,
) -> list[Delivery]:
    """Deliver until the run has ended and `finish_timeout` seconds more, at most.

    A finish_timeout of 0 waits without limit. Returns the deliveries; a thread that is still alive
    did not finish.
    """
    if background:
        _set_priority(_NICE)
    ending, training = Ending(), Session(run_dir, session)
    deliveries = [Delivery(run_dir, name, ending, say) for name in trackers]
    for delivery in deliveries:
        delivery.start()
    _watch(run_dir, system_interval, deliveries, training)
    if training.is_over():
        ending.hand_over()
    else:
        run = load_run(run_dir)
        ending.declare(run.status, timestamp(run.metadata.get("end_time")))
    if background:
        _set_priority(0)
    deadline = time.monotonic() + (finish_timeout or math.inf)
    while any(delivery.is_alive() for delivery in deliveries) and time.monotonic() < deadline:
        if training.is_over():
            ending.hand_over()
        _join(deliveries, min(POLL_S, deadline - time.monotonic()))
    for delivery in deliveries:
        if delivery.is_alive():
            _give_up(run_dir, delivery, finish_timeout, say)
    return deliveries


def _join(deliveries: list[Delivery], seconds: float) -> None:
    """Wait until all have ended, at most `seconds`."""
    deadline = time.monotonic() + seconds
    for delivery in deliveries:
        delivery.join(max(0.0, deadline - time.monotonic()))


def _watch(
    run_dir: Path, system_interval: float, deliveries: list[Delivery], training: Session
) -> None:
    """Return when the run has ended; load_run marks it interrupted if its process is gone.

    Meanwhile it measures the machine, at the last step of the journal.
    """
    journal = run_dir / "logs" / "metrics.jsonl"
    system = SystemMetrics(journal, system_interval)
    step = offset = 0
    while not (training.is_over() or _is_over(run_dir)):
        if not any(delivery.is_alive() for delivery in deliveries):
            return
        if system.due():
            for row, end in read_rows(journal, offset, on_damage=lambda _: None):
                offset = end
                if valid_step(found := row.get("step")):
                    step = found if "event" in row else max(step, found)
            system.log(step)
        time.sleep(POLL_S)


def _is_over(run_dir: Path) -> bool:
    """True if nobody holds the run's lock; where there are no locks, if its status says so."""
    if lock.is_free(run_dir / ".lock"):
        return load_run(run_dir).status != "running"  # it may have been resumed just now
    return metadata.load(run_dir / "metadata.yaml").get("status") != "running"


def _give_up(run_dir: Path, delivery: Delivery, seconds: float, say: Callable[[str], None]) -> None:
    """Leave a hanging thread behind, and record that in the cursor file."""
    cursor = delivery.cursor
    cursor.condition = "failed"
    cursor.error = cursor.error or f"did not finish within {seconds:g} s"
    if delivery.waits:  # the cursor is another process'
        return
    try:
        cursor.save(run_dir, delivery.name)
    except OSError as error:
        say(f"{delivery.name}: cannot write its cursor: {error.strerror}")


def _set_priority(nice: int) -> None:
    """For the session, too: where Linux schedules by session, nice alone has no effect.

    Raising the priority again is allowed to everyone for a session, and to root only for nice.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(nice))


@contextlib.contextmanager
def _temporary_files() -> Iterator[None]:
    """A folder for what the SDKs put into the temporary directory, whose exit handlers do not run
    (see the end of this file). It is removed at the end; what killed forwarders left, at the start.
    """
    sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
        held = lock.hold(Path(folder) / ".lock")
        tempfile.tempdir = folder
        yield
        tempfile.tempdir = None
        lock.release(held)


def sweep(directory: Path) -> None:
    """Remove the folders of forwarders that are gone.

    A folder that was changed just now is left: the service of a killed forwarder may be writing its
    last rows there.
    """
    for folder in filter(is_abandoned, directory.glob(f"{_PREFIX}*")):
        shutil.rmtree(folder, ignore_errors=True)


def main(argv: list[str] | None = None) -> int:
    """The program described above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--trackers", required=True)
    parser.add_argument("--finish-timeout", type=float, default=0.0)
    parser.add_argument("--system-interval", type=float, default=0.0)
    parser.add_argument("--background", action="store_true")
    parser.add_argument("--session", type=int, default=None)
    arguments = parser.parse_args(argv)
    console = Console(arguments.run_dir / "logs" / "tracking.log")
    threading.excepthook = lambda args: console.say(f"{args.thread}: {args.exc_value!r}")
    with _temporary_files():
        deliveries = forward(
            arguments.run_dir,
            arguments.trackers.split(","),
            finish_timeout=arguments.finish_timeout,
            say=console.say,
            system_interval=arguments.system_interval,
            background=arguments.background,
            session=arguments.session,
        )
    return int(any(delivery.cursor.condition != "finished" for delivery in deliveries))


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # an SDK's exit handlers could hang for ever
