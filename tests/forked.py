# SPDX-License-Identifier: MIT
"""Work in forked processes: they begin without the seconds of imports, and may be killed."""

import os
import signal
from collections.abc import Callable
from typing import Any


def started(work: Callable[[], Any]) -> int:
    """Begin `work` in a forked process; returns its pid.

    A child begins without the seconds that imports take. It must not use threads of PyTorch, which
    a fork does not copy: the trainings of the tests have NUM_THREADS=1.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def ended(child: int) -> int:
    """Wait for the process; its exit code, -n if signal n ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(work: Callable[[], Any]) -> int:
    """Call `work` in a forked process; returns its exit code, -n if signal n ended it."""
    return ended(started(work))


def kill_self() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
