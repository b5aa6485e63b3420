# SPDX-License-Identifier: MIT
"""Whether the process that owns a run is alive, told by a lock that dies with it.

The owner holds an exclusive flock on a file for its whole life; the kernel drops it however the
process ends. Forked children close their copy, or a data worker that outlives its killed parent
would keep the run "alive".
"""

import fcntl
import os
from pathlib import Path

_held: set[int] = set()


def hold(path: Path) -> int | None:
    """Lock `path`, creating it, and return the descriptor for `release`.

    None where the file system has no locks. Raises OSError when the file cannot be created and
    BlockingIOError when another process owns it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise
    except OSError:
        os.close(fd)
        return None
    _held.add(fd)
    return fd


def release(fd: int | None) -> None:
    """Give the lock up."""
    if fd is not None:
        _held.discard(fd)
        os.close(fd)


def is_free(path: Path) -> bool:
    """True when the owner is gone; False while it lives and where locks cannot tell."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)


def _forget_in_child() -> None:
    for fd in _held:
        os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
