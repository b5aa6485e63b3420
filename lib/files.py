# SPDX-License-Identifier: MIT
"""Writing a file so that it is there whole or not at all."""

import os
from pathlib import Path


def write_atomic(path: str | Path, text: str) -> None:
    """Write `text` in UTF-8 by way of a temporary file beside `path`, synced, then renamed.

    Raises OSError with nothing changed when the disk is full or the directory unwritable.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
