# SPDX-License-Identifier: MIT
"""Checkpoints that are written whole or not at all, and whose damage is noticed.

    written = save(folder / "step_00000012.pt", {"model_state_dict": model.state_dict()})
    state = load(path, map_location=device)

A checkpoint is a file of torch.save, or that compressed with zstd, followed by its SHA-256. It
holds only tensors and plain values: loading one cannot run code.
"""

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

from ...advice import need
from ...errors import Failure
from ...files import atomic
from .digest import CheckpointError, footer, verify

FORMAT = 2  # of what is in the file; part of it, as "format"

_ZSTD = b"\x28\xb5\x2f\xfd"  # the first bytes of what is compressed
_LEVEL = 1  # weights hardly shrink at any level, and zeros shrink at each
_BLOCK_BYTES = 2**20


class Written(NamedTuple):
    """What `save` wrote: the size in bytes, and the digest at the end of the file."""

    size: int
    sha256: str


def save(path: str | Path, state: Mapping[str, Any], *, compress: bool = False) -> Written:
    """Write `state`, tensors and plain values, to `path`, replacing what is there.

    Whenever the process or the machine stops, `path` is the old file or the new one. What the file
    holds is known without reading it again. Raises CheckpointError, with the old file untouched,
    when the disk is full or read-only, and Failure when `compress` lacks its package.
    """
    hashed = None
    zstandard = need("zstandard", "CHECKPOINT_COMPRESS") if compress else None
    try:
        with atomic(path) as file:
            hashed = _Hashed(file)
            contents = {**state, "format": FORMAT}
            if zstandard:
                packer = zstandard.ZstdCompressor(level=_LEVEL)
                with packer.stream_writer(hashed, closefd=False) as packed:
                    torch.save(contents, packed)
            else:
                torch.save(contents, hashed)
            end = footer(hashed.digest)
            file.write(end)
    except (OSError, RuntimeError) as error:
        # PyTorch's writer turns an OSError into a RuntimeError of its own.
        cause = error if isinstance(error, OSError) else hashed and hashed.error
        if cause is None:
            raise
        raise CheckpointError(f"cannot write {path}: {cause.strerror}") from cause
    return Written(hashed.size + len(end), hashed.digest.hexdigest())


def load(path: str | Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read what `save` wrote, with its tensors on `map_location`.

    Raises CheckpointError when the file is missing, damaged, not a checkpoint of a training or of
    another version, and when it holds anything but tensors and plain values.
    """
    try:
        verify(Path(path))
        with Path(path).open("rb") as file:
            state = torch.load(_unpacked(file), map_location=map_location, weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error.strerror}") from error
    except Failure:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be loaded: it holds more than tensors and plain values, "
            "which could run code"
        ) from error
    except Exception as error:  # a file that is meant to harm can make the reader raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"checkpoint {path} cannot be loaded: {reason}") from error
    return _checked(path, state)


class _Hashed:
    """A file for torch.save: counts and digests what is written, and keeps an OSError."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None
        self._file = file

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        try:
            written = self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.size += written
        return written

    def flush(self) -> None:
        self._file.flush()


def _unpacked(file: BinaryIO) -> BinaryIO:
    """`file`, or in memory what it holds compressed: the place for temporary files may be small."""
    compressed = file.read(len(_ZSTD)) == _ZSTD
    file.seek(0)
    if not compressed:
        return file
    zstandard = need("zstandard", "a compressed checkpoint")
    unpacked, frame = io.BytesIO(), zstandard.ZstdDecompressor().decompressobj()
    while not frame.eof and (block := file.read(_BLOCK_BYTES)):
        unpacked.write(frame.decompress(block))
    unpacked.seek(0)
    return unpacked


def _checked(path: str | Path, state: Any) -> dict[str, Any]:
    """`state` without its format, which is known from here on."""
    found = state.pop("format", 1) if isinstance(state, dict) else 1
    if found == FORMAT:
        return state
    newer = isinstance(found, int) and found > FORMAT
    age, cure = (
        ("a newer", "update this checkout") if newer else ("an older", "train again with this one")
    )
    raise CheckpointError(
        f"checkpoint {path} was written by {age} version of this project (format {found}, where "
        f"this one reads {FORMAT}): {cure}"
    )
