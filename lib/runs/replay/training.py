# SPDX-License-Identifier: MIT
"""The training of a replay: the recorded code's own `make`, in its own work tree.

    directory = train(place, run, plan, threads, output=sys.stdout)

It runs with the present interpreter (VENV=system, which installs nothing), without trackers, and
keeps its run in the place of the replay. What make and a launch would take from the environment
comes from the run alone.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import psutil

from ...errors import Failure
from ...files import ROOT
from .. import metadata
from ..journal import current_rows
from ..stored import StoredRun
from .plan import Plan, command_settings
from .tree import Place

_POLL_S = 0.2
_TAIL = 2**14  # bytes of a journal, some rows
_SAVING_S = 60.0  # for a training to save and end after it was asked to
# What would reach the training from this shell, this make or this launcher.
_DROPPED = {"FRAGMENTS", "KCONFIG_CONFIG", "PYTHON3", "SET", "TRACKER", "V", "VENV", "YES"}
_DROPPED |= {"CHECKPOINTS", "FILE", "FORMAT", "KEEP", "NAME", "OUT", "RUN"}
_DROPPED |= {"GNUMAKEFLAGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKEFILES", "MFLAGS"}
_DROPPED |= {"MASTER_ADDR", "MASTER_PORT", "MAX_RESTARTS", "NNODES", "NODE_RANK", "NPROC"}
_DROPPED |= {"LOCAL_RANK", "LOCAL_WORLD_SIZE", "RANK", "WORLD_SIZE"}
_DROPPED_BEGINNINGS = ("GIT_", "LAUNCH_", "SLURM_", "TORCHELASTIC_")


def train(place: Place, run: StoredRun, plan: Plan, threads: str, output: TextIO) -> Path:
    """Train what `plan` says in place.tree; returns the directory of the new run in place.runs.

    `threads` is the number of threads of the recorded training, "" if it is not known. What the
    training prints goes to `output`. Ctrl-C and SIGTERM reach it, too. Raises Failure when it fails
    other than the recorded one did, and as soon as it says that it has other data.
    """
    shutil.copyfile(run.dir / ".config", place.tree / ".config")
    settings = {"OUTPUT_DIR": str(place.runs), "TRACKER_RUN_NAME": run.name, **plan.settings}
    make = shutil.which("gmake") or "make"
    command = [make, "VENV=system", f"PYTHON3={sys.executable}", "TRACKER=none"]
    command += [f"NPROC={plan.processes}", f"SET={command_settings(settings)}"]
    output.flush()
    stopped = False
    with _started(command, place, _environment(threads), output) as training:
        while training.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                training.wait(_POLL_S)
            made = _made(place.runs)
            if made:
                _require_same_data(run, made)
            if made and not stopped and plan.until is not None and _has_passed(made, plan.until):
                stopped = _ask_to_stop(training.pid)
    made = _made(place.runs)
    if made is None or not (made / "logs" / "metrics.jsonl").is_file():
        raise Failure(_ended(plan, training.returncode))
    if training.returncode and not stopped and run.status != "failed":
        raise Failure(_ended(plan, training.returncode))
    _require_same_data(run, made)
    return made


def _ended(plan: Plan, code: int) -> str:
    return (
        f"the training at commit {plan.commit[:12]} failed (make's exit code {code}); what it says "
        "is above. It ran with the packages of this environment, which may not be those of then"
    )


@contextmanager
def _started(
    command: list[str], place: Place, environment: Mapping[str, str], output: TextIO
) -> "Iterator[subprocess.Popen[bytes]]":
    """The training, which has ended when the block has; it keeps the lock of its place."""
    training = subprocess.Popen(
        command, cwd=place.tree, env=environment, stdin=subprocess.DEVNULL, stdout=output,
        stderr=subprocess.STDOUT, start_new_session=True,
        pass_fds=() if place.lock is None else (place.lock,),
    )  # fmt: skip
    try:
        yield training
    except BaseException:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(training.pid, number)
            with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                training.wait(_SAVING_S)
        raise


def _environment(threads: str) -> dict[str, str]:
    """The environment of the training: without this tree's code, configuration and launch."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _DROPPED and not name.startswith(_DROPPED_BEGINNINGS)
    }
    paths = [p for p in kept.pop("PYTHONPATH", "").split(os.pathsep) if p and Path(p) != ROOT]
    if paths:
        kept["PYTHONPATH"] = os.pathsep.join(paths)
    if threads:
        kept["OMP_NUM_THREADS"] = threads
    return kept


def _made(runs: Path) -> Path | None:
    """The directory of the run, once it is there."""
    with suppress(OSError):
        found = [path for path in runs.iterdir() if (path / "metadata.yaml").is_file()]
        return found[0] if found else None
    return None


def _require_same_data(run: StoredRun, made: Path) -> None:
    """Raise Failure when the new run has found other data than the recorded one."""
    try:
        found = metadata.load(made / "metadata.yaml").get("dataset")
    except (OSError, ValueError):
        return
    now = found.get("fingerprint") if isinstance(found, dict) else None
    was = run.part("dataset").get("fingerprint")
    if now and was and now != was:
        name = run.part("dataset").get("name")
        raise Failure(
            f"the data set {name} is not what it was: its fingerprint is {_short(now)}, recorded "
            f"is {_short(was)}. Restore it (make data-check, or dvc pull if it is kept), and replay"
        )


def _short(fingerprint: Any) -> str:
    return str(fingerprint)[:16]


def _has_passed(made: Path, step: int) -> bool:
    with suppress(OSError):
        rows = current_rows(made / "logs" / "metrics.jsonl", tail=_TAIL, on_damage=lambda _: None)
        return max((row.get("step", 0) for row, _ in rows), default=0) > step
    return False


def _ask_to_stop(make: int) -> bool:
    """Ask the training, begun by `make`, to save and end; returns whether it is there."""
    with suppress(psutil.Error):
        for process in psutil.Process(make).children(recursive=True):  # parents first
            if process.name().startswith("python"):
                process.send_signal(signal.SIGUSR2)
                return True
    return False
