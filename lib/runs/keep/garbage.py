# SPDX-License-Identifier: MIT
"""What `make gc` frees: old trash, and contents in DVC's cache that nothing refers to.

    garbage = find(repository)
    print(garbage.trash, garbage.objects, garbage.size)
    collect(repository, garbage)

DVC removes what no commit, tag, branch or .dvc file in the work tree refers to, so that every
version of every kept run stays, pushed or not. What remains are contents of attempts to keep a run
that failed, and of runs that were only added by hand. A cache that several repositories share is
left alone: another one may refer to what is in it.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from lib.runs.keep.discard import empty, expired
from lib.runs.keep.repository import Repository
from lib.runs.stored import disk_usage

_GC = ("gc", "--workspace", "--all-branches", "--all-tags", "--all-commits", "--force")
_REMOVING = "Removing "
_STALE_S = 86400.0  # of a copy that was cut short: no `dvc add` takes a day


@dataclass(frozen=True)
class Garbage:
    """`trash`: directories; `objects`: files in the cache; `size`: bytes of both."""

    trash: list[Path]
    objects: list[Path]
    halves: list[Path]
    size: int
    is_shared: bool


def find(repository: Repository) -> Garbage:
    """What could be freed; nothing is changed. Raises DvcFailed."""
    trash = expired(repository.output_dir)
    is_shared = repository.cache != repository.own_cache
    objects = [] if is_shared or not repository.cache.exists() else _unused(repository)
    halves = [] if is_shared else _halves(repository.cache)
    files = [path for path in (*objects, *halves) if path.exists()]
    size = sum(map(disk_usage, trash)) + sum(path.stat().st_size for path in files)
    return Garbage(trash, objects, halves, size, is_shared)


def _unused(repository: Repository) -> list[Path]:
    said = repository.dvc(*_GC, "--dry").splitlines()
    return [Path(line.removeprefix(_REMOVING)) for line in said if line.startswith(_REMOVING)]


def _halves(cache: Path) -> list[Path]:
    """Copies that DVC was killed at."""
    left = (cache / "files" / "md5").glob("*/.*.tmp")
    return [path for path in left if time.time() - path.stat().st_mtime > _STALE_S]


def collect(repository: Repository, garbage: Garbage) -> None:
    """Free it. Raises DvcFailed, OSError; called again, it goes on."""
    empty(garbage.trash)
    for path in garbage.halves:
        path.unlink(missing_ok=True)
    if garbage.objects:
        repository.dvc(*_GC)
