# SPDX-License-Identifier: MIT
"""The files of a sharded checkpoint and their SHA-256: whether a directory is whole.

    write(folder, Manifest({"state.pt": describe(folder / "state.pt"), …}, {"val/loss": 0.5}, True))
    digest = verify(folder)             # raises CheckpointError, naming the damaged file

Without PyTorch, as digest.py is.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...files import write_atomic
from .digest import CheckpointError

NAME = "manifest.json"
_BLOCK_BYTES = 2**20

Described = Mapping[str, int | str]  # a file's size in bytes and its sha256


@dataclass(frozen=True)
class Manifest:
    """`files` by name; the `metrics` of the step, and whether it was the `best` one so far."""

    files: Mapping[str, Described]
    metrics: Mapping[str, float] = field(default_factory=dict)
    best: bool = False


def describe(path: Path) -> Described:
    """Size and SHA-256 of a file, which is read once. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return {"size": size, "sha256": digest.hexdigest()}


def write(folder: Path, manifest: Manifest) -> None:
    """Record what `folder` consists of, apart from the manifest itself. Raises OSError."""
    write_atomic(folder / NAME, json.dumps(asdict(manifest), indent=1) + "\n")


def read(folder: Path) -> Manifest:
    """What belongs to `folder`: all of it must be in it, and nothing else may.

    Raises CheckpointError when it is damaged, and OSError.
    """
    try:
        manifest = Manifest(**json.loads((folder / NAME).read_bytes()))
        expected = {*manifest.files, NAME}
        if not _is_well_formed(manifest):
            raise ValueError
    except FileNotFoundError:
        raise CheckpointError(
            f"checkpoint {folder} is damaged: it lacks {NAME}, or was not written by a training"
        ) from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"checkpoint {folder} is damaged: {NAME} cannot be read") from None
    found = {path.name for path in folder.iterdir()}
    if found != expected:
        what = [f"it lacks {name}" for name in sorted(expected - found)]
        what += [f"{name} does not belong to it" for name in sorted(found - expected)]
        raise CheckpointError(f"checkpoint {folder} is damaged: {', '.join(what)}")
    return manifest


def _is_well_formed(manifest: Manifest) -> bool:
    kinds = {"size": int, "sha256": str}
    return (
        all({k: type(v) for k, v in f.items()} == kinds for f in manifest.files.values())
        and all(type(value) in (int, float) for value in manifest.metrics.values())
        and type(manifest.best) is bool
    )


def verify(folder: Path, part: int = 0, parts: int = 1) -> str:
    """The SHA-256 of the manifest, after a comparison of the files with it.

    Several processes can share the work: each compares the files `part`, `part + parts`, … of those
    in the manifest. Raises OSError, and CheckpointError that names a damaged file.
    """
    files = read(folder).files
    for name in sorted(files)[part::parts]:
        if describe(folder / name) != files[name]:
            raise CheckpointError(
                f"checkpoint {folder} is damaged: {name} does not match its SHA-256"
            )
    return digest_of(folder)


def digest_of(folder: Path) -> str:
    """The SHA-256 of the manifest, and so of all that it describes. Raises OSError."""
    return str(describe(folder / NAME)["sha256"])


def size(folder: Path) -> int:
    """Bytes of all files of the checkpoint. Raises as `read` does."""
    files = read(folder).files.values()
    return sum(int(entry["size"]) for entry in files) + (folder / NAME).stat().st_size
