# SPDX-License-Identifier: MIT
"""Signals that wait for the end of a step: Ctrl-C, SIGTERM, SIGHUP, and those of schedulers.

    with StopRequest() as stop:
        while training:
            stop.check()  # raises here, between two steps, and nowhere else
            if stop.save_requested:
                stop.save_requested = False
                …

SIGUSR2 saves and stops, as SIGTERM does, with an exit code of its own. SIGUSR1 saves, and training
goes on.

An exception raised by a signal handler could come between the updates of two tensors. Long work
between steps, such as an evaluation, calls `check` too.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from ..launch_env import launch_env
from ..signals import (
    Terminated,
    forget_closed_terminal,
    note_save,
    noted_saves,
    termination_signals,
)

_SAVE = 1  # in a vote; a stop by signal n is n + 1, so that it wins


class StopRequest:
    """Notes SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 while its `with` block lasts.

    `save_requested` is set by `check` after SIGUSR1, also one that came before the block; who saves
    clears it.
    `agree` is called with a vote, 0 where this process got no signal, and returns the largest among
    the ranks (lib.train.ranks.any_rank): all save or end after the same step and in the same
    way, whichever of them got the signal.
    A Ctrl-C after that ends the process at once, in a notebook or at Python's prompt the training.
    Outside the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self, agree: Callable[[int], int] = int) -> None:
        self.save_requested = False
        self._signal = 0
        self._agree = agree
        self._restore = contextlib.ExitStack()
        self._announces = launch_env().is_main

    def check(self) -> None:
        """Raise KeyboardInterrupt after Ctrl-C, lib.signals.Terminated after the other signals."""
        mine = self._signal + 1 if self._signal else _SAVE * bool(noted_saves)
        agreed = self._agree(mine)
        if agreed > _SAVE:
            number = agreed - 1
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)
        if agreed == _SAVE:
            noted_saves.clear()
            self.save_requested = True

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *termination_signals()):
                previous = signal.signal(number, self._note)
                self._restore.callback(signal.signal, number, previous)
            previous = signal.signal(signal.SIGUSR1, note_save)
            self._restore.callback(signal.signal, signal.SIGUSR1, previous)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            forget_closed_terminal()
        if self._signal:
            return
        self._signal = number
        # A prompt outlives its training. What has none ends at once, whatever it is doing.
        is_at_prompt = hasattr(sys, "ps1")
        again = signal.default_int_handler if is_at_prompt else signal.SIG_DFL
        signal.signal(signal.SIGINT, again)
        if self._announces:
            # Not print: it could be interrupting a print, whose buffer is not reentrant.
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopping after this step (Ctrl-C: at once)\n")
