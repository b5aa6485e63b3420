# SPDX-License-Identifier: MIT
"""Locks that end with the process that holds them.

    fd = lock.hold(run_dir / ".lock")              # for as long as this process lives
    with lock.held(Path(".config.lock"), wait=10): # for a moment, after at most 10 s
        …

A run's owner holds the lock on a file for its whole life. The kernel releases it however the
process ends, so that others can tell whether it is alive. Forked children close their copy:
otherwise a data worker that outlives its killed parent would keep the run "alive".

The locks are those of open file descriptions, which can be queried without taking one: a reader
never makes a writer fail. Systems without them (macOS) have flock, where a query takes a shared
lock for an instant; there `hold` retries for `_ASKING` seconds before it gives up.
"""

import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OFD = hasattr(fcntl, "F_OFD_SETLK")
_ASKING = 0.5  # seconds; far longer than `is_free` keeps a shared flock
_POLL = 0.02  # seconds between two tries
_held: set[int] = set()


def hold(path: Path, wait: float = 0.0, mode: int = 0o666) -> int | None:
    """Lock `path`, creating it with `mode` if need be, and return the descriptor for `release`.

    Waits up to `wait` seconds for another holder. Returns None if the file system has no locks.
    Raises OSError when the file cannot be created, and BlockingIOError when another process still
    holds the lock.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    deadline = time.monotonic() + (wait if _OFD else max(wait, _ASKING))
    try:
        while not _try(fd):
            left = deadline - time.monotonic()
            if left <= 0:
                raise BlockingIOError(errno.EWOULDBLOCK, "locked by another process", str(path))
            time.sleep(min(_POLL, left))
    except BaseException as error:
        os.close(fd)
        if isinstance(error, OSError) and not isinstance(error, BlockingIOError):
            return None
        raise
    _held.add(fd)
    return fd


def release(fd: int | None) -> None:
    """Release the lock."""
    if fd is not None:
        _held.discard(fd)
        os.close(fd)


@contextmanager
def held(path: Path, wait: float, mode: int = 0o666) -> Iterator[None]:
    """Hold the lock on `path` within the block. Raises as `hold` does."""
    fd = hold(path, wait, mode)
    try:
        yield
    finally:
        release(fd)


def is_free(path: Path) -> bool:
    """True when no process holds the lock; False when one does, or when that is not known."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # it may be a pipe
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if _OFD:
            answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _whole_file(fcntl.F_WRLCK))
            return answer[:2] == _whole_file(fcntl.F_UNLCK)[:2]
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)


def _try(fd: int) -> bool:
    """Try to take the lock; returns whether it was taken. Raises OSError if there are no locks."""
    try:
        if _OFD:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _whole_file(fcntl.F_WRLCK))
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # POSIX allows either for "locked by another"
        return False
    return True


def _whole_file(kind: int) -> bytes:
    """Linux's struct flock: type, whence, start, length (0: to the end), pid (0 for OFD locks)."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)


def _forget_in_child() -> None:
    for fd in _held:
        os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
