# SPDX-License-Identifier: MIT
"""The workers of a sweep that share a disk: each holds a lock, so that its death is seen at once.

    colleagues = Colleagues(folder)
    with colleagues.joined("my-id"):
        study.lost(colleagues.is_dead)

Workers on other disks are taken for dead when their heartbeats stop.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from .. import lock
from ..runs.directory import make_private

_SETTLED_S = 3600.0


class Colleagues:
    """`folder` has a file ID.lock for each worker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def joined(self, worker: str) -> Iterator[None]:
        """Within the block this process is the worker of that name. Raises OSError."""
        make_private(self._folder)
        self._sweep()
        path = self._folder / f"{worker}.lock"
        held = lock.hold(path, mode=0o600)
        if held is None:  # a file system without locks: nobody must take this worker for dead
            path.unlink(missing_ok=True)
        try:
            yield
            # Not after an error: it may hold trials that it could not put back, on a full disk.
            path.unlink(missing_ok=True)
        finally:
            lock.release(held)

    def is_dead(self, worker: str) -> bool:
        """Whether the process of that worker is known to be gone."""
        path = self._folder / f"{worker}.lock"
        return path.exists() and lock.is_free(path)

    def _sweep(self) -> None:
        """Remove the files of workers that died long ago, whose trials others have by now."""
        for path in self._folder.glob("*.lock"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _SETTLED_S and lock.is_free(path):
                    path.unlink()
