# SPDX-License-Identifier: MIT
"""One training of a sweep: the process, its run, and how it ends.

    training = Training(order, slot)
    training.start(on_end=events.put)           # in the main thread
    for step, value in training.look(): …       # its new evaluations
    training.stop(signal.SIGUSR2, "why")
    outcome = training.outcome()                # after on_end(training) was called

It is <model>/train.py as `make` starts it, with the configuration of its cell and a LAUNCH_ID, by
which it goes on with the run of an earlier attempt. It does not outlive its worker: the kernel
sends it SIGTERM when the worker dies, so that it saves and ends.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import lock
from ..config.frozen import DIGEST, PATH
from ..files import ROOT
from ..runs.directory import private_opener
from ..runs.status import UnreadableRun
from ..runs.stored import StoredRun, load_run
from ..runs.watch.tail import last_lines
from .follow import Follower
from .outcome import Outcome, judge, memory_kills
from .slots import Slot

# Not for a training: what another launch froze, and the address of the study, which may have a
# password in it, also among the variables that make passes on.
_HIDDEN = (PATH, DIGEST, "LAUNCH_ID", "STORAGE", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")
_LINES = 40  # of the output, in which the reason for a failure is looked for
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec is no time for it


@dataclass(frozen=True)
class Order:
    """What to train: `program` is <model>/train.py, `flags` are settings of the run that do not
    change its numbers, `launch_id` names the launch, `log` takes the output.
    """

    program: str
    config: Path
    launch_id: str
    run_name: str
    output_dir: Path
    log: Path
    metric: str
    flags: Sequence[str] = ()

    def command(self) -> list[str]:
        """The command line."""
        return [
            *(sys.executable, self.program, "--config", str(self.config), "--resume", "auto"),
            *("--output-dir", str(self.output_dir), "--tracker-run-name", self.run_name),
            *self.flags,
        ]


def runs_of(output_dir: Path, run_name: str, launch_id: str) -> list[StoredRun]:
    """The runs that the launch `launch_id` has made, oldest first.

    Their directories are called `run_name`, or `run_name`_2, _3 … where that was taken.
    """
    found = []
    try:
        names = [e.name for e in os.scandir(output_dir) if e.name.startswith(run_name)]
    except OSError:
        return []
    for name in names:
        with contextlib.suppress(UnreadableRun):
            run = load_run(output_dir / name)
            if run.field("launch") == launch_id and run.status != "kept":
                found.append(run)
    return sorted(found, key=lambda run: str(run.metadata.get("start_time")))


class Training:
    """The process that trains `order` in `slot`; `run` is its run, once there is one."""

    def __init__(self, order: Order, slot: Slot) -> None:
        self.order, self.slot = order, slot
        self.run: StoredRun | None = None
        self.follower: Follower | None = None
        self.started = time.monotonic()
        self._began = time.time()
        self.asked = ""  # why it was told to stop
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._memory_kills = 0

    def start(self, on_end: Callable[["Training"], None]) -> None:
        """Start it; `on_end` is called in another thread when it has ended. Raises OSError.

        To be called in the main thread: the kernel takes the end of the thread that starts a
        process for that of its parent.
        """
        environment = {k: v for k, v in os.environ.items() if k not in _HIDDEN}
        environment |= {**self.slot.environment(), "LAUNCH_ID": self.order.launch_id}
        self._memory_kills, parent = memory_kills(), os.getpid()
        with open(self.order.log, "ab", opener=private_opener) as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self.order.command(),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the worker
                preexec_fn=lambda: _end_with(parent),
            )
        threading.Thread(target=self._wait, args=(on_end,), daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process is not None and self._process.returncode is not None

    def stop(self, number: int, why: str) -> None:
        """Send the signal `number`, which was asked for because of `why`."""
        self.asked = self.asked or why
        if self._process is not None and not self.ended:
            self._process.send_signal(number)

    def look(self) -> list[tuple[int, float]]:
        """The evaluations since the last look: (step, value) of the metric."""
        if self.follower is None:
            self._find_run()
        return self.follower.read() if self.follower else []

    def outcome(self) -> Outcome:
        """How it ended. Raises nothing: a run that cannot be read counts as missing."""
        assert self._process is not None and self._process.returncode is not None
        order = self.order
        runs = runs_of(order.output_dir, order.run_name, order.launch_id)
        mine = [run for run in runs if self._is_mine(run)]
        return judge(
            self._process.returncode,
            mine[-1] if mine else None,
            said=self._said(),
            asked=self.asked,
            killed_for_memory=memory_kills() > self._memory_kills,
        )

    def _find_run(self) -> None:
        """The run of this launch that is in progress."""
        order = self.order
        for run in runs_of(order.output_dir, order.run_name, order.launch_id):
            if not lock.is_free(run.dir / ".lock"):
                self.run, self.follower = run, Follower(run.dir, order.metric)

    def _is_mine(self, run: StoredRun) -> bool:
        """Whether this process has trained `run`, and not only one before it."""
        if self.run is not None:
            return run.dir == self.run.dir
        try:  # it may have ended between two looks
            return (run.dir / "metadata.yaml").stat().st_mtime >= self._began
        except OSError:
            return False

    def _said(self) -> list[str]:
        """The last lines that this process, and not one before it, has printed."""
        try:
            if self.order.log.stat().st_size <= self._log_start:
                return []
        except OSError:
            return []
        return last_lines(self.order.log, _LINES)

    def _wait(self, on_end: Callable[["Training"], None]) -> None:
        assert self._process is not None
        self._process.wait()
        on_end(self)


def _end_with(parent: int) -> None:
    """In the child: SIGTERM when `parent` dies, however it dies. Linux alone can do that."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:  # it died before
            os._exit(128 + signal.SIGTERM)
