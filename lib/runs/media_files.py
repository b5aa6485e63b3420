# SPDX-License-Identifier: MIT
"""Files that a journal names, which must be inside its run directory; and their digests.

A run directory may come from somebody else, so the paths in its journal are not trusted:
`../../.ssh/id_rsa`, followed blindly, would be uploaded to a tracker.
"""

import hashlib
from pathlib import Path
from typing import Any

_PIECE = 2**20  # bytes


class NoMediaFile(ValueError):
    """A journal names a file that is missing or outside its run directory."""


def media_file(run_dir: Path, path: Any) -> Path:
    """The file that `path`, relative to `run_dir`, names, with all links resolved.

    Raises NoMediaFile unless it is a regular file below `run_dir`, wherever links lead.
    """
    top = run_dir.resolve()
    try:
        found = (top / path).resolve()
        exists = found.exists()
    except (OSError, RuntimeError, TypeError, ValueError) as error:  # too long, a loop, NUL bytes
        raise NoMediaFile(f"{str(path)[:100]!r} is not a path in {run_dir}: {error}") from None
    if top not in found.parents:
        raise NoMediaFile(f"{path!r} is outside the run directory {run_dir}")
    if not exists:
        raise NoMediaFile(f"{run_dir / path} is gone")
    if not found.is_file():
        raise NoMediaFile(f"{path!r} in {run_dir} is not a regular file")
    return found


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file, in hex; the file is read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
