# SPDX-License-Identifier: MIT
"""Where a run of a script goes on: at the latest of its checkpoints that is not damaged."""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from .. import lock
from ..errors import BadUse
from ..runs.run import FOLDERS
from ..runs.status import RESERVE
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
    """Where the run in `directory` goes on; None when there is no run.

    What a program that was killed while it began the run left there is removed. Raises BadUse for
    anything else, also a run with a .config, which its own program goes on with.
    """
    if not (directory / "metadata.yaml").is_file():
        if directory.exists():
            _remove_beginnings(directory)
        return None
    if (directory / ".config").exists():
        raise BadUse(
            f"{directory} is a run of a model of this project: go on with it by "
            f"`make resume RUN={directory.name}`, or choose another name"
        )
    for path in newest_first(directory / "checkpoints"):
        try:
            verify(path)
            state = peek(path)
            return Restart(directory, state["step"], state["journal"]["offset"], path.name)
        except (OSError, CheckpointError, KeyError, TypeError):
            continue  # Checkpoints.restore names it
    return Restart(directory, 0, 0, "")


def _remove_beginnings(directory: Path) -> None:
    """Metadata come last: without them there is nothing that somebody could miss."""
    own = {*FOLDERS, RESERVE, ".lock", "config.yaml", "git.diff", "logs/train.log"}
    found = [path for path in directory.rglob("*") if not re.fullmatch(r"\..+\.tmp", path.name)]
    if any(str(path.relative_to(directory)) not in own for path in found):
        raise BadUse(f"{directory} is not a run and cannot be resumed: choose another name")
    if not lock.is_free(directory / ".lock"):
        raise BadUse(f"{directory.name} is being begun by another program at this moment")
    shutil.rmtree(directory)
