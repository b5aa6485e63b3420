# SPDX-License-Identifier: MIT
"""What `make gc` frees: old trash, and contents in DVC's cache that nothing refers to.

    garbage = find(repository)
    print(garbage.trash, garbage.objects, garbage.size)
    collect(repository, garbage)

Removed is what no .dvc file or dvc.lock mentions, in no commit of any branch or tag nor in the work
tree, so that every version of every kept run stays, pushed or not. These are contents of attempts
to keep a run that failed, and of what was added by hand and taken back. `dvc gc --all-commits`
means the same, but takes 9 s in a repository with 500 commits. What is younger than a day stays: a
`dvc add` may be under way. A cache that several repositories share is left alone.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..stored import disk_usage
from .discard import empty, expired
from .pointer import cached
from .repository import Repository

_STALE_S = 86400.0  # no `dvc add` takes a day
_REFERRING = (".dvc", "dvc.lock", "dvc.yaml")
_MD5 = re.compile(r"\b[0-9a-f]{32}(?:\.dir\b)?")


@dataclass(frozen=True)
class Garbage:
    """`trash`: directories; `objects`: files in the cache; `size`: bytes of both."""

    trash: list[Path]
    objects: list[Path]
    halves: list[Path]
    size: int
    is_shared: bool


def find(repository: Repository) -> Garbage:
    """What could be freed; nothing is changed. Raises GitFailed."""
    trash = expired(repository.output_dir)
    is_shared = repository.cache != repository.own_cache
    objects = [] if is_shared or not repository.cache.exists() else _unused(repository)
    halves = [] if is_shared else _halves(repository.cache)
    files = [path for path in (*objects, *halves) if path.exists()]
    size = sum(map(disk_usage, trash)) + sum(path.stat().st_size for path in files)
    return Garbage(trash, objects, halves, size, is_shared)


def _unused(repository: Repository) -> list[Path]:
    used, cache = _used(repository), repository.cache
    objects = (cache / "files" / "md5").glob("[0-9a-f][0-9a-f]/[!.]*")
    unused = [path for path in objects if path.parent.name + path.name not in used]
    return [path for path in unused if _is_old(path)]


def _used(repository: Repository) -> set[str]:
    """Every digest that is mentioned anywhere, and those in the lists of files among them."""
    used = {md5 for text in _texts(repository) for md5 in _MD5.findall(text)}
    for md5 in [md5 for md5 in used if md5.endswith(".dir")]:
        listed = cached(repository.cache, md5)
        if listed.exists():
            used.update(_MD5.findall(listed.read_text()))
    return used


def _texts(repository: Repository) -> Iterator[str]:
    """All versions of the files that refer to contents: in every commit, and in the work tree."""
    for line in repository.git("rev-list", "--objects", "--all").splitlines():
        name, _, path = line.partition(" ")
        if path.endswith(_REFERRING):
            yield repository.git("cat-file", "-p", name)
    here = repository.git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for path in map(repository.root.joinpath, filter(None, here.split("\0"))):
        if path.name.endswith(_REFERRING) and path.is_file():
            yield path.read_text(errors="replace")


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _STALE_S


def _halves(cache: Path) -> list[Path]:
    """Copies that DVC was killed at."""
    left = (cache / "files" / "md5").glob("*/.*.tmp")
    return list(filter(_is_old, left))


def collect(repository: Repository, garbage: Garbage) -> None:
    """Free it, unless it is used by now. Raises GitFailed, OSError; called again, it goes on."""
    empty(garbage.trash)
    used = _used(repository) if garbage.objects else set()
    for path in (*garbage.halves, *garbage.objects):
        if path.parent.name + path.name not in used:
            path.unlink(missing_ok=True)
