# SPDX-License-Identifier: MIT
"""The files of a sharded checkpoint and their SHA-256: whether a directory is whole.

    write(folder, {"state.pt": {"size": 4711, "sha256": "…"}, …})
    digest = verify(folder)             # raises CheckpointError, naming the damaged file

Without PyTorch, as digest.py is.
"""

import hashlib
import json
from pathlib import Path

from lib.files import write_atomic
from lib.train.checkpoint.digest import CheckpointError

NAME = "manifest.json"
_BLOCK_BYTES = 2**20

Files = dict[str, dict[str, int | str]]  # by name: size, sha256


def describe(path: Path) -> dict[str, int | str]:
    """Size and SHA-256 of a file, which is read once. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return {"size": size, "sha256": digest.hexdigest()}


def write(folder: Path, files: Files) -> None:
    """Record what `folder` consists of, apart from the manifest itself. Raises OSError."""
    text = json.dumps({"files": dict(sorted(files.items()))}, indent=2)
    write_atomic(folder / NAME, text + "\n")


def read(folder: Path) -> Files:
    """The files that belong to `folder`; others must not be in it, and none may lack.

    Raises CheckpointError when it is damaged, and OSError.
    """
    try:
        files = json.loads((folder / NAME).read_bytes())["files"]
        expected = {*files, NAME}
        if not all(entry.keys() == {"size", "sha256"} for entry in files.values()):
            raise ValueError
    except FileNotFoundError:
        raise CheckpointError(
            f"checkpoint {folder} is damaged: it lacks {NAME}, or was not written by a training"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"checkpoint {folder} is damaged: {NAME} is not readable") from None
    found = {path.name for path in folder.iterdir()}
    if found != expected:
        lacks, more = sorted(expected - found), sorted(found - expected)
        what = [f"it lacks {name}" for name in lacks] + [f"{name} is none of it" for name in more]
        raise CheckpointError(f"checkpoint {folder} is damaged: {', '.join(what)}")
    return files


def verify(folder: Path, part: int = 0, parts: int = 1) -> str:
    """The SHA-256 of the manifest, after a comparison of the files with it.

    Several processes can share the work: each compares the files `part`, `part + parts`, … of those
    in the manifest. Raises OSError, and CheckpointError that names a damaged file.
    """
    files = read(folder)
    for name in sorted(files)[part::parts]:
        if describe(folder / name) != files[name]:
            raise CheckpointError(
                f"checkpoint {folder} is damaged: {name} does not match its SHA-256"
            )
    return str(describe(folder / NAME)["sha256"])


def size(folder: Path) -> int:
    """Bytes of all files of the checkpoint. Raises as `read` does."""
    files = sum(int(entry["size"]) for entry in read(folder).values())
    return files + (folder / NAME).stat().st_size
