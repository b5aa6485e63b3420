# SPDX-License-Identifier: MIT
"""The directory of a new run: its name, and making it for this run alone."""

import errno
import os
import re
import shutil
from datetime import datetime
from pathlib import Path

from ..errors import BadUse, Failure

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_MIN_FREE_BYTES = 16 * 2**20


class RunError(Failure):
    """The run directory cannot be made or written."""


def check_name(name: str) -> str:
    """`name` if it can name a run; raises BadUse otherwise."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise BadUse(
            f"run name {name!r}: allowed are up to 128 letters, digits, '.', '_' and '-', "
            "no '..', and no '.' at the start"
        )
    return name


def default_name(model: str, optimizer: str, at: datetime | None = None) -> str:
    """{model}_{optimizer}_{timestamp}, local time."""
    return f"{model}_{optimizer}_{at or datetime.now():%Y%m%d-%H%M%S}"


def make_directory(output_dir: Path, name: str) -> Path:
    """Make the first free one of name, name_2, name_3 … in `output_dir`, for its owner alone.

    Raises OSError, also when the disk is nearly full.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    check_space(output_dir)
    directory = output_dir / name
    number = 1
    while True:
        try:
            directory.mkdir(0o700)  # the diff and the command line are private
            return directory
        except FileExistsError:
            number += 1
            directory = output_dir / f"{name}_{number}"


def check_space(folder: Path) -> None:
    """Raise OSError when the disk that `folder` is on is nearly full."""
    if shutil.disk_usage(folder).free < _MIN_FREE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def make_private(folder: Path) -> None:
    """Make `folder`, and what is missing above it, for its owner alone; it may be there already.

    Raises OSError.
    """
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(0o700, exist_ok=True)


def private_opener(path: str, flags: int) -> int:
    """`opener` of the built-in open, for a file that only its owner can read."""
    return os.open(path, flags, 0o600)
