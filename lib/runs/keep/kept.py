# SPDX-License-Identifier: MIT
"""What is kept in a folder of runs, and where its files are.

for run in kept_runs(repository):
    print(run.name, run.here, run.in_cache, run.tags)
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...errors import BadUse, did_you_mean
from .. import status
from ..status import RESERVE
from . import pointer as pointers
from . import summary as summaries
from .partial import MARK, is_partial
from .pointer import Pointer
from .repository import Repository
from .tags import tags_of

_CHUNK = 2**20


@dataclass
class KeptRun:
    """`here` is yes, no, partial, changed, or unknown when the cache cannot tell; `in_cache` is
    yes, no or partial; `remote` yes, no, lost, or empty when it was not asked."""

    name: str
    pointer: Pointer
    summary: Mapping[str, Any]
    here: str
    in_cache: str
    is_committed: bool
    tags: list[str] = field(default_factory=list)
    remote: str = ""

    def as_dict(self) -> dict[str, Any]:
        fields = asdict(self)
        fields["pointer"] = {
            "md5": self.pointer.md5,
            "files": self.pointer.count,
            "size": self.pointer.size,
        }
        return fields


def kept_runs(repository: Repository) -> list[KeptRun]:
    """Every run with a .dvc file in the output directory, by the time at which it was kept."""
    folder, uncommitted = repository.output_dir, _uncommitted(repository)
    tags: dict[str, list[str]] = {}
    for tag in tags_of(repository):
        tags.setdefault(tag.run, []).append(tag.name)
    runs = [
        _kept(repository, name, tags.get(name, []), name not in uncommitted)
        for name in kept_names(folder)
    ]
    return sorted(runs, key=lambda run: (str(run.summary.get("kept_at", "")), run.name))


def kept_names(output_dir: Path) -> list[str]:
    """The names of the runs that have a .dvc file in the folder."""
    paths = sorted(output_dir.glob(f"[!.]*{pointers.SUFFIX}"))
    return [path.name.removesuffix(pointers.SUFFIX) for path in paths if pointers.is_run(path)]


def damaged_names(output_dir: Path) -> list[str]:
    """The names of runs here with a damaged .dvc file, as a kill may leave it."""
    found = []
    for path in sorted(output_dir.glob(f"[!.]*{pointers.SUFFIX}")):
        try:
            pointers.read(path)
        except (OSError, pointers.DamagedPointer):
            found.append(path.name.removesuffix(pointers.SUFFIX))
    return found


def chosen_name(repository: Repository, given: str) -> str:
    """The kept run that RUN means: its name, or the unique beginning of it. Raises BadUse."""
    names = kept_names(repository.output_dir)
    name = Path(given).name
    matches = [name] if name in names else [n for n in names if given and n.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if not given:
        raise BadUse(f"RUN= is missing; kept are {', '.join(names) or 'no runs'}")
    if matches:
        raise BadUse(f"RUN={given} fits {', '.join(matches)}")
    if tags := tags_of(repository, name):
        raise BadUse(f"RUN={given} is not kept in this commit, but in a tag: TAG={tags[-1].name}")
    raise BadUse(f"RUN={given} is not kept{did_you_mean(name, names)}; `make kept` lists what is")


def _uncommitted(repository: Repository) -> set[str]:
    folder = repository.relative(repository.output_dir)
    found = repository.git(
        "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", f"{folder}/"
    )
    names = (Path(entry[3:]).name for entry in found.split("\0") if entry)
    return {name.removesuffix(pointers.SUFFIX) for name in names if name.endswith(pointers.SUFFIX)}


def _kept(repository: Repository, name: str, tags: list[str], is_committed: bool) -> KeptRun:
    run_dir = repository.output_dir / name
    pointer = pointers.read(pointers.path_of(run_dir))
    summary = summaries.read(summaries.path_of(run_dir))
    files = pointers.files_of(pointer, repository.cache)
    return KeptRun(
        name,
        pointer,
        summary,
        here=_here(run_dir, files, repository.cache, summary),
        in_cache=_in_cache(files, repository.cache),
        is_committed=is_committed,
        tags=tags,
    )


def _in_cache(files: Mapping[str, str] | None, cache: Path) -> str:
    if files is None:
        return "no"
    there = [pointers.cached(cache, md5).exists() for md5 in files.values()]
    return "yes" if all(there) else "partial" if any(there) else "no"


def _here(
    run_dir: Path, files: Mapping[str, str] | None, cache: Path, summary: Mapping[str, Any]
) -> str:
    if not run_dir.is_dir():
        return "no"
    if is_partial(run_dir):
        return "partial"
    if files is None:
        return "unknown"
    return "changed" if changes(run_dir, files, cache, summary) else "yes"


def changes(
    run_dir: Path, files: Mapping[str, str], cache: Path, summary: Mapping[str, Any]
) -> list[str]:
    """Files of the run that are not as they were kept, added, or missing.

    A file is read only if it is newer than the summary, or has no copy in the cache to compare its
    size with.
    """
    here = set(names_in(run_dir))
    kept_at = status.instant(summary.get("kept_at"))
    since = kept_at.timestamp() if kept_at else 0.0
    found = [name for name in here ^ files.keys() if not _is_passing(name)]
    for name in here & files.keys():
        path, copy = run_dir / name, pointers.cached(cache, files[name])
        try:
            if not _is_as_kept(path, copy, since) and md5_of(path) != files[name]:
                found.append(name)
        except FileNotFoundError:  # a training has just removed it
            found.append(name)
    return sorted(found)


def _is_as_kept(path: Path, copy: Path, since: float) -> bool:
    """Whether the file is known to be that copy without being read."""
    info = path.stat()
    return info.st_mtime <= since and copy.exists() and copy.stat().st_size == info.st_size


def names_in(run_dir: Path) -> list[str]:
    """The paths of the files of a run, relative to it."""
    return [
        Path(top, name).relative_to(run_dir).as_posix()
        for top, _, names in os.walk(run_dir)
        for name in names
    ]


def _is_passing(path: str) -> bool:
    """Whether .dvcignore leaves the file out."""
    name = path.rpartition("/")[2]
    is_temporary = name.startswith(".") and name.endswith(".tmp")
    return path in (MARK, RESERVE, "report.html") or name.endswith(".lock") or is_temporary


def md5_of(path: Path) -> str:
    """What DVC calls the contents of the file."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
