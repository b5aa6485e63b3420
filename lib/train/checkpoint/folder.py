# SPDX-License-Identifier: MIT
"""A directory that several ranks write together, whole or not at all.

    temporary = on_rank_0("cannot write step_00000120", lambda: new_temporary(folder))
    …                                           # each rank writes files into it, and syncs them
    on_rank_0("cannot write step_00000120", lambda: put_in_place(temporary, folder))

The ranks must see one file system.
"""

import ctypes
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import torch.distributed as dist
from torch.distributed.checkpoint.filesystem import FileSystem

from lib.files import sync_directory
from lib.train.checkpoint.digest import CheckpointError

_T = TypeVar("_T")


def on_all_ranks(what: str, work: Callable[[], _T]) -> list[_T]:
    """What `work` returned on each rank; all ranks must call.

    When it raised OSError or CheckpointError on one of them, CheckpointError is raised on all; its
    message begins with `what`, and names the rank, after an OSError.
    """
    try:
        outcome = work(), ""
    except OSError as error:
        outcome = None, f"{what}: rank {dist.get_rank()}: {error.strerror}"
    except CheckpointError as error:
        outcome = None, str(error)
    outcomes: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(outcomes, outcome)
    for _, failure in outcomes:
        if failure:
            raise CheckpointError(failure)
    return [result for result, _ in outcomes]


def on_rank_0(what: str, work: Callable[[], _T]) -> _T:
    """What `work` returned on rank 0, which alone executes it; raises as `on_all_ranks` does."""
    return on_all_ranks(what, work if dist.get_rank() == 0 else lambda: None)[0]


def new_temporary(folder: Path) -> Path:
    """An empty directory beside `folder`. Those that killed writers left there are removed.

    Raises OSError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_behind in folder.parent.glob(".*.tmp"):
        if left_behind.is_dir():
            shutil.rmtree(left_behind, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    return temporary


def put_in_place(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`, and remove what had that name. Raises OSError.

    Linux exchanges two directories at once. Where the file system cannot, the old one is renamed
    first: if the machine stops just then, there is none of that name.
    """
    sync_directory(temporary)
    if folder.is_dir():
        if not _exchange(temporary, folder):
            old = new_temporary(folder)
            folder.replace(old)
            temporary.replace(folder)
            temporary = old
        sync_directory(folder.parent)
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.replace(folder)
        sync_directory(folder.parent)


def _exchange(one: Path, other: Path) -> bool:
    at_fdcwd, rename_exchange = -100, 2  # linux/fcntl.h, linux/fs.h
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    if exchange is None:
        return False
    return exchange(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange) == 0


class HashedFiles(FileSystem):
    """Files for a storage writer; `written` has size and SHA-256 of each, by name."""

    def __init__(self) -> None:
        self.written: dict[str, dict[str, int | str]] = {}

    @contextmanager
    def create_stream(self, path: str | os.PathLike, mode: str) -> Iterator[Any]:
        with super().create_stream(path, mode) as stream:
            hashed = _Hashed(stream)
            yield hashed
        self.written[Path(path).name] = {
            "size": hashed.size,
            "sha256": hashed.digest.hexdigest(),
        }


class _Hashed:
    """A file being written, and the digest of what was meant to be in it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest, self.size = hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._stream.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
