# SPDX-License-Identifier: MIT
"""The training process' side of tracking: start the forwarder, keep it alive, wait for its end.

Training pays for starting one process, a few milliseconds, and for a thread that sleeps until that
process ends. A forwarder that dies is started again; nothing is lost, since it goes on where the
trackers are.
"""

import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.tracking import cursor as cursors
from lib.tracking.wandb_login import CURES, wandb_mode

ROOT = Path(__file__).resolve().parent.parent.parent

_GRACE_S = 2.0  # beyond the forwarder's own deadline
_LONGEST_PAUSE_S = 60.0
_STABLE_S = 30.0  # a forwarder that lived this long starts again at once


def launch(
    run_dir: Path, trackers: Sequence[str], settings: Mapping[str, Any], say: Callable[[str], None]
) -> "Tracking":
    """Check what can be checked and start forwarding; `settings` is symbol → value."""
    check(trackers, settings, say)
    return Tracking(
        run_dir,
        trackers,
        finish_timeout=settings["TRACKER_FINISH_TIMEOUT"],
        system_interval=settings["SYSTEM_METRICS_INTERVAL"],
        say=say,
        # config.yaml, which the forwarder reads, has it without the password it may contain.
        environment={"MLFLOW_TRACKING_URI": settings["MLFLOW_TRACKING_URI"]},
    )


def check(trackers: Sequence[str], settings: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Say, before any training time is spent, what will not work and the cure. Takes no network."""
    for name in trackers:
        if importlib.util.find_spec(name) is None:
            say(
                f"warning: {name}: its package is not installed, this run is not sent there. "
                f"Cure: make install; later, make track RUN=… TRACKER={name} catches up"
            )
        elif name == "wandb":
            mode, why = wandb_mode(bool(settings.get("WANDB_OFFLINE")))
            if why == "not logged in":
                say(f"warning: wandb: not logged in, so this run is recorded offline. {CURES}")
            elif mode == "disabled":
                say(f"warning: wandb: {why}, so this run is not sent there")


class Tracking:
    """The forwarder of one run. `finish` has to be called; `say` prints a message.

    `environment` is for what is not set in os.environ.
    """

    def __init__(
        self,
        run_dir: Path,
        trackers: Sequence[str],
        *,
        finish_timeout: float,
        system_interval: float,
        say: Callable[[str], None],
        environment: Mapping[str, str],
    ) -> None:
        self._environment = environment
        self._run_dir = run_dir
        self._trackers = list(trackers)
        self._timeout = finish_timeout
        self._say = say
        self._finishing = threading.Event()
        self._command = [
            sys.executable, "-m", "lib.tracking.forwarder", str(run_dir),
            "--trackers", ",".join(trackers),
            "--finish-timeout", str(finish_timeout),
            "--system-interval", str(system_interval),
            "--background",
        ]  # fmt: skip
        self._process = self._start()
        threading.Thread(target=self._keep_alive, name="tracking", daemon=True).start()

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        # One thread for each numerical library: the cores belong to the training.
        environment = {**self._environment, **os.environ}
        environment |= {"PYTHONPATH": path, "MALLOC_ARENA_MAX": "2"}
        for library in ("OMP", "OPENBLAS", "MKL"):
            environment[f"{library}_NUM_THREADS"] = "1"
        return subprocess.Popen(
            self._command,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _keep_alive(self) -> None:
        """Start the forwarder again when it is killed; it exits by itself only after the run."""
        pause = 1.0
        while True:
            started = time.monotonic()
            code = self._process.wait()
            if code >= 0 or self._finishing.is_set():
                return
            pause = (
                1.0 if time.monotonic() - started > _STABLE_S else min(2 * pause, _LONGEST_PAUSE_S)
            )
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
            self._say(self._outcome(name))

    def _unfinished(self) -> list[str]:
        states = {name: cursors.load(self._run_dir, name) for name in self._trackers}
        return [
            n for n, c in states.items() if c is None or c.condition not in ("finished", "failed")
        ]

    def _outcome(self, name: str) -> str:
        cursor = cursors.load(self._run_dir, name)
        if cursor is not None and cursor.condition == "finished":
            dropped = f", {cursor.dropped} dropped: {cursor.error}" if cursor.dropped else ""
            return f"{name}: {cursor.rows} rows{dropped}; see {cursor.where}"
        reason = (cursor and cursor.error) or f"not finished within {self._timeout:g} s"
        return (
            f"warning: {name} is incomplete: {reason}. Nothing is lost, the journal has it all; "
            f"continue with: make track RUN={self._run_dir.name} TRACKER={name}"
        )
