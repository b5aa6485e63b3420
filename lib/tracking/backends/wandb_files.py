# SPDX-License-Identifier: MIT
"""The .wandb files that the W&B SDK writes: a LevelDB log of serialized Records."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK = 32 * 1024  # of the LevelDB log format
_HEADER = 7  # bytes: checksum 4, length 2, type 1; and the file starts with as many


def rows_in_files(folder: Path, run_id: str) -> int:
    """How many rows the local folders of a run hold: one more than the highest `_step`."""
    last = -1
    for path in folder.glob(f"wandb/*run-*-{run_id}/run-{run_id}.wandb"):
        for row in history(path):
            last = max(last, int(row.step.num))
    return last + 1


def history(path: Path) -> Iterator[Any]:
    """The HistoryRecords in a .wandb file."""
    for data in records(path):
        record = Record.FromString(data)
        if record.HasField("history"):
            yield record.history


def records(path: Path) -> Iterator[bytes]:
    """The serialized Records in a .wandb file, up to its end or to one cut off by a kill."""
    with path.open("rb") as file:
        yield from _log_records(file)


def _log_records(file: BinaryIO) -> Iterator[bytes]:
    """The records of a LevelDB log: whole (type 1), or first, middle and last part (2, 3, 4)."""
    position = len(file.read(_HEADER))
    record = b""
    while True:
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:  # the rest of a block is padding
            position += len(file.read(left))
            continue
        header = file.read(_HEADER)
        length, kind = int.from_bytes(header[4:6], "little"), header[6:]
        data = file.read(length)
        if len(header) < _HEADER or len(data) < length or kind not in b"\1\2\3\4":
            return
        position += _HEADER + length
        record = data if kind in b"\1\2" else record + data
        if kind in b"\1\4":
            yield record
