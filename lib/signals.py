# SPDX-License-Identifier: MIT
"""SIGTERM, SIGHUP and SIGUSR2 as exceptions, SIGUSR1 as a note, blocks that no signal interrupts.

Schedulers send SIGUSR1 to say "save" and SIGUSR2 to say "save and stop"; what does not train ends
of SIGUSR2 as of SIGTERM. All this is for the main thread, where Python delivers signals; in other
threads it does nothing.
"""

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM, SIGUSR2, or SIGHUP from a closed terminal; as Ctrl-C, with its own exit code."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.exit_code = 128 + number


def termination_signals() -> list[signal.Signals]:
    """SIGTERM, SIGUSR2 and SIGHUP, the latter unless it is ignored, as nohup starts a program."""
    hangup_ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGUSR2, *([] if hangup_ignored else [signal.SIGHUP])]


noted_saves: list[int] = []  # each SIGUSR1 since the last checkpoint that answered one


def note_save(number: int, frame: FrameType | None) -> None:
    """Handles SIGUSR1: notes it for the next `lib.train.stop.StopRequest.check`."""
    noted_saves.append(number)  # a list, since a lock could be held by what is interrupted


def forget_closed_terminal() -> None:
    """Redirect standard output and error to /dev/null if they were a terminal that is gone.

    Writing to it would raise OSError, even when the interpreter exits.
    """
    for descriptor in (1, 2):
        try:
            gone = stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor)
        except OSError:  # closed
            continue
        if gone:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)


@contextmanager
def termination_raises() -> Iterator[None]:
    """Within the block the first of `termination_signals` raises Terminated; later ones are
    ignored, so that they cannot interrupt the cleanup.

    A forked child, such as a data worker, dies of them as usual.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner, signals = os.getpid(), termination_signals()

    def handler(number: int, frame: FrameType | None) -> NoReturn:
        if os.getpid() != owner:
            os._exit(128 + number)
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        forget_closed_terminal()
        raise Terminated(number)

    previous = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within the block no signal that stops is heeded: for brief work, as a last write."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
    previous = [signal.signal(s, signal.SIG_IGN) for s in signals]
    try:
        yield
    finally:
        for s, handler in zip(signals, previous, strict=True):
            signal.signal(s, handler)


@contextmanager
def blocked(*numbers: int) -> Iterator[None]:
    """Within the block these signals wait; processes that are started there never get them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
