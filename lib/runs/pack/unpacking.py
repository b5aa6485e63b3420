# SPDX-License-Identifier: MIT
"""Making a run directory from a pack, which may come from anybody.

    directory = unpack(Path("a.tar.zst"), Path("outputs/training"))

Before anything is written, the whole file is compared with the SHA-256 at its end, and the
manifest is checked: paths, sizes, duplicates, free disk space. Then each file is written as the
manifest says and compared with its digest, in a hidden folder that is renamed at last. Whenever
this is killed, there is no run, and the next `unpack` removes what was left. Nothing in the file is
executed, unpickled or followed; memory does not grow with it.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from ... import lock, text
from ...errors import BadUse
from ...files import is_abandoned, link_or_copy, sync_directory
from .. import metadata
from ..directory import check_name, make_private
from . import layout, manifest
from .layout import PackError
from .manifest import File, Manifest

_UNFINISHED = ".unpack-"  # hidden until it is whole
_BLOCK_BYTES = 2**20
_SPARE_BYTES = 64 * 2**20  # of the disk, that stay free
_MOST_SHRUNK = 1000  # no run shrinks to less than a thousandth
_DAMAGED = "is damaged"

Seen = Callable[[int], Any]  # is told how many bytes have been read since it was called last


def unpack(
    pack: Path, output_dir: Path, name: str = "", *, seen: Seen = lambda count: None
) -> Path:
    """Make the run in `pack` a run in `output_dir`; returns its directory.

    It has the name that it had, unless `name` is given, and `unpacked` in its metadata.yaml: when,
    and from which file. Raises BadUse when the name is taken or no name, PackError, which begins
    with `pack`, for a file that is damaged, foreign or too large, and OSError.
    """
    if name:
        check_name(name)
    try:
        digest = verify(pack, seen)
        with pack.open("rb") as file:
            archive = _Archive(file)
            listed = archive.manifest()
            target = output_dir / (name or listed.run_name)
            _require_free_name(target)
            output_dir.mkdir(parents=True, exist_ok=True)
            _sweep(output_dir)
            _require_space(listed, output_dir, pack.stat().st_size)
            origin = {"time": metadata.now(), "file": pack.name, "sha256": digest}
            return _make(archive, listed, target, origin, seen)
    except PackError as error:
        raise PackError(f"{layout.shown(pack)} {error}") from None


def verify(pack: Path, seen: Seen = lambda count: None) -> str:
    """The SHA-256 of the whole file, after a comparison with the one at its end.

    Raises PackError, and OSError.
    """
    whole = hashlib.sha256()
    with pack.open("rb") as file:
        if file.read(len(layout.ZSTD)) != layout.ZSTD:
            raise PackError("is not a file of `make pack`")
        left = file.seek(0, os.SEEK_END) - layout.FOOTER_BYTES
        file.seek(max(left, 0))
        end = file.read()
        expected = layout.digest_in(end)
        if not expected:
            raise PackError("is cut off, or is not a file of `make pack`: get it again")
        file.seek(0)
        while left > 0 and (block := file.read(min(_BLOCK_BYTES, left))):
            whole.update(block)
            left -= len(block)
            seen(len(block))
    if whole.hexdigest() != expected:
        raise PackError(f"{_DAMAGED}: it does not match its SHA-256, get it again")
    whole.update(end)
    return whole.hexdigest()


class _Archive:
    """The archive in a pack, read from its beginning to its end."""

    def __init__(self, file: BinaryIO) -> None:
        opened = zstandard.ZstdDecompressor(max_window_size=layout.WINDOW)
        self._stream = opened.stream_reader(file, closefd=False)

    def manifest(self) -> Manifest:
        """The list at its beginning. Raises PackError."""
        first = self._read(layout.BLOCK)
        try:
            size = int(first[124:135], 8)
        except ValueError:
            size = -1
        if not 0 <= size <= manifest.MAX_BYTES or layout.header(layout.MANIFEST, size) != first:
            raise PackError("is not a file of `make pack`: it does not begin with a manifest")
        found = manifest.parse(self._read(size))
        self.expect(layout.padding(size))
        return found

    def expect(self, data: bytes) -> None:
        """Read what has to follow. Raises PackError when something else does."""
        if self._read(len(data)) != data:
            raise PackError(f"{_DAMAGED}: it is not what its manifest says")

    def copy(self, file: File, target: BinaryIO, seen: Seen) -> None:
        """Write the contents of `file`, which follow. Raises PackError, OSError."""
        digest, left = hashlib.sha256(), file.size
        while left:
            block = self._read(min(_BLOCK_BYTES, left))
            digest.update(block)
            target.write(block)
            seen(len(block))
            left -= len(block)
        if digest.hexdigest() != file.sha256:
            raise PackError(f"{_DAMAGED}: {file.path} does not match its SHA-256")
        self.expect(layout.padding(file.size))

    def _read(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises PackError."""
        parts, left = [], count
        try:
            while left and (part := self._stream.read(left)):
                parts.append(part)
                left -= len(part)
        except zstandard.ZstdError:
            raise PackError(f"{_DAMAGED}: it cannot be decompressed") from None
        if left:
            raise PackError(f"{_DAMAGED}: it ends too early")
        return b"".join(parts)


def _require_free_name(target: Path) -> None:
    """Raise BadUse when there is something at `target`."""
    if not os.path.lexists(target):
        return
    empty = target.is_dir() and not target.is_symlink() and not any(target.iterdir())
    cure = f"it is empty: rmdir {layout.shown(target)}" if empty else "choose another one: NAME=…"
    raise BadUse(f"there is {layout.shown(target)} already; {cure}")


def _require_space(listed: Manifest, output_dir: Path, size: int) -> None:
    """Raise PackError when the disk is too small, or no run would be so large."""
    holds = f"holds {text.size(listed.size)}"
    if listed.size > _MOST_SHRUNK * size:
        raise PackError(f"{holds} in {text.size(size)}, as no run does: it was made to fill disks")
    free = shutil.disk_usage(output_dir).free - _SPARE_BYTES
    if listed.size > free:
        raise PackError(f"{holds}; {output_dir} has {text.size(max(0, free))} to spare")


def _make(
    archive: _Archive, listed: Manifest, target: Path, origin: dict[str, str], seen: Seen
) -> Path:
    """The directory `target`, whole. Raises as `unpack` does, with nothing left."""
    hidden, held = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=target.parent)), None
    try:
        held = lock.hold(hidden / ".lock", mode=0o600)
        _fill(archive, listed, hidden, seen)
        try:
            fields = metadata.load(hidden / "metadata.yaml")
        except ValueError as error:
            reason = str(error).removeprefix(f"{hidden / 'metadata.yaml'}: ")
            raise PackError(f"{_DAMAGED}: metadata.yaml: {reason}") from None
        metadata.save(hidden / "metadata.yaml", {**fields, "unpacked": origin})
        _claim(hidden, target)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)  # gone already if all went well
        lock.release(held)
    return target


def _claim(hidden: Path, target: Path) -> None:
    """Rename `hidden` to `target`, which nobody else must have made. Raises BadUse, OSError.

    A directory can be renamed onto an empty one, which is made first: of two processes, one can.
    """
    try:
        target.mkdir(0o700)
    except FileExistsError:
        raise BadUse(
            f"there is {layout.shown(target)} already; choose another name: NAME=…"
        ) from None
    try:
        hidden.rename(target)
    except BaseException:
        with suppress(OSError):
            target.rmdir()
        raise
    sync_directory(target.parent)


def _fill(archive: _Archive, listed: Manifest, folder: Path, seen: Seen) -> None:
    """Write the files of the archive into the new `folder`; nothing there is ever overwritten."""
    for file in listed.files:
        link = file.link and f"{listed.run_name}/{file.link}"
        archive.expect(layout.header(f"{listed.run_name}/{file.path}", file.size, link))
        path = folder / file.path
        make_private(path.parent)
        try:
            if file.link:
                link_or_copy(folder / file.link, path)
                continue
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:  # where A and a are one name
            raise PackError(f"has {file.path} under two names that are one here") from None
        with os.fdopen(opened, "wb") as target:
            archive.copy(file, target, seen)
            target.flush()
            os.fsync(target.fileno())
    archive.expect(layout.END)


def _sweep(output_dir: Path) -> None:
    """Remove what was left by those that were killed."""
    for left in filter(is_abandoned, output_dir.glob(f"{_UNFINISHED}*")):
        shutil.rmtree(left, ignore_errors=True)
