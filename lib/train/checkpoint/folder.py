# SPDX-License-Identifier: MIT
"""A directory that appears, is replaced and disappears as a whole.

temporary = new_temporary(folder)
…                                   # write files into it, and sync them
put_in_place(temporary, folder)
remove(folder)
"""

import ctypes
import os
import secrets
import shutil
from pathlib import Path

from ...files import sync_directory


def new_temporary(folder: Path) -> Path:
    """An empty directory beside `folder`, after those that killed writers left are removed.

    Raises OSError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_behind in folder.parent.glob(".*.tmp"):
        if left_behind.is_dir():
            shutil.rmtree(left_behind, ignore_errors=True)
    temporary = _temporary_name(folder)
    temporary.mkdir()
    return temporary


def put_in_place(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`, and remove what had that name. Raises OSError.

    Linux exchanges two directories at once. Where the file system cannot, the old one is renamed
    first: if the machine stops just then, there is none of that name.
    """
    sync_directory(temporary)
    if not folder.is_dir():
        temporary.replace(folder)
    elif not _exchange(temporary, folder):
        remove(folder)
        temporary.replace(folder)
    sync_directory(folder.parent)
    shutil.rmtree(temporary, ignore_errors=True)  # the old one, if they were exchanged


def remove(folder: Path) -> None:
    """At any moment `folder` is whole, or not there. Raises OSError."""
    temporary = _temporary_name(folder)
    folder.replace(temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def _temporary_name(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.folder-{secrets.token_hex(4)}.tmp")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names; False where that is not possible, with nothing changed."""
    at_fdcwd, rename_exchange = -100, 2  # linux/fcntl.h, linux/fs.h
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    if exchange is None:
        return False
    return exchange(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange) == 0
