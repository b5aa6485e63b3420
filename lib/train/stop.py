# SPDX-License-Identifier: MIT
"""Ctrl-C, SIGTERM and SIGHUP that wait for the end of a step.

    with StopRequest() as stop:
        while training:
            stop.check()  # raises here, between two steps, and nowhere else
            …

An exception raised by a signal handler could come between the updates of two tensors. Long work
between steps, such as an evaluation, calls `check` too.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from lib.launch_env import launch_env
from lib.signals import Terminated, forget_closed_terminal, termination_signals


class StopRequest:
    """Notes SIGINT, SIGTERM and SIGHUP while its `with` block lasts.

    `agree` is called with the number of the signal that this process got, 0 for none, and returns
    the largest among the ranks (lib.train.ranks.any_rank): all end after the same step and in the
    same way, whichever of them got the signal.
    A Ctrl-C after that ends the process at once. Outside the main thread, where Python delivers no
    signals, it does nothing.
    """

    def __init__(self, agree: Callable[[int], int] = int) -> None:
        self._signal = 0
        self._agree = agree
        self._restore = contextlib.ExitStack()
        self._announces = launch_env().is_main

    def check(self) -> None:
        """Raise KeyboardInterrupt after Ctrl-C, lib.signals.Terminated after SIGTERM or SIGHUP."""
        number = self._agree(self._signal)
        if number:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *termination_signals()):
                previous = signal.signal(number, self._note)
                self._restore.callback(signal.signal, number, previous)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            forget_closed_terminal()
        if self._signal:
            return
        self._signal = number
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # works whatever the process is doing
        if self._announces:
            # Not print: it could be interrupting a print, whose buffer is not reentrant.
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopping after this step (Ctrl-C: at once)\n")
