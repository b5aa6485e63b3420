# SPDX-License-Identifier: MIT
"""Checkpoints that are there whole or not at all.

    save(run.dir / "checkpoints" / "last.pt", {"model_state_dict": model.state_dict(), "step": 12})
    state = load(path, map_location=device)

Only tensors and plain values go in and come out: a checkpoint cannot run code.
"""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lib.errors import Failure


class CheckpointError(Failure):
    """A checkpoint cannot be written or read."""


def save(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write `state`, tensors and plain values, to `path` in place of what is there.

    The bytes go to a temporary file beside `path`, are synced to the disk and renamed; then the
    rename itself is synced. Whenever the machine stops, `path` is the old file or the new one.
    Raises CheckpointError, with the old file untouched, when the disk is full or read-only.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        # PyTorch's writer turns a full disk into a RuntimeError.
        if isinstance(error, (OSError, RuntimeError)):
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            raise CheckpointError(f"cannot write {path}: {reason}") from error
        raise


def load(path: str | Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read what `save` wrote, with its tensors on `map_location`.

    Raises CheckpointError when the file is missing, damaged, or holds anything but tensors and
    plain values.
    """
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error.strerror}") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"checkpoint {path} is damaged or none: {reason}") from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
