# SPDX-License-Identifier: MIT
"""What a person reads about a run: numbers with units, and the table at the end of training."""

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO


def duration(seconds: float | None) -> str:
    """ "0.4 s", "12 s", "3 min 05 s", "2 h 07 min", "3 d 04 h"."""
    if seconds is None:
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
    """A metric as its name says it is meant: accuracies in per cent, *_s as a duration."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return str(value)
    if name.endswith(("accuracy", "sparsity")):
        return f"{100 * value:.2f} %"
    return duration(value) if name.endswith("_s") and "_per_" not in name else f"{value:.5g}"


def metric_label(name: str) -> str:
    """final/best_val_loss → best val loss."""
    return name.removeprefix("final/").replace("_", " ")


def one_line(value: Any) -> str:
    """Text from elsewhere, fit for a line of a terminal: no line breaks, no control characters."""
    text = " ".join(str(value).split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Lines with the cells of `rows` in columns; those numbered in `right` are right-aligned.

    Nothing is cut to the width of the terminal, so that names can be copied and lines searched.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def status_colour(status: str, stream: TextIO) -> tuple[str, str]:
    """What to write before and after a line about a run of this status: colour on a terminal."""
    code = {"running": 36, "interrupted": 33, "failed": 31}.get(status)
    if code is None or not stream.isatty() or "NO_COLOR" in os.environ:
        return "", ""
    return f"\033[{code}m", "\033[0m"


def print_summary(directory: Path, metadata: Mapping[str, Any]) -> None:
    """The table at the end of training: what came out, where it is, what to type next."""
    status = str(metadata["status"])
    before, after = status_colour(status, sys.stdout)
    rows = [("run", directory.name), ("status", f"{before}{status}{after}")]
    rows += [(metric_label(k), metric(k, v)) for k, v in metadata["final_metrics"].items()]
    rows += [
        ("time", duration(metadata["duration_s"])),
        ("files", str(directory)),
        ("next", f"make show RUN={directory}"),
        ("", "make runs"),
    ]
    print("", *columns(rows), sep="\n")
