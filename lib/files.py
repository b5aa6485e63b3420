# SPDX-License-Identifier: MIT
"""Writing a file so that it is there whole or not at all."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the project


def write_atomic(path: str | Path, data: str | bytes) -> None:
    """Write `data`, text in UTF-8, to a temporary file beside `path`, sync it, then rename it.

    Raises OSError with nothing changed when the disk is full or the directory unwritable.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
