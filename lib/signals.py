# SPDX-License-Identifier: MIT
"""SIGTERM as an exception, and moments in which no signal may interrupt.

Both are for the main thread, where Python delivers signals; in any other thread they do nothing.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM; whoever catches Ctrl-C treats it the same."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Within the block the first SIGTERM raises Terminated; later ones do not disturb the cleanup.

    A forked child, such as a data worker, dies of SIGTERM as usual.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def handler(signum: int, frame: FrameType | None) -> NoReturn:
        if os.getpid() != owner:
            os._exit(128 + signum)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within the block SIGINT and SIGTERM are ignored. For moments, such as a last write."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(s, signal.SIG_IGN) for s in signals]
    try:
        yield
    finally:
        for s, handler in zip(signals, previous, strict=True):
            signal.signal(s, handler)
