# SPDX-License-Identifier: MIT
"""Checkpoints that are written whole or not at all, and whose damage is noticed.

    save(run.dir / "checkpoints" / "last.pt", {"model_state_dict": model.state_dict(), "step": 12})
    state = load(path, map_location=device)

A checkpoint is a file of torch.save followed by its SHA-256; torch.load reads it too. It holds only
tensors and plain values: loading one cannot run code.
"""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from lib.files import atomic
from lib.train.checkpoint.digest import CheckpointError, footer, verify


def save(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write `state`, tensors and plain values, to `path`, replacing what is there.

    Whenever the process or the machine stops, `path` is the old file or the new one.
    Raises CheckpointError, with the old file untouched, when the disk is full or read-only.
    """
    written = None
    try:
        with atomic(path) as file:
            written = _Hashed(file)
            torch.save(dict(state), written)
            file.write(footer(written.digest))
    except (OSError, RuntimeError) as error:
        # PyTorch's writer turns an OSError into a RuntimeError of its own.
        cause = error if isinstance(error, OSError) else written and written.error
        if cause is None:
            raise
        raise CheckpointError(f"cannot write {path}: {cause.strerror}") from cause


def load(path: str | Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read what `save` wrote, with its tensors on `map_location`.

    Raises CheckpointError when the file is missing, damaged, or holds anything but tensors and
    plain values.
    """
    try:
        verify(Path(path))
        return torch.load(path, map_location=map_location, weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error.strerror}") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"checkpoint {path} cannot be loaded: {reason}") from error


class _Hashed:
    """A file for torch.save that computes the digest of what is written and keeps an OSError."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self.error: OSError | None = None
        self._file = file

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()
