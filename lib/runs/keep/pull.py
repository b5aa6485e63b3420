# SPDX-License-Identifier: MIT
"""Getting a kept run back, whole or some of its files.

    pull(repository, "baseline")                                # what its .dvc file says
    pull(repository, "baseline", tag="run/baseline.v2")         # a version of it
    pull(repository, "baseline", only="checkpoints/best.pt")    # makes it a partial run

DVC fetches into its cache, under a hidden name, so that the .dvc file of another version is not in
the way. The files are then copied, and compared with their digests. A whole run is made in a hidden
folder, and gets its name when it is complete; when that is cut short, the next `pull` begins it
anew, from the cache. A run of which some files are here is marked as partial until all are.
Nothing that is here is overwritten.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import BadUse, Failure, did_you_mean
from ...files import atomic, link_or_copy, write_atomic
from ...safe_yaml import to_plain
from .. import status
from ..directory import make_private
from . import pointer as pointers
from . import summary as summaries
from .keep import held
from .kept import md5_of
from .partial import MARK, is_partial
from .pointer import Pointer, cached
from .remote import ask
from .repository import PULLED, Repository
from .tags import names_at, pointer_at

_ALWAYS = "metadata.yaml"  # a run without it is none
_CHUNK = 2**20


@dataclass(frozen=True)
class Pulled:
    """`new` files were written; `is_partial` says that others are still missing."""

    run_dir: Path
    new: int
    is_partial: bool


def pull(repository: Repository, name: str, *, only: str = "", tag: str = "") -> Pulled:
    """Bring the run, or the file or folder `only` of it, to its place.

    `name` has a .dvc file in the output directory, or in the commit of `tag`. Raises BadUse when
    that is not so, when the run here has changed since, or is running, and Failure when neither the
    cache nor the remote has the files.
    """
    run_dir = repository.output_dir / name
    with repository.exclusive():
        pointer = _pointer(repository, run_dir, tag)
        files = _fetched(repository, name, pointer, only)
        stamp = _kept_at(repository, run_dir, tag)
        if not run_dir.exists() and not only:
            return _make(repository, run_dir, files, stamp)
        wanted = {path: md5 for path, md5 in files.items() if _is_wanted(path, only)}
        return _complete(repository, run_dir, files, wanted, stamp)


def _pointer(repository: Repository, run_dir: Path, tag: str) -> Pointer:
    if not tag:
        return pointers.read(pointers.path_of(run_dir))
    found = pointer_at(repository, tag, run_dir.name)
    if found is None:
        raise BadUse(
            f"{run_dir.name} was not kept at TAG={tag}; kept were {names_at(repository, tag)}"
        )
    return found


def _kept_at(repository: Repository, run_dir: Path, tag: str) -> float | None:
    """When this version was kept: files that are not newer are known not to have changed since."""
    path = summaries.path_of(run_dir)
    if not tag:
        told = summaries.read(path).get("kept_at")
    else:
        text = repository.at_revision(tag, path) or ""
        lines = [line for line in text.splitlines() if line.startswith("kept_at: ")]
        told = to_plain(lines[0].removeprefix("kept_at: ").strip("'\"")) if lines else None
    found = status.instant(told)
    return found.timestamp() if found else None


def _is_wanted(path: str, only: str) -> bool:
    return not only or path == _ALWAYS or _is_named(path, only)


def _is_named(path: str, only: str) -> bool:
    return path == only or path.startswith(f"{only.rstrip('/')}/")


# -------------------------------------------------------------------------------- into the cache


def _fetched(repository: Repository, name: str, pointer: Pointer, only: str) -> dict[str, str]:
    """All files of the run; those that are wanted are in the cache now."""
    files = pointers.files_of(pointer, repository.cache)
    if files is None or _lacking(files, repository.cache, only):
        _fetch(repository, f"{PULLED}{name}", pointer, only)
        files = pointers.files_of(pointer, repository.cache)
    if files is None:
        raise Failure(f"neither the cache nor the remote has {name}: {_cure(name)}")
    if only and not any(_is_named(path, only) for path in files):
        raise BadUse(f"ONLY={only}: {name} has no such file{did_you_mean(only, files)}")
    if lacking := _lacking(files, repository.cache, only):
        raise Failure(
            f"neither the cache nor the remote has {lacking[0]} and {len(lacking) - 1} more files "
            f"of {name}: {_cure(name)}"
        )
    return files


def _lacking(files: Mapping[str, str], cache: Path, only: str) -> list[str]:
    return [
        path
        for path, md5 in files.items()
        if _is_wanted(path, only) and not cached(cache, md5).exists()
    ]


def _fetch(repository: Repository, hidden: str, pointer: Pointer, only: str) -> None:
    file = repository.output_dir / f"{hidden}{pointers.SUFFIX}"
    folder = repository.relative(repository.output_dir / hidden)
    targets = [f"{folder}/{only}", f"{folder}/{_ALWAYS}"] if only else [f"{folder}.dvc"]
    if repository.cache == repository.own_cache:
        make_private(repository.own_cache)
    write_atomic(file, pointers.text_of(pointer, hidden))
    try:
        ask(repository, "fetch", *targets)
    finally:
        file.unlink()


def _cure(name: str) -> str:
    return f"whoever kept it has to make push RUN={name}"


# -------------------------------------------------------------------------------- into the run


def _make(
    repository: Repository, run_dir: Path, files: Mapping[str, str], stamp: float | None
) -> Pulled:
    hidden = run_dir.with_name(f"{PULLED}{run_dir.name}")
    make_private(hidden)
    new = _write(hidden, files, files, repository.cache, stamp)
    hidden.rename(run_dir)
    return Pulled(run_dir, new, is_partial=False)


def _complete(
    repository: Repository,
    run_dir: Path,
    files: Mapping[str, str],
    wanted: Mapping[str, str],
    stamp: float | None,
) -> Pulled:
    """Add what is missing of `wanted` to a run that is here, in part or not at all yet."""
    if not run_dir.exists():
        make_private(run_dir)
        write_atomic(run_dir / MARK, "")
    with held(run_dir):
        changed = [
            path
            for path, md5 in wanted.items()
            if (run_dir / path).exists() and md5_of(run_dir / path) != md5
        ]
        if changed:
            raise BadUse(
                f"{run_dir.name} is here, with another {changed[0]} than was kept. To keep it as "
                f"it is here: make keep RUN={run_dir.name}; to pull the other one, rename the "
                f"folder first: mv {run_dir} {run_dir}.mine"
            )
        new = _write(run_dir, files, wanted, repository.cache, stamp)
        is_whole = all((run_dir / path).exists() for path in files)
        if is_whole:
            (run_dir / MARK).unlink(missing_ok=True)
        return Pulled(run_dir, new, is_partial=is_partial(run_dir) or not is_whole)


def _write(
    folder: Path,
    files: Mapping[str, str],
    wanted: Mapping[str, str],
    cache: Path,
    stamp: float | None,
) -> int:
    """Write those of `wanted` that are missing; returns how many. Raises OSError, Failure."""
    new = 0
    for name in sorted(wanted):
        path = folder / name
        if path.exists():
            continue
        make_private(path.parent)
        twin = _twin(folder, name, files)
        if twin is not None:
            link_or_copy(twin, path)
        else:
            _copy(cached(cache, wanted[name]), path, wanted[name])
        if stamp is not None:
            os.utime(path, (stamp, stamp))
        new += 1
    return new


def _twin(folder: Path, name: str, files: Mapping[str, str]) -> Path | None:
    """The same checkpoint under another name, of which this one is to be a hard link again."""
    if not name.startswith("checkpoints/"):
        return None
    same = (folder / other for other, md5 in files.items() if md5 == files[name] and other != name)
    return next((path for path in same if path.exists() and "checkpoints" in path.parts), None)


def _copy(source: Path, target: Path, md5: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with source.open("rb") as original, atomic(target) as copy:
        while chunk := original.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
        if digest.hexdigest() != md5:
            raise Failure(
                f"{source}, DVC's copy of {target.name}, is damaged: rm {source}, and pull again"
            )
