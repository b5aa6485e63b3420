# SPDX-License-Identifier: MIT
"""Writing a file whole or not at all, and reserving a little disk space.

    write_atomic(path, text)
    with atomic(path) as file:      # the same for what is written piece by piece
        file.write(…)
    sweep(directory)                # remove what killed writers left there
    if is_abandoned(folder): …      # its maker, which holds the lock in it, was killed
    reserve_space(run_dir / ".reserve")     # removed when the disk is full, to write a last status

`path` is first written as `.path.1.tmp` in the same directory. The writer locks that file, so that
another one can tell whether it is in use (and takes `.path.2.tmp`) or was left behind.
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from . import lock

ROOT = Path(__file__).resolve().parent.parent  # of the project
_SETTLED_S = 60.0  # far longer than a maker takes to lock its folder
_TEMPORARY = re.compile(r"\..+\.[0-9]+\.tmp", re.DOTALL)


def write_atomic(path: str | Path, data: str | bytes, *, sync: bool = True) -> None:
    """Write `data`, text in UTF-8, to `path` as `atomic` does."""
    with atomic(path, sync=sync) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def atomic(path: str | Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A file to write; it replaces `path` when the block ends, and is removed if the block raises.

    At any moment `path` is the old file or the new one; with `sync` also if the machine goes down.
    In a directory that only its owner can read, such as a run's, the file is private too. Raises
    OSError, with nothing changed, when the disk is full or the directory is not writable.
    """
    path = Path(path)
    temporary, held = _temporary(path)
    try:
        with temporary.open("wb") as file:
            if not path.parent.stat().st_mode & 0o077:
                os.fchmod(file.fileno(), 0o600)
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        lock.release(held)
    if sync:
        sync_directory(path.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` another name of the file `source`; a copy on a file system without hard links.

    Raises OSError, also when `target` exists.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another file system, too
        with source.open("rb") as original, atomic(target, sync=False) as copy:
            shutil.copyfileobj(original, copy)


def sweep(directory: Path) -> None:
    """Remove the temporary files that killed writers left behind in `directory`."""
    try:
        names = [entry.name for entry in os.scandir(directory)]
    except OSError:
        return
    for name in names:
        if _TEMPORARY.fullmatch(name) and lock.is_free(directory / name):
            _remove(directory / name)


def is_abandoned(folder: Path) -> bool:
    """Whether nobody holds the lock on `.lock` in `folder`, which was not changed just now.

    The maker of a folder takes the lock a moment after making it. False for what is gone.
    """
    try:
        settled = time.time() - folder.stat().st_mtime > _SETTLED_S
        return settled and lock.is_free(folder / ".lock")
    except OSError:
        return False


def reserve_space(path: Path, size: int = 256 * 1024) -> None:
    """Reserve `size` bytes in a file, to be removed when the disk is full.

    Raises OSError when there is no room for it.
    """
    # Zeros would take no space on a file system that compresses.
    write_atomic(path, os.urandom(size))


def _temporary(path: Path) -> tuple[Path, int | None]:
    """A temporary file for this writer alone, in the directory of `path`, and the lock on it."""
    number = 0
    while True:
        number += 1
        temporary = path.with_name(f".{path.name}.{number}.tmp")
        try:
            held = lock.hold(temporary)
        except BlockingIOError:  # another writer's
            continue
        if held is None:  # the file system has no locks
            temporary.unlink(missing_ok=True)
            return path.with_name(f".{path.name}.{os.getpid()}.tmp"), None
        if _is_at(held, temporary):
            return temporary, held
        lock.release(held)  # renamed or removed by its former holder before the lock was free


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove(temporary: Path) -> None:
    """Only the holder of the lock may remove the file: then no writer is using it."""
    with contextlib.suppress(OSError):  # in use after all, or in a read-only directory
        held = lock.hold(temporary)
        try:
            if held is not None and _is_at(held, temporary):
                temporary.unlink()
        finally:
            lock.release(held)


def python_path() -> dict[str, str]:
    """PYTHONPATH for a Python that this one starts, so that it finds this package, too."""
    import sysconfig  # takes milliseconds

    # The folder of installed packages must not come before the standard library.
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    own = "" if ROOT in installed else str(ROOT)
    path = os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path} if path else {}


def sync_directory(directory: Path) -> None:
    """Make a rename durable, on file systems that can sync a directory."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
