# SPDX-License-Identifier: MIT
"""One session of a training: a process that has PyTorch loaded already, forked, and stopped.

    session = Session(case.model, argv, folder, ranks=2)
    session.kill_after(0.2)
    code = session.wait(60)

A fresh process takes seconds for its imports; a fork takes none. Its memory is a copy of that of
the benchmark, which has never trained. `Program` is the same for real processes.
"""

import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import psutil

from benchmarks.durability import faults
from lib.cli import run_main
from lib.config.settings import load_settings

KILLED = -signal.SIGKILL
_POLL_S = 0.002
# What a make passes on to the one that a session starts, with the variables of the benchmark.
_OF_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "N", "SEED", "MINUTES"}
_AFTER_A_FAILURE_S = 30.0  # as torchrun


class Session:
    """`ranks` forked processes that train; what they print goes to `folder`/session.log.

    fault: (place, call number) as for faults.install; counts: instead, write how many calls each
    place has to `folder`/calls.json. Both are for rank 0.
    """

    def __init__(
        self,
        model: str,
        argv: Sequence[str],
        folder: Path,
        *,
        ranks: int = 1,
        fault: tuple[str, int] | None = None,
        counts: bool = False,
    ) -> None:
        self.started = time.monotonic()
        port = _free_port()
        prepare: list[Callable[[], None] | None] = [None] * ranks
        if fault is not None:
            prepare[0] = partial(faults.install, *fault)
        elif counts:
            prepare[0] = faults.install_counters
        self.pids = [
            _fork(
                partial(
                    _train, model, argv, folder, _rank_environment(rank, ranks, port), prepare[rank]
                )
            )
            for rank in range(ranks)
        ]
        self._codes: dict[int, int] = {}

    def alive(self) -> list[int]:
        """The processes that have not ended."""
        for pid in self.pids:
            if pid not in self._codes:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self._codes[pid] = os.waitstatus_to_exitcode(status)
        return [pid for pid in self.pids if pid not in self._codes]

    def wait(self, seconds: float) -> int:
        """The exit code of rank 0, or of the first process that failed; KILLED if one was killed.

        As torchrun does, kills what is left a while after one of them has failed. Raises
        TimeoutError, with all of them killed, after `seconds`.
        """
        deadline, patience = time.monotonic() + seconds, time.monotonic() + seconds
        while alive := self.alive():
            if any(self._codes.values()):
                patience = min(patience, time.monotonic() + _AFTER_A_FAILURE_S)
            if time.monotonic() > patience:
                self.kill(alive)
            if time.monotonic() > deadline:
                self.kill(alive)
                self.wait(10)
                raise TimeoutError(f"still running after {seconds:g} s")
            time.sleep(_POLL_S)
        codes = [self._codes[pid] for pid in self.pids]
        return KILLED if KILLED in codes else next(filter(None, codes), 0)

    def kill(self, pids: Sequence[int] | None = None) -> bool:
        """Send SIGKILL to all processes, or to `pids`; returns whether there was one to kill."""
        alive = self.alive()
        targets = [pid for pid in (self.pids if pids is None else pids) if pid in alive]
        for pid in targets:
            os.kill(pid, signal.SIGKILL)
        return bool(targets)

    def sleep_until(self, seconds: float) -> None:
        """Wait until `seconds` after the start, or until all processes have ended."""
        while time.monotonic() - self.started < seconds and self.alive():
            time.sleep(_POLL_S)

    def fill_disk(self, size: int | None) -> None:
        """Let no file of rank 0 grow past `size` bytes; None ends that."""
        limit = resource.RLIM_INFINITY if size is None else size
        if self.pids[0] in self.alive():
            resource.prlimit(self.pids[0], resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def forwarder(self) -> psutil.Process | None:
        """The process that sends the metrics of rank 0 to trackers."""
        try:
            children = psutil.Process(self.pids[0]).children()
            return next(c for c in children if "lib.tracking.forwarder" in c.cmdline())
        except (psutil.Error, StopIteration):
            return None


class Program(Session):
    """The same for a command line, in processes of its own, which are killed all at once."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.started = time.monotonic()
        with (folder / "session.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={k: v for k, v in os.environ.items() if k not in _OF_MAKE},
            )
        self.pids, self._codes, self._process = [process.pid], {}, process

    def kill(self, pids: Sequence[int] | None = None) -> bool:
        if not self.alive():
            return False
        os.killpg(self.pids[0], signal.SIGKILL)
        return True


def _fork(work: Callable[[], int]) -> int:
    """Start a process that exits with what `work` returns; returns its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _train(
    model: str,
    argv: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    prepare: Callable[[], None] | None,
) -> int:
    """What <model>/train.py does; returns its exit code."""
    os.setpgid(0, 0)
    log = os.open(folder / "session.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.environ.update(environment)
    program = importlib.import_module(f"{model}.train")
    settings = load_settings(model, argv)
    if prepare is not None:
        prepare()
    try:
        run_main(lambda: program.train(settings))
    except SystemExit as end:
        if counted := faults.counts():
            (folder / "calls.json").write_text(json.dumps(counted))
        return end.code if isinstance(end.code, int) else 1


def _rank_environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    if ranks == 1:
        return {}
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
