# SPDX-License-Identifier: MIT
"""What a person reads about a run: numbers with units, and the table at the end of training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATUS_STYLES = {
    "running": "cyan",
    "completed": "green",
    "interrupted": "yellow",
    "failed": "red",
}


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


def print_summary(directory: Path, metadata: Mapping[str, Any]) -> None:
    """The table at the end of training: what came out, where it is, what to type next."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    status = str(metadata["status"])
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("run", Text(directory.name))
    table.add_row("status", Text(status, style=STATUS_STYLES.get(status, "")))
    for name, value in metadata["final_metrics"].items():
        table.add_row(metric_label(name), metric(name, value))
    table.add_row("time", duration(metadata["duration_s"]))
    table.add_row("files", Text(str(directory)))
    table.add_row("next", Text(f"make show RUN={directory.name}\nmake runs"))
    console = Console(highlight=False, soft_wrap=True)
    console.print()
    console.print(table)
