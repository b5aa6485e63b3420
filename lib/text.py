# SPDX-License-Identifier: MIT
"""What people read about runs: numbers with units, columns, the table at the end of training."""

import math
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO
from unicodedata import combining, east_asian_width

from .advice import typed

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_CYAN, _YELLOW, _RED = 36, 33, 31
_COLOURS = {
    "running": _CYAN,
    "delivering": _CYAN,
    "interrupted": _YELLOW,
    "retrying": _YELLOW,
    "failed": _RED,
    "unreadable": _RED,
}


def duration(seconds: Any) -> str:
    """ "0.4 s", "12 s", "3 min 05 s", "2 h 07 min", "3 d 04 h"; empty for anything else."""
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02} h"


def age(seconds: float) -> str:
    """How long ago, in its largest unit: "40 s", "5 min", "2 h", "3 d"."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def size(count: int) -> str:
    """ "512 B", "1.5 KiB", "3.2 MiB"."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def metric(name: str, value: Any) -> str:
    """A metric, formatted by its name: accuracies in per cent, *_s as a duration."""
    if type(value) not in (int, float) or not math.isfinite(value):
        return str(value)
    if name.endswith(("accuracy", "accuracy_top5", "sparsity")):
        return f"{100 * value:.2f} %"
    return duration(value) if name.endswith("_s") and "_per_" not in name else f"{value:.5g}"


def metric_label(name: str) -> str:
    """final/best_val_loss → best val loss."""
    return name.removeprefix("final/").replace("_", " ")


def printable(value: Any) -> str:
    """Text from elsewhere, safe to show on a terminal; line breaks and tabs stay as they are.

    Every other unprintable character becomes U+FFFD: control characters, which could move the
    cursor or set colours, marks that reorder text, and bytes that are not UTF-8.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else _REPLACEMENT for c in str(value))


def one_line(value: Any) -> str:
    """`printable` text on one line: each run of white space is one space."""
    if isinstance(value, str) and value.isprintable() and "  " not in value:
        return value.strip()  # nearly always, and a tenth of the time of what follows
    return printable(" ".join(str(value).split()))


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Lines with the cells of `rows` in columns; those numbered in `right` are right-aligned.

    Every cell is made `one_line`. Nothing is cut to the width of the terminal, so that names can be
    copied and lines be searched.
    """
    cells = zip(*([one_line(cell) for cell in row] for row in rows), strict=True)
    padded = [_padded(column, i in right) for i, column in enumerate(cells)]
    return ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]


def _padded(cells: Sequence[str], right: bool) -> list[str]:
    """The cells with blanks up to the width of the widest."""
    if all(map(str.isascii, cells)):
        width = max(map(len, cells))
        return [cell.rjust(width) if right else cell.ljust(width) for cell in cells]
    width = max(map(_width, cells))
    blanks = (" " * (width - _width(cell)) for cell in cells)
    return [b + cell if right else cell + b for cell, b in zip(cells, blanks, strict=True)]


def _width(cell: str) -> int:
    """Columns of a terminal that the text takes: wide characters two, combining ones none."""
    if cell.isascii():
        return len(cell)
    return sum(0 if combining(c) else 1 + (east_asian_width(c) in "WF") for c in cell)


def coloured(line: str, status: str, stream: TextIO) -> str:
    """`line` in the colour of `status`, if `stream` is a terminal."""
    code = _COLOURS.get(status)
    if code is None or not stream.isatty() or "NO_COLOR" in os.environ:
        return line
    return f"\033[{code}m{line}\033[0m"


def print_summary(directory: Path, metadata: Mapping[str, Any]) -> None:
    """The table at the end of training: what came out, where it is, what to type next."""
    status = str(metadata["status"])
    rows = [("run", directory.name), ("status", status)]
    rows += [(metric_label(k), metric(k, v)) for k, v in metadata["final_metrics"].items()]
    rows += [
        ("time", duration(metadata["duration_s"])),
        ("files", str(directory)),
        ("next", typed(f"make show RUN={directory}", f"adamwprune.open_run({str(directory)!r})")),
        ("", typed("make runs", f"adamwprune.open_runs({str(directory.parent)!r})")),
    ]
    lines = columns(rows)
    lines[1] = coloured(lines[1], status, sys.stdout)
    print("", *lines, sep="\n")
