# SPDX-License-Identifier: MIT
"""Checkpoints: one file (file, digest), several of them in a run (index, retention), written while
the training goes on (snapshot, writer).

    from lib.train import checkpoint

    checkpoint.save(path, {"step": 12, …})
    checkpoint.load(path)["step"]

Programs that look at runs read the index and verify digests without waiting for PyTorch: it is
imported when `load` or `save` is first used.
"""

from typing import TYPE_CHECKING, Any

from lib.train.checkpoint.digest import CheckpointError

if TYPE_CHECKING:
    from lib.train.checkpoint.file import load, save

__all__ = ["CheckpointError", "load", "save"]


def __getattr__(name: str) -> Any:
    if name not in ("load", "save"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lib.train.checkpoint import file

    return getattr(file, name)
