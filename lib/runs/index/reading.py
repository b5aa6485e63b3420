# SPDX-License-Identifier: MIT
"""Reading a journal on from where it was read last time.

    mark, numbers = read_on(journal, metadata)
    mark, numbers = read_on(journal, metadata, mark, numbers)      # only what was appended

Journals are append-only. A journal is read anew if it is another file, has not only grown, or ends
differently where the last reading ended, and after a resume, which supersedes earlier rows.
"""

import os
import stat
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..journal import read_rows
from ..resumes import current_parts
from ..series import Numbers, ignore, numbers_of_results

# A file that has just changed may change again without another time or size.
SETTLED_S = 0.1
_TAIL_BYTES = 2**16


@dataclass(frozen=True)
class Mark:
    """How far a journal was read, and what it was then; `changed` is 0 if that may not be told."""

    inode: int
    changed: int  # st_ctime_ns
    size: int
    offset: int  # the rows before it are counted
    tail: int  # CRC-32 of the last bytes before it
    criterion: tuple[str, int, int]  # of the best evaluation


def read_on(
    journal: Path,
    metadata: Mapping[str, Any],
    mark: Mark | None = None,
    numbers: Numbers | None = None,
) -> tuple[Mark | None, Numbers]:
    """The Numbers of all rows that count; `numbers`, those up to `mark`, are changed.

    Without a journal that can be read there is no mark, and they are those in the metadata.
    """
    try:
        info = journal.stat()
        if not stat.S_ISREG(info.st_mode):  # opening a pipe would never end
            return None, numbers_of_results(metadata)
        fresh = Numbers(metadata)
        if mark and numbers and _has_only_grown(journal, info, mark, fresh.best.criterion):
            offset = _add_rows(journal, mark.offset, numbers)
            if offset is not None:
                return _mark(journal, info, offset, numbers), numbers
        offset = 0
        for start, end in current_parts(journal):
            offset = start
            for row, end_of_row in read_rows(journal, start, end, on_damage=ignore):
                fresh.add(row)
                offset = end_of_row
        return _mark(journal, info, offset, fresh), fresh
    except OSError:
        return None, numbers_of_results(metadata)


def _add_rows(journal: Path, offset: int, numbers: Numbers) -> int | None:
    """Count the rows from `offset` on; returns where they end, None if one is a resume."""
    for row, end in read_rows(journal, offset, on_damage=ignore):
        if row.get("event") == "resume":
            return None
        numbers.add(row)
        offset = end
    return offset


def _has_only_grown(
    journal: Path, info: os.stat_result, mark: Mark, criterion: tuple[str, int, int]
) -> bool:
    if mark.inode != info.st_ino or mark.criterion != criterion:
        return False
    if info.st_size == mark.size:
        return info.st_ctime_ns == mark.changed
    return info.st_size > mark.size and _tail(journal, mark.offset) == mark.tail


def _mark(journal: Path, info: os.stat_result, offset: int, numbers: Numbers) -> Mark:
    changed = info.st_ctime_ns if is_settled(info.st_ctime_ns) else 0
    tail, criterion = _tail(journal, offset), numbers.best.criterion
    return Mark(info.st_ino, changed, info.st_size, offset, tail, criterion)


def is_settled(changed: int) -> bool:
    """Whether a file that changed at this time, in ns, would show another change by its time."""
    return changed < time.time_ns() - SETTLED_S * 1e9


def _tail(journal: Path, offset: int) -> int:
    with journal.open("rb") as file:
        begin = max(0, offset - _TAIL_BYTES)
        file.seek(begin)
        return zlib.crc32(file.read(offset - begin))
