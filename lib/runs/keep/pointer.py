# SPDX-License-Identifier: MIT
"""The .dvc file beside a run, and the files that it stands for in DVC's cache.

    pointer = read(output_dir / "run.dvc")      # what `dvc add outputs/training/run` writes
    pointer.md5                                 # "….dir": the digest of the list of its files
    files_of(pointer, cache)                    # {"checkpoints/best.pt": md5, …}, if it is here

A cache may be somebody else's: a list that names a file outside the run is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from ...errors import Failure
from ...safe_yaml import load_mapping, to_plain

SUFFIX = ".dvc"


class DamagedPointer(Failure):
    """A .dvc file, or the list of files that it stands for, that is damaged."""


@dataclass(frozen=True)
class Pointer:
    """One thing that DVC tracks: `out` is its entry in the .dvc file."""

    name: str
    out: Mapping[str, Any]

    @property
    def md5(self) -> str:
        """The digest of its contents; that of a folder ends in `.dir`."""
        return str(self.out["md5"])

    @property
    def is_folder(self) -> bool:
        return self.md5.endswith(".dir")

    @property
    def count(self) -> int:
        """How many files it has."""
        return int(self.out.get("nfiles", 1))

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.out.get("size", 0))


def path_of(run_dir: Path) -> Path:
    """The .dvc file of a run."""
    return run_dir.with_name(run_dir.name + SUFFIX)


def read(path: Path) -> Pointer:
    """The pointer in the file. Raises OSError and DamagedPointer."""
    try:
        return _pointer(load_mapping(path))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedPointer(f"{path} is no .dvc file of one file or folder: {error}") from error


def parse(text: str, where: str) -> Pointer:
    """The pointer in `text`, from `where`. Raises DamagedPointer."""
    try:
        return _pointer(to_plain(yaml.load(text, Loader=yaml.CSafeLoader)))
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise DamagedPointer(f"{where} is no .dvc file of one file or folder: {error}") from error


def _pointer(fields: Mapping[str, Any]) -> Pointer:
    (out,) = fields["outs"]
    if not isinstance(out["md5"], str) or not out["md5"]:
        raise ValueError("no md5")
    return Pointer(str(out["path"]), dict(out))


def text_of(pointer: Pointer, path: str) -> str:
    """A .dvc file with the same contents under the name `path`."""
    return yaml.safe_dump({"outs": [{**pointer.out, "path": path}]}, sort_keys=False)


def is_run(path: Path) -> bool:
    """Whether the .dvc file is that of a folder beside it."""
    try:
        pointer = read(path)
    except (OSError, DamagedPointer):
        return False
    return pointer.is_folder and pointer.name == path.name.removesuffix(SUFFIX)


def cached(cache: Path, md5: str) -> Path:
    """Where DVC 3 keeps the contents with this digest."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def files_of(pointer: Pointer, cache: Path) -> dict[str, str] | None:
    """The md5 of each file of a folder by its path; None when its list is not in the cache.

    Raises DamagedPointer.
    """
    path = cached(cache, pointer.md5)
    try:
        entries = json.loads(path.read_bytes())
        return {_inside(entry["relpath"]): str(entry["md5"]) for entry in entries}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedPointer(
            f"{path}, the list of the files of {pointer.name}, is damaged: {error}. Remove it, and "
            "pull again"
        ) from error


def _inside(relative: str) -> str:
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"it names {relative!r}, which is outside")
    return str(path)
