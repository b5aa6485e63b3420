# SPDX-License-Identifier: MIT
"""What was tried and thrown away: OUTPUT_DIR/discarded.jsonl, one JSON object a line.

    append(output_dir, {"event": "discarded", "run_id": …})
    for entry in discarded(output_dir):         # those that were not restored
        print(entry["run_name"], entry["reason"])
    tried_before(output_dir, science_hash)      # the last with the same settings and seed, or None

Lines are only ever added, each with one write to a file that is opened for appending. git can have
the file, and should: the next one who has the idea may sit elsewhere.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ... import text
from ...files import sync_directory
from ...safe_yaml import to_plain
from .. import metadata
from ..redact import redact_tree

NAME = "discarded.jsonl"
TRASH = ".trash"


def append(output_dir: Path, entry: Mapping[str, Any]) -> None:
    """Add a line, redacted, with the time. Raises OSError."""
    plain = _finite(redact_tree(to_plain({"time": metadata.now(), **entry})))
    line = (json.dumps(plain, ensure_ascii=False) + "\n").encode()
    fd = os.open(output_dir / NAME, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":  # a full disk cut a line off
            line = b"\n" + line
        if os.write(fd, line) != len(line):
            raise OSError(28, f"the disk is full: a line of {output_dir / NAME} is cut off")
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(output_dir)


def entries(output_dir: Path, containing: str = "") -> Iterator[dict[str, Any]]:
    """The lines, oldest first; damaged ones are passed over."""
    with contextlib.suppress(FileNotFoundError), (output_dir / NAME).open("rb") as file:
        wanted = containing.encode()
        for line in file:
            with contextlib.suppress(ValueError):
                entry = json.loads(line) if wanted in line else None
                if isinstance(entry, dict):
                    yield entry


def discarded(output_dir: Path, containing: str = "") -> list[dict[str, Any]]:
    """The last line of each run whose last line is that it was discarded, oldest first.

    A program that is killed between the line and the move leaves the run where it was: that one was
    not discarded.
    """
    last: dict[Any, dict[str, Any]] = {}
    for entry in entries(output_dir, containing):
        last.pop(entry.get("run_id"), None)
        last[entry.get("run_id")] = entry
    gone = (entry for entry in last.values() if entry.get("event") == "discarded")
    return [entry for entry in gone if not _is_here(output_dir, entry)]


def tried_before(output_dir: str | Path, science_hash: str) -> dict[str, Any] | None:
    """The last run that was discarded with this hash, not restored; None without one, or an error.

    Without a ledger this is one system call.
    """
    with contextlib.suppress(OSError):
        for entry in reversed(discarded(Path(output_dir), containing=science_hash)):
            if entry.get("science_hash") == science_hash:
                return entry
    return None


def describe(entry: Mapping[str, Any]) -> str:
    """A discarded run on one line: name, day, metrics, why."""
    metrics = entry.get("final_metrics")
    numbers = metrics.items() if isinstance(metrics, dict) else ()
    best = [f"{text.metric_label(n)} {text.metric(n, v)}" for n, v in numbers if "/best_" in n]
    why = [str(entry["reason"])] if entry.get("reason") else []
    parts = [f"{entry.get('run_name')}, discarded on {str(entry.get('time'))[:10]}", *best, *why]
    return text.one_line("; ".join(parts))


def _is_here(output_dir: Path, entry: Mapping[str, Any]) -> bool:
    directory = output_dir / str(entry.get("run_name"))
    with contextlib.suppress(OSError, ValueError):
        found = metadata.load(directory / "metadata.yaml")
        return found.get("run_id") == entry.get("run_id")
    return False


def _finite(value: Any) -> Any:
    """As in a journal, NaN and the infinities are strings."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
