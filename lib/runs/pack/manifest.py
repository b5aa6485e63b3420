# SPDX-License-Identifier: MIT
"""The list at the beginning of a pack.

    text = Manifest("a", (File("logs/metrics.jsonl", 12, "ab…"),)).text()
    manifest = parse(text)      # raises PackError for anything that `text` does not write

In JSON:

    {"format": 1, "run_name": "a", "files": [
      {"path": "checkpoints/best.pt", "size": 758192, "sha256": "…"},
      {"path": "checkpoints/last.pt", "link": "checkpoints/best.pt"}]}
"""

import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ...errors import BadUse
from ..directory import check_name
from .layout import FORMAT, PackError, path_problem, shown

MAX_BYTES = 32 * 2**20  # about 200,000 files
_MAX_SIZE = 2**50
_SHA256 = re.compile("[0-9a-f]{64}")
_FOREIGN = "is not a file of `make pack`"


@dataclass(frozen=True)
class File:
    """A file of the run: `size` bytes with the digest `sha256`, or another name of `link`."""

    path: str
    size: int = 0
    sha256: str = ""
    link: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a pack holds, in the order in which it holds it; the paths are sorted."""

    run_name: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all files; a file with several names counts once."""
        return sum(file.size for file in self.files)

    def text(self) -> bytes:
        """The manifest as it stands in the pack."""
        about = {"format": FORMAT, "run_name": self.run_name}
        lines = ",\n ".join(json.dumps(_fields(file)) for file in self.files)
        return f'{json.dumps(about)[:-1]}, "files": [\n {lines}]}}\n'.encode()


def _fields(file: File) -> dict[str, Any]:
    if file.link:
        return {"path": file.path, "link": file.link}
    return {"path": file.path, "size": file.size, "sha256": file.sha256}


def parse(text: bytes) -> Manifest:
    """The manifest in `text`, with every path, size and name in it checked.

    Raises PackError: for a newer format, and for what no `make pack` wrote.
    """
    try:
        found = json.loads(text)
        if type(found["format"]) is int and found["format"] > FORMAT:
            raise PackError(
                f"was packed by a newer version of this project (format {found['format']}, where "
                f"this one reads {FORMAT}): update this checkout"
            )
        files = tuple(File(**fields) for fields in found["files"])
        manifest = Manifest(check_name(found["run_name"]), files)
        texts = (text for file in files for text in (file.path, file.sha256, file.link))
        well_formed = manifest.text() == text and {str} == {*map(type, texts)}
    except BadUse as error:
        raise PackError(f"{_FOREIGN}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PackError(f"{_FOREIGN}: its manifest cannot be read") from None
    if not well_formed:
        raise PackError(f"{_FOREIGN}: its manifest is of another form")
    _check_files(files)
    return manifest


def _check_files(files: tuple[File, ...]) -> None:
    """Raise PackError for paths that clash or leave the run, odd sizes and links to nothing."""
    paths: set[str] = set()
    stored: set[str] = set()
    for file in files:
        problem = path_problem(file.path)
        if file.path in paths or paths & {str(p) for p in PurePosixPath(file.path).parents}:
            problem = "it is there twice, as a file or as a folder"
        if file.link:
            problem = problem or ("" if file.link in stored else "it is a link to nothing")
        else:
            sane = type(file.size) is int and 0 <= file.size <= _MAX_SIZE
            problem = problem or ("" if sane and _SHA256.fullmatch(file.sha256) else "odd size")
            stored.add(file.path)
        paths.add(file.path)
        if problem:
            raise PackError(f"{_FOREIGN}: path {shown(file.path[:200])}: {problem}")
    if "metadata.yaml" not in stored:
        raise PackError(f"{_FOREIGN}: it has no metadata.yaml")
