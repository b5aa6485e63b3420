# SPDX-License-Identifier: MIT
"""The runs of an output directory as the index has them, brought up to date.

    catalog = open_catalog("outputs/training")
    catalog.runs()                          # IndexedRun, oldest first
    catalog.has_metric("val/loss")

Opening it looks at every run directory: an entry is used if the stamp of its run (entry.py) is the
same, and made again otherwise; a run that says it is running is asked by its lock. Entries are
written in batches, so that a process that is killed leaves those that it has made. Any number of
processes may do this at once.
"""

import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from ... import lock
from ..best import Evaluation
from ..query.fields import FIELDS, VOLATILE
from ..series import Numbers, Tally
from ..status import UnreadableRun
from ..stored_run import KEPT, StoredRun, load_run
from .database import Database, discard
from .entry import NO_RUN, Entry, examine, kept_stamp, stamp
from .reading import Mark, read_on
from .rows import SCHEMA, TALLY, VERSION, loads, number, put, value_in

NAME = ".index.sqlite"
_BATCH_S = 1.0
_MANY = 200  # runs to be read, from which on the user is told what is going on


def open_catalog(output_dir: str | Path) -> "Catalog":
    """The catalog of `output_dir`, which may be missing; never fails."""
    folder = Path(output_dir)
    path = folder / NAME if folder.is_dir() else None
    for _ in range(2):
        try:
            return Catalog(folder, Database(path, SCHEMA, VERSION))
        except (sqlite3.DatabaseError, json.JSONDecodeError):
            if path is not None:
                discard(path)
    return Catalog(folder, Database(None, SCHEMA, VERSION))


class Catalog:
    """See the module; as the runs were when it was made."""

    def __init__(self, output_dir: Path, database: Database) -> None:
        self.output_dir, self._database = output_dir, database
        self._columns: dict[tuple[str, str], dict[int, Any]] = {}
        self._settings: dict[str, dict[int, Any]] = {}
        directories, self.kept, summaries = _listing(output_dir)
        self._refresh(directories, summaries - directories)
        self._heads = self._database.rows("SELECT id, name, status, started, size, head FROM runs")

    def runs(self) -> "list[IndexedRun]":
        """All of them, the oldest first; those without a start come first."""
        made = [
            (started or 0.0, os.fsdecode(name), id_, status, size, head)
            for id_, name, status, started, size, head in self._heads
        ]
        return [IndexedRun(self, *fields) for _, *fields in sorted(made)]

    def has_metric(self, name: str) -> bool:
        """Whether any run has logged it."""
        return bool(self._database.rows("SELECT 1 FROM metrics WHERE name = ? LIMIT 1", name))

    def metrics(self) -> set[str]:
        """Every metric that a run has logged."""
        return {name for (name,) in self._database.rows("SELECT DISTINCT name FROM metrics")}

    def value(self, run: int, name: str, how: str) -> float | None:
        """What stands for a metric of a run: as `StoredRun._logged`."""
        key = (name, how)
        if key not in self._columns:
            expression = {"": "coalesce(at_best, last)"}.get(how, how)
            rows = self._database.rows(
                f"SELECT run, {expression} FROM metrics WHERE name = ?", name
            )
            self._columns[key] = dict(rows)
        found = self._columns[key].get(run)
        return None if found is None else float(found)

    def numbers(self, run: int, metadata: dict[str, Any]) -> Numbers:
        """All that a run has logged."""
        numbers = Numbers(metadata)
        rows = self._database.rows(
            f"SELECT name, {TALLY} FROM metrics WHERE run = ? ORDER BY place", run
        )
        numbers.tallies = {name: Tally(*map(number, values)) for name, *values in rows}
        best = self.json("best", run)
        numbers.best.found = Evaluation(**best) if best else None
        return numbers

    def json(self, column: str, run: int) -> Any:
        """A column of `runs` that holds JSON. Raises KeyError when the run is gone from it."""
        rows = self._database.rows(f"SELECT {column} FROM runs WHERE id = ?", run)
        if not rows:
            raise KeyError(run)
        return loads(rows[0][0])

    def setting(self, run: int, symbol: str) -> Any:
        """A setting of a run; None if it has none of this name."""
        if symbol not in self._settings:
            rows = self._database.rows("SELECT id, settings FROM runs")
            self._settings[symbol] = {id_: value_in(text, symbol) for id_, text in rows}
        return self._settings[symbol].get(run)

    # ------------------------------------------------------------------ bringing it up to date

    def _refresh(self, directories: set[str], elsewhere: set[str]) -> None:
        rows = self._database.rows("SELECT name, stamp, status, id FROM runs")
        known = {os.fsdecode(name): rest for name, *rest in rows}
        stale = list(self._stale(directories, stamp, known))
        stale += self._stale(elsewhere, kept_stamp, known)
        gone = known.keys() - directories - elsewhere
        batch: list[tuple[str, Entry | None]] = [(name, None) for name in gone]
        last = time.monotonic()
        with _progress(len(stale)) as tell:
            for number, name in enumerate(stale):
                batch.append((name, examine(self.output_dir / name, self._old(known.get(name)))))
                if time.monotonic() - last > _BATCH_S:
                    tell(number + 1)
                    self._put(batch)
                    batch, last = [], time.monotonic()
        self._put(batch)

    def _stale(self, names: Iterable[str], stamp_of: Any, known: dict[str, Any]) -> Iterator[str]:
        """The names of runs that have no entry, or have changed since."""
        folder = os.fspath(self.output_dir)
        for name in names:
            now, entry = stamp_of(f"{folder}/{name}"), known.get(name)
            if entry is None:
                if now != NO_RUN:
                    yield name
                continue
            was, status, _ = entry
            was_killed = status == "running" and lock.is_free(self.output_dir / name / ".lock")
            if now != was or now == NO_RUN or was_killed:
                yield name

    def _old(self, known: Any) -> tuple[Mark, Numbers] | None:
        """Where the journal of a run was read to, and what was found."""
        if known is None:
            return None
        values = self.json("mark", known[2])
        if values is None:
            return None
        *numbers, criterion = values
        mark = Mark(*numbers, tuple(criterion))
        old = self.numbers(known[2], {})
        old.best.criterion = mark.criterion
        return mark, old

    def _put(self, batch: list[tuple[str, Entry | None]]) -> None:
        """Write entries; None removes one."""
        if batch:
            self._database.change(lambda connection: [put(connection, *item) for item in batch])


class IndexedRun(StoredRun):
    """A StoredRun of which everything but its series comes from the index.

    If its entry has been lost meanwhile, or is found damaged, it is read from the directory.
    """

    def __init__(
        self, catalog: Catalog, name: str, id_: int, status: str, size: int, head: str
    ) -> None:
        self.__dict__.update(_catalog=catalog, _name=name, _id=id_)
        self.__dict__.update(_status=status, _size=size, _text=head)

    @cached_property
    def dir(self) -> Path:  # type: ignore[override]
        return self._catalog.output_dir / self._name

    @property
    def name(self) -> str:
        return self._name

    @property
    def status(self) -> str:
        return self._status

    @property
    def size(self) -> int:
        return self._size

    @cached_property
    def _head(self) -> dict[str, Any]:
        return loads(self._text)

    @cached_property
    def _fields(self) -> dict[str, Any]:
        return self._head["fields"]

    @cached_property
    def metadata(self) -> dict[str, Any]:  # type: ignore[override]
        """metadata.yaml, or what is known of it."""
        return self._indexed("metadata", lambda run: run.metadata)

    @cached_property
    def settings(self) -> dict[str, Any]:
        return self._indexed("settings", lambda run: run.settings)

    def setting(self, symbol: str) -> Any:
        try:
            return self._catalog.setting(self._id, symbol)
        except (ValueError, sqlite3.Error):
            return super().setting(symbol)

    @cached_property
    def changed_settings(self) -> dict[str, Any]:
        return self._indexed("changed", lambda run: run.changed_settings)

    @cached_property
    def numbers(self) -> Numbers:
        with suppress(KeyError, ValueError, sqlite3.Error):
            return self._catalog.numbers(self._id, self.metadata)
        return read_on(self.journal, self.metadata)[1]

    @property
    def kept(self) -> bool:
        return self.name in self._catalog.kept

    def part(self, name: str) -> dict[str, Any]:
        return self._head["final"] if name == "final_metrics" else super().part(name)

    def field(self, name: str) -> Any:
        if name in VOLATILE:
            return FIELDS[name].of(self)
        return self._fields.get(name)

    def started(self) -> datetime | None:
        return _time(self.field("started"))

    def ended(self) -> datetime | None:
        return _time(self.field("ended"))

    def _logged(self, name: str, how: str) -> float | None:
        if how == "mean":
            return super()._logged(name, how)
        try:
            return self._catalog.value(self._id, name, how)
        except sqlite3.Error:
            return super()._logged(name, how)

    def _indexed(self, column: str, read: Any) -> Any:
        with suppress(KeyError, ValueError, sqlite3.Error):
            return self._catalog.json(column, self._id)
        try:
            return read(load_run(self.dir))
        except UnreadableRun as error:
            return {"status": "unreadable", "error": str(error)}


def _listing(folder: Path) -> tuple[set[str], set[str], set[str]]:
    """Names: of folders, of runs with a .dvc file, of runs with a .summary.yaml file."""
    directories, kept, summaries = set(), set(), set()
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        entries = []
    for entry in entries:
        name = entry.name
        if name.startswith("."):
            continue
        if entry.is_dir():
            directories.add(name)
        elif name.endswith(".dvc"):
            kept.add(name.removesuffix(".dvc"))
        elif name.endswith(KEPT):
            summaries.add(name.removesuffix(KEPT))
    return directories, kept, summaries


def _time(seconds: float | None) -> datetime | None:
    if seconds is not None:
        with suppress(ValueError, OverflowError, OSError):  # in the year 10000
            return datetime.fromtimestamp(seconds).astimezone()
    return None


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A function that tells, on a terminal, how many of `total` runs have been read."""
    tells = total >= _MANY and sys.stderr.isatty()

    def tell(done: int) -> None:
        if tells:
            print(f"\rreading runs: {done:,} of {total:,}", end="", file=sys.stderr, flush=True)

    tell(0)
    yield tell
    if tells:
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
