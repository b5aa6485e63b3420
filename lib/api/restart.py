# SPDX-License-Identifier: MIT
"""Where a run of a script goes on: at the latest of its checkpoints that is not damaged."""

from pathlib import Path
from typing import NamedTuple

from ..train.checkpoint.digest import CheckpointError, verify
from ..train.checkpoint.find import newest_first
from ..train.checkpoint.peek import peek


class Restart(NamedTuple):
    """The run in `directory` goes on after `step` steps, at byte `offset` of its journal.

    checkpoint: the name of the file; empty for one that begins again.
    """

    directory: Path
    step: int
    offset: int
    checkpoint: str


def restart_of(directory: Path) -> Restart | None:
    """Where the run in `directory` goes on; None when there is no run."""
    if not (directory / "metadata.yaml").is_file():
        return None
    for path in newest_first(directory / "checkpoints"):
        try:
            verify(path)
            state = peek(path)
            return Restart(directory, state["step"], state["journal"]["offset"], path.name)
        except (OSError, CheckpointError, KeyError, TypeError):
            continue  # Checkpoints.restore names it
    return Restart(directory, 0, 0, "")
