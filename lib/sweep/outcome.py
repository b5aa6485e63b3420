# SPDX-License-Identifier: MIT
"""How a training ended, judged by its exit code, its run, and what it printed last.

outcome = judge(code, run, said=last_lines, asked="", killed_for_memory=False)
outcome.kind, outcome.reason
"""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..runs.redact import redact
from ..runs.stored import StoredRun
from ..text import one_line

COMPLETED = "completed"
FAILED = "failed"
OUT_OF_MEMORY = "out of memory"
DISK_FULL = "disk full"
STOPPED = "stopped"  # as it was asked to
LOST = "lost"  # killed by somebody else: not the trial's fault

_LONGEST = 400  # characters of a reason
_MEMORY = re.compile(
    r"OutOfMemoryError|out of memory|MemoryError|(?:can't|cannot|unable to) allocate",
    re.IGNORECASE,
)
_SMALLEST = "with a single example at a time"  # nothing is left to halve
_DISK = re.compile(r"No space left on device|Disk quota exceeded|Errno 28\b|Errno 122\b")
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR2}


@dataclass(frozen=True)
class Outcome:
    """`kind` is one of the names above; `run` is the training's, None if it ended before it."""

    kind: str
    reason: str = ""
    run: StoredRun | None = None


def judge(
    code: int,
    run: StoredRun | None,
    *,
    said: Sequence[str] = (),
    asked: str = "",
    killed_for_memory: bool = False,
) -> Outcome:
    """The outcome of a training that ended with the exit `code`, -n if signal n killed it.

    `said` are the last lines of its output; `asked` is why this worker told it to stop, if it did;
    `killed_for_memory` whether the kernel killed a process for memory meanwhile.
    """
    if run is not None and run.status == "completed":  # whatever happened to it afterwards
        return Outcome(COMPLETED, run=run)
    if asked:
        return Outcome(STOPPED, asked, run)
    number = -code if code < 0 else code - 128
    if number == signal.SIGKILL and killed_for_memory:
        return Outcome(OUT_OF_MEMORY, "the kernel killed it: the machine is out of memory", run)
    if number in _FROM_OUTSIDE:
        return Outcome(LOST, f"it was ended by {signal.Signals(number).name}", run)
    if code < 0:
        return Outcome(FAILED, f"it was ended by {_name(-code)}", run)
    reason = _reason(run, said) or f"it ended with exit code {code} and without a result"
    if _DISK.search(reason):
        return Outcome(DISK_FULL, reason, run)
    if _MEMORY.search(reason) and _SMALLEST not in reason:
        return Outcome(OUT_OF_MEMORY, reason, run)
    return Outcome(FAILED, reason, run)


def _reason(run: StoredRun | None, said: Sequence[str]) -> str:
    """The error in the metadata of the run, or else the last error that was printed."""
    if run is not None and run.status == "failed" and run.field("error"):
        return _brief(str(run.field("error")))
    lines = [line for line in said if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return _brief((errors or lines or [""])[-1].removeprefix("error: "))


def _brief(text: str) -> str:
    line = one_line(redact(text))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def memory_kills(path: Path = Path("/proc/vmstat")) -> int:
    """How many processes the kernel has killed for lack of memory so far; 0 if unknown."""
    try:
        found = re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0
