# SPDX-License-Identifier: MIT
"""The runs of a directory, running ones first, then those that changed last.

    listing = Listing(Path("outputs/training"))
    listing.scan()                          # finds what is new, gone or different
    for entry in listing.entries(limit=100): print(entry.name, entry.status)

A scan looks at the times of the files and at the locks of the runs that may be in progress; what a
run says of itself is read when it is shown, and again when it has changed. So 10,000 runs are
listed at once, and cost little afterwards.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import lock
from .. import status
from ..status import UnreadableRun

_WITHOUT = ("environment", "git", "dataset", "command", "results", "notes", "tag_changes")


@dataclass(frozen=True)
class Entry:
    """A run as it was when it was looked at; `fields` are those of its metadata that are shown."""

    dir: Path
    status: str
    fields: dict[str, Any]

    @property
    def name(self) -> str:
        """Its directory's."""
        return self.dir.name

    def part(self, name: str) -> dict[str, Any]:
        """A mapping in the fields; empty when it is missing or something else."""
        found = self.fields.get(name)
        return found if isinstance(found, dict) else {}


class Listing:
    """The runs in `output_dir`, as of the latest `scan`; the run `first` is listed in any case."""

    def __init__(self, output_dir: Path, first: str = "") -> None:
        self.output_dir = output_dir
        self._first = first
        self._changed: dict[str, int] = {}  # name → when its metadata changed, in ns
        self._running: set[str] = set()
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._changed)

    @property
    def running(self) -> int:
        """How many are in progress."""
        return len(self._running)

    def scan(self) -> None:
        """Look for what is new, gone or different. A missing directory has no runs."""
        found = self._find()
        different = {name for name, at in found.items() if self._changed.get(name) != at}
        for name in self._changed.keys() - found.keys() | different | self._running:
            self._entries.pop(name, None)
        self._changed = found
        candidates = different | self._running & found.keys()
        self._running -= self._running - found.keys()
        for name in candidates:
            held = not lock.is_free(self.output_dir / name / ".lock")
            (self._running.add if held else self._running.discard)(name)
        # Without locks on this file system every lock seems held: then the status decides.
        self._running = {n for n in self._running if self.entry(n).status == "running"}

    def entries(self, limit: int) -> list[Entry]:
        """The first `limit` runs."""
        running = sorted(self._running)
        rest = (n for n in self._changed if n not in self._running)
        rest = sorted(rest, key=lambda n: (self._changed[n], n), reverse=True)
        names = [*running, *rest]
        shown = names[:limit]
        if self._first in self._changed and self._first not in shown:
            shown[-1:] = [self._first]
        return [self.entry(name) for name in shown]

    def entry(self, name: str) -> Entry:
        """The run `name`, which the latest scan found."""
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = self._read(self.output_dir / name)
        return entry

    def _read(self, directory: Path) -> Entry:
        try:
            fields = status.read(directory, _WITHOUT)
            if fields.get("status") == "running" and lock.is_free(directory / ".lock"):
                fields = status.settle(directory)
        except UnreadableRun as error:
            return Entry(directory, "unreadable", {"error": str(error)})
        return Entry(directory, str(fields.get("status")), fields)

    def _find(self) -> dict[str, int]:
        try:
            names = [e.name for e in os.scandir(self.output_dir) if not e.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return {}
        times = ((name, _changed_at(f"{self.output_dir}/{name}")) for name in names)
        return {name: at for name, at in times if at is not None}


def _changed_at(directory: str) -> int | None:
    """When the metadata of a run changed, or without any its journal; None if it is not a run."""
    for name in ("metadata.yaml", "logs/metrics.jsonl"):
        try:
            return os.stat(f"{directory}/{name}").st_mtime_ns  # noqa: PTH116, a third of the time
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:  # most likely of another user
            return 0
    return None
