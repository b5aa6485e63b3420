# SPDX-License-Identifier: MIT
"""What resuming means for a journal: rows that no longer count, and a last line that was cut off.

    mend(path)                      # before a writer goes on
    for start, end in current_parts(path): …

Each resume is a line of the journal that says at which byte it took up again:

    {"time": …, "event": "resume", "step": 120, "offset": 5321, "session": 1}
"""

import errno
import os
from pathlib import Path

import orjson

_RESUME = b'"event":"resume"'
_BLOCK_BYTES = 2**20


def current_parts(path: str | Path, size: int | None = None) -> list[tuple[int, int]]:
    """The parts of a journal, from byte to byte, that no later resume superseded.

    With `size`, those of the journal as it was when it had `size` bytes. Each resume goes back to
    the journal as it was when it had `offset` bytes. Without a resume in
    it, a journal is searched at the speed of reading the file.
    """
    resumes, end = _find_resumes(Path(path))
    end = end if size is None else min(size, end)
    parts = []
    for start, stop, offset in reversed(resumes):
        if stop <= end:  # otherwise a later one went back to before this one
            parts.append((start, end))
            end = min(offset, start)
    return [part for part in [(0, end), *reversed(parts)] if part[0] < part[1]]


def last_bytes(parts: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The last `size` bytes of `parts`."""
    kept = []
    for start, end in reversed(parts):
        if size > 0:
            kept.append((max(start, end - size), end))
            size -= end - start
    return kept[::-1]


def _find_resumes(path: Path) -> tuple[list[tuple[int, int, int]], int]:
    """([(where the line of a resume begins, where it ends, its offset), …], the file's length)."""
    if not path.is_file():  # opening a pipe would never end
        raise FileNotFoundError(errno.ENOENT, "no such regular file", str(path))
    found = []
    with path.open("rb") as file:
        rest, at = b"", 0  # what of the last line has been read, and where it begins
        while block := file.read(_BLOCK_BYTES):
            block = rest + block
            end = block.rfind(b"\n") + 1
            place = block.find(_RESUME, 0, end)
            while place >= 0:
                first, last = block.rfind(b"\n", 0, place) + 1, block.find(b"\n", place) + 1
                offset = _resume_offset(block[first:last])
                if offset is not None:
                    found.append((at + first, at + last, offset))
                place = block.find(_RESUME, last, end)
            rest, at = block[end:], at + end
    return found, at + len(rest)


def _resume_offset(line: bytes) -> int | None:
    """The offset of a resume; None if it is something else, or the offset is not a number."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(row, dict) or row.get("event") != "resume":
        return None
    offset = row.get("offset")
    return offset if type(offset) is int and offset >= 0 else None


def mend(path: str | Path) -> None:
    """Make a last line that was cut off blank, so that what follows it is whole.

    Nothing moves: offsets stay valid, and a row that another process appends meanwhile is kept.
    Raises OSError.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = end = os.fstat(fd).st_size
        start = 0
        while end > 0:
            begin = max(0, end - _BLOCK_BYTES)
            newline = os.pread(fd, end - begin, begin).rfind(b"\n")
            if newline >= 0:
                start = begin + newline + 1
                break
            end = begin
        if start < size:
            _write_at(fd, b" " * (size - start - 1) + b"\n", start)
    finally:
        os.close(fd)


def _write_at(fd: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written
