# SPDX-License-Identifier: MIT
"""Media of the journal in forms that trackers take: files, tables, Markdown, PNG.

An item is the JSON object that lib/runs/media_log.py wrote into the journal. Where a tracker has no
type for it, it is converted here, in the same way for all.
"""

import io
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..runs.media_files import NoMediaFile, media_file, sha256
from .backends import Refused

_MARKDOWN_ROWS = 200  # more is too long for a text panel


def file_of(run_dir: Path, item: dict[str, Any]) -> Path:
    """The file of an item. Raises Refused when it is gone or outside the run directory, and for
    an artifact when it has changed.
    """
    try:
        path = media_file(run_dir, item["path"])
    except NoMediaFile as error:
        raise Refused(str(error)) from None
    if item["type"] == "artifact" and _sha256(path, path.stat().st_mtime_ns) != item["sha256"]:
        raise Refused(f"{path} has changed since it was logged")
    return path


@lru_cache(maxsize=8)
def _sha256(path: Path, _modified: int) -> str:
    """Cached: a file is read once for all trackers."""
    return sha256(path)


def read_table(run_dir: Path, item: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """(columns, rows) of a table, or of a confusion matrix."""
    if item["type"] == "confusion_matrix":
        return confusion_rows(item)
    table = json.loads(file_of(run_dir, item).read_text(encoding="utf-8"))
    return table["columns"], table["rows"]


def confusion_rows(item: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """A confusion matrix as a table: a row for each actual label, a column for each predicted."""
    rows = [[label, *counts] for label, counts in zip(item["labels"], item["matrix"], strict=True)]
    return ["actual \\ predicted", *item["labels"]], rows


def as_markdown(item: dict[str, Any]) -> str:
    """An item for a text panel."""
    kind = item["type"]
    if kind == "text":
        return item["text"]
    if kind == "table":
        return markdown_table(item["columns"], item["head"]) + _more(item)
    if kind == "artifact":
        rows = [["type", item["kind"]], ["file", item["path"]], ["bytes", item["bytes"]]]
        rows += [["sha256", item["sha256"]], *map(list, item["metadata"].items())]
        return markdown_table(["artifact", item["name"]], rows)
    raise ValueError(f"no Markdown for media of type {kind!r}")


def _more(item: dict[str, Any]) -> str:
    hidden = item["count"] - len(item["head"])
    return f"\n\n{hidden} more rows in {item['path']}" if hidden > 0 else ""


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown, cut after 200 rows."""
    lines = [_line(columns), _line(["---"] * len(columns)), *map(_line, rows[:_MARKDOWN_ROWS])]
    return "\n".join(lines)


def _line(cells: Sequence[Any]) -> str:
    texts = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(texts)} |"


def as_file(item: dict[str, Any]) -> tuple[str, str]:
    """(suffix, content) of a text or histogram for a tracker that keeps files."""
    if item["type"] == "text":
        return ".txt", item["text"]
    if item["type"] == "histogram":
        return ".json", json.dumps(item, indent=1)
    raise ValueError(f"no file for media of type {item['type']!r}")


def draw_confusion_matrix(item: dict[str, Any]) -> tuple[bytes, int, int]:
    """(PNG, width, height): the counts on shades of blue, actual labels down, predicted across."""
    from PIL import Image, ImageDraw

    labels, matrix = item["labels"], item["matrix"]
    cell, margin = 44, 88
    size = margin + cell * len(labels) + 8
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    draw.text((margin, 6), "predicted", fill="black")
    draw.text((6, margin), "actual", fill="black")
    for i, label in enumerate(labels):
        at = margin + i * cell + cell / 2
        draw.text((at, margin - 14), label[:6], fill="black", anchor="mm")
        draw.text((margin - 8, at), label[:10], fill="black", anchor="rm")
    for row, counts in enumerate(matrix):
        total = sum(counts) or 1
        for column, count in enumerate(counts):
            x, y = margin + column * cell, margin + row * cell
            share = count / total
            shade = tuple(int(255 + share * (c - 255)) for c in (8, 69, 148))
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=shade)
            ink = "white" if share > 0.5 else "black"
            draw.text((x + cell / 2 - 1, y + cell / 2), f"{count}", fill=ink, anchor="mm")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), size, size


def webp(png: bytes, longest: int = 256) -> bytes:
    """A small preview of an image."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        preview = image.convert("RGB")
        preview.thumbnail((longest, longest))
        preview.save(buffer, "WEBP")
    return buffer.getvalue()
