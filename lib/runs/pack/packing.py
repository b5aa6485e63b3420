# SPDX-License-Identifier: MIT
"""Writing a run into one file.

    manifest = write_pack(load_run(directory), Path("a.tar.zst"))

Each file is read twice: for its digest, which goes first, and to be written. What changes in
between is noticed. Memory does not grow with the run. The lock of the run is held meanwhile, so
that no training goes on with it.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from ... import lock
from ...errors import BadUse
from ...files import atomic
from ..directory import check_name
from ..media_files import sha256
from ..stored import StoredRun
from . import layout
from .layout import PackError, shown
from .manifest import MAX_BYTES, File, Manifest

_BLOCK_BYTES = 2**20
_LEVEL = 3  # text shrinks to a tenth; weights hardly shrink at any level

Seen = Callable[[int], Any]  # is told how many bytes have been read since it was called last


def write_pack(
    run: StoredRun,
    out: Path,
    *,
    without: Callable[[str], bool] = lambda path: False,
    replaced: Mapping[str, Path | bytes] | None = None,
    seen: Seen = lambda count: None,
) -> tuple[Manifest, str]:
    """Write `run` to the new file `out`; returns what it holds and the SHA-256 of the file.

    Files whose path `without` accepts are left out, as are those that mean nothing on another
    machine; `replaced` has other contents, or files, for some paths. The same run gives the same
    bytes. Only the owner can read the file, which appears whole or not at all. Raises BadUse when
    the run is in progress or its directory has no name of a run, PackError when a file cannot be
    packed or changes meanwhile, and OSError.
    """
    check_name(run.name)  # nobody could unpack it
    with _at_rest(run):
        sources: dict[str, Path | bytes] = {p: f for p, f in _files(run.dir) if not without(p)}
        sources |= replaced or {}
        manifest = Manifest(run.name, _listed(sources, seen))
        with atomic(out) as file:
            os.fchmod(file.fileno(), 0o600)
            hashed = _Hashed(file)
            packer = zstandard.ZstdCompressor(level=_LEVEL)
            with packer.stream_writer(hashed, closefd=False) as archive:
                _write(archive, manifest, sources, seen)
            file.write(layout.footer(hashed.digest.hexdigest()))
    return manifest, sha256(out)


@contextmanager
def _at_rest(run: StoredRun) -> Iterator[None]:
    """Keep trainings from going on with the run within the block. Raises BadUse if one does."""
    running = BadUse(f"{run.name} is running: pack it when it has ended, or stop it first")
    if run.status == "running":
        raise running
    held = None
    try:
        held = lock.hold(run.dir / ".lock", mode=0o600)
    except BlockingIOError:
        raise running from None
    except OSError:  # a read-only archive, where nobody can train either
        pass
    try:
        yield
    finally:
        lock.release(held)


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    """(path in the run, file) of all that is packed, sorted. Raises PackError for odd files."""
    for top, folders, names in os.walk(directory, onerror=_raise):
        folders.sort()
        for name in sorted((*folders, *names)):
            file = Path(top, name)
            path = file.relative_to(directory).as_posix()
            if layout.is_local(path):
                continue
            kind = file.lstat().st_mode
            if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
                what = "a symbolic link" if stat.S_ISLNK(kind) else "not a regular file"
                raise PackError(
                    f"{shown(file)} is {what}: a pack holds files only. Put the file itself in "
                    "its place (of a run in DVC: dvc unprotect) or remove it"
                )
            if problem := layout.path_problem(path):
                raise PackError(f"{shown(file)} cannot be packed: {problem}. Rename or remove it")
            if stat.S_ISREG(kind):
                yield path, file


def _raise(error: OSError) -> None:
    raise error


def _listed(sources: Mapping[str, Path | bytes], seen: Seen) -> tuple[File, ...]:
    """The files in order; the second and later names of a file become links to the first."""
    names: dict[tuple[int, int], str] = {}
    found = []
    for path, source in sorted(sources.items()):
        if isinstance(source, bytes):
            found.append(File(path, len(source), hashlib.sha256(source).hexdigest()))
            continue
        info = source.stat()
        first = names.setdefault((info.st_dev, info.st_ino), path)
        if first != path:
            found.append(File(path, link=first))
            continue
        digest, left = hashlib.sha256(), info.st_size  # what is appended is noticed by `_copy`
        with source.open("rb") as file:
            while block := file.read(min(_BLOCK_BYTES, left)):
                digest.update(block)
                left -= len(block)
                seen(len(block))
        found.append(File(path, info.st_size - left, digest.hexdigest()))
    return tuple(found)


def _write(
    archive: Any, manifest: Manifest, sources: Mapping[str, Path | bytes], seen: Seen
) -> None:
    text = manifest.text()
    if len(text) > MAX_BYTES:
        raise PackError(f"{manifest.run_name} has {len(manifest.files):,} files, too many to pack")
    archive.write(layout.header(layout.MANIFEST, len(text)) + text + layout.padding(len(text)))
    for file in manifest.files:
        link = file.link and f"{manifest.run_name}/{file.link}"
        archive.write(layout.header(f"{manifest.run_name}/{file.path}", file.size, link))
        source = sources[file.path]
        if isinstance(source, bytes):
            archive.write(source)
        elif not file.link:
            _copy(source, archive, file, seen)
        archive.write(layout.padding(file.size))
    archive.write(layout.END)


def _copy(source: Path, archive: Any, file: File, seen: Seen) -> None:
    """Raises PackError when the file is not what it was when its digest was made."""
    digest, left = hashlib.sha256(), file.size
    with source.open("rb") as opened:
        while block := opened.read(min(_BLOCK_BYTES, left)):
            digest.update(block)
            archive.write(block)
            seen(len(block))
            left -= len(block)
        grown = bool(opened.read(1))
    if left or grown or digest.hexdigest() != file.sha256:
        raise PackError(f"{shown(source)} changed while it was being packed: try again")


class _Hashed:
    """A file that digests what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()
