# SPDX-License-Identifier: MIT
"""Ctrl-C and SIGTERM that wait for a good moment, so that a checkpoint is of one step.

    with StopRequest() as stop:
        while training:
            stop.check()  # raises here, between two steps, and nowhere else
            …

An exception out of a signal handler could strike between the update of two tensors. Long work
between the steps, evaluation for one, calls `check` too.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from lib.signals import Terminated


class StopRequest:
    """Takes note of SIGINT and SIGTERM while its `with` block lasts.

    `agree` turns "this process was asked to stop" into "all of us stop": several ranks end after
    the same step (lib.train.ranks.any_rank), whichever of them the signal reached.
    The second Ctrl-C ends the process at once. In a thread other than the main one, where Python
    delivers no signals, it does nothing.
    """

    def __init__(self, agree: Callable[[bool], bool] = bool) -> None:
        self._signal: int | None = None
        self._agree = agree
        self._restore = contextlib.ExitStack()

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed, lib.signals.Terminated after SIGTERM."""
        if self._agree(self._signal is not None):
            raise KeyboardInterrupt if self._signal == signal.SIGINT else Terminated

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                previous = signal.signal(number, self._note)
                self._restore.callback(signal.signal, number, previous)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal is None:
            # Not print: it could be interrupting a print, whose buffer is not reentrant.
            os.write(2, b"\nstopping after this step (Ctrl-C: at once)\n")
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            self._signal = number
