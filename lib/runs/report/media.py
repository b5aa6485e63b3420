# SPDX-License-Identifier: MIT
"""Samples, images, tables, confusion matrices and histograms of a run, ready for the page.

    for shown in media_of(run.dir, logged.media, budget):
        shown.kind, shown.name, shown.items

Of each name the latest are shown. A journal may come from somebody else: what is malformed or
outside the run directory is named and left out. Images become data URIs, each up to LARGEST_IMAGE
bytes and all together up to the `budget`; what was left out says so.
"""

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import text
from ..media_files import NoMediaFile, media_file
from ..redact import redact, redact_tree
from .logged import Media

LARGEST_IMAGE = 2 * 2**20
ALL_IMAGES = 24 * 2**20
_LONGEST_TEXT = 20_000  # characters
_MOST_ROWS, _MOST_COLUMNS = 50, 30
_MOST_CLASSES = 30  # of a matrix that is shown whole
_MOST_CONFUSIONS = 30
_MOST_BINS = 1024
_TINT = 55  # per cent of colour in a full cell of a matrix; more would hide its number
_DAMAGED = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError)
_DAMAGED += (TypeError, ValueError)
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


@dataclass
class Budget:
    """Bytes of images that may still be embedded."""

    left: int = ALL_IMAGES


@dataclass
class Shown:
    """What one name holds: `items` are for the template of its `kind`, the latest first."""

    kind: str
    name: str
    count: int
    items: list[dict[str, Any]] = field(default_factory=list)


def media_of(run_dir: Path, media: Mapping[str, Media], budget: Budget) -> list[Shown]:
    """All media by name, sorted by kind."""
    kinds = list(_VIEWS)
    found = []
    for name, logged in media.items():
        kind = str(logged.latest[-1][1].get("type"))
        shown = Shown(kind if kind in kinds else "other", text.one_line(name), logged.count)
        for step, item in reversed(logged.latest):
            plain = {"step": step, "view": "", "caption": "", "summary": "", "note": ""}
            shown.items.append({**plain, **_view(run_dir, item, budget)})
        found.append(shown)
    return sorted(found, key=lambda s: kinds.index(s.kind) if s.kind in kinds else len(kinds))


def _view(run_dir: Path, item: dict[str, Any], budget: Budget) -> dict[str, Any]:
    view = _VIEWS.get(str(item.get("type")))
    if view is None:
        return {"note": f"of an unknown type: {text.one_line(item.get('type'))[:100]}"}
    try:
        return view(run_dir, item, budget)
    except NoMediaFile as error:
        return {"note": f"not shown: {text.one_line(error)}"}
    except _DAMAGED:
        return {"note": "not shown: it is damaged"}


def _image(run_dir: Path, item: dict[str, Any], budget: Budget) -> dict[str, Any]:
    path = media_file(run_dir, item["path"])
    size, limit = path.stat().st_size, min(LARGEST_IMAGE, budget.left)
    if size > limit:
        of = "an image" if limit == LARGEST_IMAGE else "what is left for images"
        return {"note": f"{_said(item)}, {text.size(size)}, more than {of} ({text.size(limit)})"}
    data = path.read_bytes()
    mime = next((m for signature, m in _SIGNATURES.items() if data.startswith(signature)), None)
    if mime is None:
        return {"note": f"not shown: {_said(item)} is no PNG, JPEG or GIF"}
    budget.left -= len(data)
    source = f"data:{mime};base64,{base64.b64encode(data).decode()}"
    return {"view": "image", "source": source, "caption": _clean(item.get("caption", ""))}


def _text(run_dir: Path, item: dict[str, Any], budget: Budget) -> dict[str, Any]:
    whole = _clean(item["text"])
    cut = len(whole) - _LONGEST_TEXT
    note = f"cut: {cut:,} more characters are in the journal" if cut > 0 else ""
    return {"view": "text", "text": whole[:_LONGEST_TEXT], "note": note}


def _table(run_dir: Path, item: dict[str, Any], budget: Budget) -> dict[str, Any]:
    columns, rows = list(item["columns"]), item["head"][:_MOST_ROWS]
    note = ""
    if item["count"] > len(rows) or len(columns) > _MOST_COLUMNS:
        note = (
            f"{len(rows)} of {item['count']:,} rows, {min(len(columns), _MOST_COLUMNS)} of "
            f"{len(columns)} columns; all are in {_said(item)}"
        )
    cells = [[_cell(cell) for cell in row[:_MOST_COLUMNS]] for row in redact_tree(rows)]
    names = [_clean(column) for column in columns[:_MOST_COLUMNS]]
    return {"view": "table", "columns": names, "rows": cells, "note": note}


def _confusion(run_dir: Path, item: dict[str, Any], budget: Budget) -> dict[str, Any]:
    labels = [_clean(label) for label in item["labels"]]
    matrix = [[int(count) for count in row] for row in item["matrix"]]
    if any(len(row) != len(labels) for row in matrix) or len(matrix) != len(labels):
        raise ValueError("not square")
    totals = [sum(row) for row in matrix]
    right = sum(matrix[i][i] for i in range(len(labels)))
    share = right / sum(totals) if sum(totals) else math.nan
    summary = f"{right:,} of {sum(totals):,} right ({100 * share:.2f} %)"
    if len(labels) <= _MOST_CLASSES:
        rows = [
            [(count, round(_TINT * count / total) if total else 0) for count in row]
            for row, total in zip(matrix, totals, strict=True)
        ]
        lines = list(zip(labels, rows, strict=True))
        return {"view": "matrix", "labels": labels, "rows": lines, "summary": summary}
    confused = [
        (count, labels[i], labels[j])
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    confused.sort(key=lambda entry: -entry[0])
    return {
        "view": "confused",
        "confused": confused[:_MOST_CONFUSIONS],
        "summary": f"{summary}; of {len(labels)} classes, those most often confused",
    }


def _histogram(run_dir: Path, item: dict[str, Any], budget: Budget) -> dict[str, Any]:
    counts, edges = [float(c) for c in item["counts"]], [float(e) for e in item["edges"]]
    n, bins = float(item["count"]), len(counts)
    if len(edges) != bins + 1 or not 0 < bins <= _MOST_BINS or not max(counts) > 0:
        return {"note": f"not shown: {bins} bins with {len(edges)} edges"}
    mean = item["sum"] / n
    deviation = math.sqrt(max(0.0, item["sum_squares"] / n - mean**2))
    width = (edges[-1] - edges[0]) / bins
    even = all(
        math.isclose(edges[i], edges[0] + i * width, abs_tol=width / 100) for i in range(bins)
    )
    top = max(counts)
    bars = "".join(
        f"M{i:g} 100v-{100 * count / top:.2f}h1v{100 * count / top:.2f}z"
        for i, count in enumerate(counts)
        if count > 0
    )
    return {
        "view": "histogram",
        "bars": bars,
        "bins": bins,
        "low": f"{edges[0]:.4g}",
        "high": f"{edges[-1]:.4g}",
        "summary": f"{n:,.0f} values, mean {mean:.4g}, standard deviation {deviation:.4g}",
        "note": "" if even else "the bins are drawn equally wide, but are not",
    }


def _artifact(run_dir: Path, item: dict[str, Any], budget: Budget) -> dict[str, Any]:
    about = {
        "file": _said(item),
        "kind": item.get("kind"),
        "size": text.size(item["bytes"]),
        "SHA-256": item.get("sha256"),
    }
    return {"view": "fields", "fields": [(name, _clean(value)) for name, value in about.items()]}


_VIEWS: dict[str, Callable[[Path, dict[str, Any], Budget], dict[str, Any]]] = {
    "text": _text,
    "image": _image,
    "figure": _image,
    "table": _table,
    "confusion_matrix": _confusion,
    "histogram": _histogram,
    "artifact": _artifact,
}


def _clean(value: Any) -> str:
    return redact(text.printable(value))


def _said(item: Mapping[str, Any]) -> str:
    return text.one_line(item.get("path"))[:200]


def _cell(value: Any) -> str:
    if type(value) is float:
        return f"{value:.6g}"
    return "" if value is None else text.printable(value)[:1000]
