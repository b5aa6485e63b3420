# SPDX-License-Identifier: MIT
"""Checkpoints: one file (file, digest) or directory (sharded, manifest), several of them in a run
(index, find, retention), written while the training goes on (snapshot, writer).

    from lib.train import checkpoint

    checkpoint.save(path, {"step": 12, …})
    checkpoint.load(path)["step"]

Programs that look at runs read the index and verify digests without waiting for PyTorch: it is
imported when `load` or `save` is first used.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .digest import CheckpointError

if TYPE_CHECKING:
    import torch

    from .file import Written

__all__ = ["CheckpointError", "load", "save"]


def save(path: str | Path, state: Mapping[str, Any], *, compress: bool = False) -> "Written":
    """Write a file; see file.save."""
    from . import file

    return file.save(path, state, compress=compress)


def load(path: str | Path, map_location: "str | torch.device" = "cpu") -> dict[str, Any]:
    """The contents of a file, or the same of the directory of a sharded training.

    Its tensors are whole, and on `map_location`. Raises CheckpointError when the checkpoint is
    missing, damaged, or holds anything but tensors and plain values.
    """
    if Path(path).is_dir():
        from . import sharded

        return sharded.load_whole(path, map_location)
    from . import file

    return file.load(path, map_location)
