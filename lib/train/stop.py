# SPDX-License-Identifier: MIT
"""Ctrl-C, SIGTERM and SIGHUP that wait for a good moment, so that a checkpoint is of one step.

    with StopRequest() as stop:
        while training:
            stop.check()  # raises here, between two steps, and nowhere else
            …

An exception out of a signal handler could strike between the update of two tensors. Long work
between the steps, such as an evaluation, calls `check` too.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from lib.launch_env import launch_env
from lib.signals import Terminated, forget_closed_terminal, termination_signals

# torchrun passes a Ctrl-C on to its ranks, which the terminal has already sent it to: a SIGINT so
# many seconds after the first one is not a second Ctrl-C.
_SAME_CTRL_C = 2.0


class StopRequest:
    """Takes note of SIGINT, SIGTERM and SIGHUP while its `with` block lasts.

    `agree` is called with the number of the signal that this process got, 0 for none, and returns
    the largest among the ranks (lib.train.ranks.any_rank): all end after the same step and in the
    same way, whichever of them the signal reached.
    The second Ctrl-C ends the process at once. In a thread other than the main one, where Python
    delivers no signals, it does nothing.
    """

    def __init__(self, agree: Callable[[int], int] = int) -> None:
        self._signal = 0
        self._noted_at = 0.0
        self._agree = agree
        self._restore = contextlib.ExitStack()
        self._has_launcher = False

    def check(self) -> None:
        """Raise KeyboardInterrupt after Ctrl-C, lib.signals.Terminated after SIGTERM or SIGHUP."""
        number = self._agree(self._signal)
        if number:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._has_launcher = launch_env().by_torchrun
            for number in (signal.SIGINT, *termination_signals()):
                previous = signal.signal(number, self._note)
                self._restore.callback(signal.signal, number, previous)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            forget_closed_terminal()
        if not self._signal:
            # Not print: it could be interrupting a print, whose buffer is not reentrant.
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopping after this step (Ctrl-C: at once)\n")
            self._signal, self._noted_at = number, time.monotonic()
            if not self._has_launcher:
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # works whatever the process is doing
        elif number == signal.SIGINT and time.monotonic() > self._noted_at + _SAME_CTRL_C:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
