# SPDX-License-Identifier: MIT
"""Checkpoints: one file (file), several of them in a run (index, retention), written while the
training goes on (snapshot, writer).

    from lib.train import checkpoint

    checkpoint.save(path, {"step": 12, …})
    checkpoint.load(path)["step"]
"""

from lib.train.checkpoint.file import CheckpointError, load, save

__all__ = ["CheckpointError", "load", "save"]
