# SPDX-License-Identifier: MIT
"""The training process' side of tracking: start the forwarder, keep it alive, wait for its end.

This costs training a few milliseconds, for starting one process, and a thread that sleeps until
that process ends. A forwarder that dies is started again and continues where the trackers are.
"""

import importlib.util
import os
import pkgutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from ..advice import installing, typed
from ..config.trackers import TRACKERS
from ..files import python_path
from ..runs.journal import read_rows
from ..text import one_line
from . import cursor as cursors
from .cursor import Cursor
from .describe import resumes

_GRACE_S = 2.0  # beyond the forwarder's own deadline
_LONGEST_PAUSE_S = 60.0
_STABLE_S = 30.0  # a forwarder that lived this long starts again at once


def launch(
    run_dir: Path, trackers: Sequence[str], settings: Mapping[str, Any], say: Callable[[str], None]
) -> "Tracking | None":
    """Start forwarding to the trackers that are usable; `settings` is symbol → value."""
    usable = check(trackers, settings, say)
    if not usable:
        return None
    return Tracking(
        run_dir,
        usable,
        finish_timeout=settings["TRACKER_FINISH_TIMEOUT"],
        system_interval=settings["SYSTEM_METRICS_INTERVAL"],
        say=say,
        # It may contain a password, which config.yaml, read by the forwarder, does not have.
        defaults={"MLFLOW_TRACKING_URI": settings["MLFLOW_TRACKING_URI"]},
    )


def check(
    trackers: Sequence[str], settings: Mapping[str, Any], say: Callable[[str], None]
) -> tuple[str, ...]:
    """Say what will not work, and the cure, before any training time is spent.

    Takes no time and no network. Returns the trackers that are worth a try.
    """
    usable = []
    for name in trackers:
        tracker = TRACKERS[name]
        if importlib.util.find_spec(tracker.package) is None:
            say(
                f"warning: {name}: its package is not installed, this run is not sent there. "
                f"Cure: {installing(f'adamwprune[{name}]')}; then {_catching_up('…', name)} "
                "catches up"
            )
            continue
        wanted, remark = True, ""
        if tracker.check:  # (is it worth a try, what to say)
            wanted, remark = pkgutil.resolve_name(tracker.check)(settings)
        if remark:
            say(remark)
        if wanted:
            usable.append(name)
    return tuple(usable)


def forwarder_command(run_dir: Path, trackers: Sequence[str], *options: str) -> list[str]:
    """The command line of lib/tracking/forwarder.py."""
    program = [sys.executable, "-m", f"{__package__}.forwarder", str(run_dir)]
    return [*program, "--trackers", ",".join(trackers), *options]


def environment(defaults: Mapping[str, str]) -> dict[str, str]:
    """os.environ for the forwarder; `defaults` is for what is not set there."""
    # One thread for each numerical library: the cores belong to the training.
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    return {**defaults, **os.environ, **threads, **python_path(), "MALLOC_ARENA_MAX": "2"}


def outcome(run_dir: Path, name: str) -> str:
    """One line: what a tracker has in the end, and how to continue if that is not everything."""
    cursor = cursors.load(run_dir, name)
    if _has_everything(run_dir, cursor):
        count = f"{name}: {cursor.rows:,} row{'' if cursor.rows == 1 else 's'}"
        where = [f"see {cursor.where}"] if cursor.where else []
        return one_line("; ".join([count, *cursor.remarks(), *where]))
    reason = (cursor and cursor.error) or "it did not finish in time"
    return one_line(
        f"warning: {name} is incomplete: {reason}. Nothing is lost, the journal has it all; "
        f"continue with: {_catching_up(str(run_dir), name)}"
    )


def _catching_up(run: str, tracker: str) -> str:
    by_make = f"make track RUN={Path(run).name} TRACKER={tracker}"
    return typed(by_make, f'adamwprune.track("{run}", "{tracker}")')


def _has_everything(run_dir: Path, cursor: Cursor | None) -> TypeGuard[Cursor]:
    """Whether a tracker has the whole journal; if the run was resumed, not only that until then."""
    if cursor is None or cursor.condition != "finished":
        return False
    journal = run_dir / "logs" / "metrics.jsonl"
    return not any(True for _ in read_rows(journal, cursor.offset, on_damage=lambda _: None))


class Tracking:
    """The forwarder of one run. `finish` has to be called; `say` prints a message.

    `defaults` are environment variables for the forwarder where they are not set.
    """

    def __init__(
        self,
        run_dir: Path,
        trackers: Sequence[str],
        *,
        finish_timeout: float,
        system_interval: float,
        say: Callable[[str], None],
        defaults: Mapping[str, str],
    ) -> None:
        self._run_dir = run_dir
        self._trackers = trackers
        self._timeout = finish_timeout
        self._say = say
        self._finishing = threading.Event()
        self._environment = environment(defaults)
        options = {"--finish-timeout": finish_timeout, "--system-interval": system_interval}
        options["--session"] = resumes(run_dir)
        flags = [text for name, value in options.items() for text in (name, str(value))]
        self._command = forwarder_command(run_dir, trackers, *flags, "--background")
        self._process = self._start()
        threading.Thread(target=self._keep_alive, name="tracking", daemon=True).start()

    def _start(self) -> "subprocess.Popen[bytes]":
        """In a session of its own: Ctrl-C in the terminal is for the training only."""
        return subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _keep_alive(self) -> None:
        """Start the forwarder again if it is killed; by itself it exits only after the run."""
        pause = 1.0
        while True:
            started = time.monotonic()
            code = self._process.wait()
            if code >= 0 or self._finishing.is_set():
                return
            lived = time.monotonic() - started
            pause = 1.0 if lived > _STABLE_S else min(2 * pause, _LONGEST_PAUSE_S)
            if self._finishing.wait(pause):
                return
            self._process = self._start()

    def finish(self) -> None:
        """Wait until the trackers have everything, at most the finish timeout; say how it went.

        For when the journal is closed and the run's lock released. Ctrl-C ends the waiting.
        """
        self._finishing.set()
        try:
            if self._process.poll() is not None and self._unfinished():
                self._process = self._start()
            self._process.wait(self._timeout + _GRACE_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
        for name in self._trackers:
            self._say(outcome(self._run_dir, name))

    def _unfinished(self) -> bool:
        states = [cursors.load(self._run_dir, name) for name in self._trackers]
        return any(
            not _has_everything(self._run_dir, s) and (s is None or s.condition != "failed")
            for s in states
        )
