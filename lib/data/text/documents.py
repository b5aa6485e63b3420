# SPDX-License-Identifier: MIT
"""Documents from local files, one at a time: READERS[suffix](path, text_column, skip).

    .txt      plain text, UTF-8, cut into passages of about 4 KiB at blank lines or line ends
    .jsonl    one JSON object per line
    .parquet  one document per row

A text file is cut up because the validation split is drawn document by document, and because a file
of any size must be streamed. Damage raises a DataError that names the line or the row.
"""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

from .shards import DataError

PASSAGE = 4096  # characters; then a blank line ends a passage, after twice as many any line
LONGEST_LINE = 1 << 16  # characters; a longer line is cut


def passages(file: TextIO) -> Iterator[str]:
    """Cut a text into passages, which joined give the text again."""
    lines: list[str] = []
    length = 0
    while line := file.readline(LONGEST_LINE):
        lines.append(line)
        length += len(line)
        if length >= 2 * PASSAGE or (length >= PASSAGE and line.isspace()):
            yield "".join(lines)
            lines, length = [], 0
    if lines:
        yield "".join(lines)


def _text(path: Path, column: str, skip: int) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from islice(passages(file), skip, None)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text ({error.reason}: {error.object[error.start :][:4]!r})"
        ) from error


def _json_lines(path: Path, column: str, skip: int) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(islice(file, skip, None), skip + 1):
            try:
                row = json.loads(line) if line.strip() else {column: ""}
            except ValueError as error:
                raise DataError(f"{path}:{number}: not JSON: {error}") from error
            yield _column_of(row, column, f"{path}:{number}")


def _column_of(row: object, column: str, where: str) -> str:
    if not isinstance(row, dict):
        raise DataError(f"{where}: not a JSON object")
    if column not in row:
        raise DataError(f"{where}: no {column!r} among {', '.join(row)}: set TEXT_COLUMN")
    value = row[column]
    if not isinstance(value, str | None):
        raise DataError(f"{where}: {column!r} holds a {type(value).__name__}, not text")
    return value or ""


def _parquet(path: Path, column: str, skip: int) -> Iterator[str]:
    import pyarrow as pa

    with _open_parquet(path, column) as file:
        groups = range(file.num_row_groups)
        for group in groups:  # whole groups are skipped without being read
            rows = file.metadata.row_group(group).num_rows
            if skip < rows:
                break
            skip -= rows
        else:
            return
        try:
            batches = file.iter_batches(256, row_groups=groups[group:], columns=[column])
            for batch in batches:
                for value in batch.column(0)[skip:]:
                    yield value.as_py() or ""
                skip = max(0, skip - batch.num_rows)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path}: damaged after row group {group}: {error}") from error


def _open_parquet(path: Path, column: str):
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a parquet file: {error}") from error
    names = file.schema_arrow.names
    if column not in names:
        raise DataError(f"{path}: no column {column!r} among {', '.join(names)}: set TEXT_COLUMN")
    kind = file.schema_arrow.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{path}: column {column!r} holds {kind}, not text")
    return file


def text_bytes(path: Path, column: str) -> int:
    """Roughly how many bytes of text the file holds; DataError when it cannot be read."""
    if path.suffix != ".parquet":
        return path.stat().st_size
    with _open_parquet(path, column) as file:
        groups = map(file.metadata.row_group, range(file.num_row_groups))
        chunks = (group.column(i) for group in groups for i in range(group.num_columns))
        return sum(c.total_uncompressed_size for c in chunks if c.path_in_schema == column)


READERS: dict[str, Callable[[Path, str, int], Iterator[str]]] = {
    ".txt": _text,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
