# SPDX-License-Identifier: MIT
"""A SQLite file that may be lost: when it cannot be used, the same is kept in memory.

    database = Database(path, schema)       # damaged or of another schema: begun anew
    database.rows("SELECT …", …)
    database.change(lambda connection: connection.execute("DELETE …"))

A change is one transaction, made under a lock beside the file: killed at any moment, the file is as
before or after it. A file that cannot be written (another user's, a read-only disk, a full one, or
locked for too long) is copied to memory and changed there. The lock also keeps a process that
begins a damaged file anew from taking it away in the middle of a change.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ... import lock

_WAIT_S = 10.0


class Database:
    """The file at `path`, or without it a database in memory.

    `schema` are the statements that make its tables, `version` their number, from 1. Everything
    raises sqlite3.DatabaseError when the file turns out to be damaged: `discard` it then.
    """

    def __init__(self, path: Path | None, schema: str, version: int) -> None:
        self._path, self._schema, self._version = path, schema, version
        self._inode = 0
        self._is_file = path is not None and self._open(path)
        if not self._is_file:
            self._to_memory(path and _read_only(path))
        elif self._has_version() != version:
            raise sqlite3.DatabaseError("of another version")

    def rows(self, sql: str, *values: Any) -> list[tuple]:
        """The result of a query. A file that is found damaged is removed for the next process."""
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            if self._is_file and self._path and "locked" not in str(error):
                discard(self._path)
            raise

    def change(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        """Call `work` in a transaction; in memory if the file cannot be written."""
        if self._is_file:
            try:
                self._change_file(work)
                return
            except (OSError, sqlite3.OperationalError):
                self._to_memory(self._connection)
        with self._connection:
            work(self._connection)

    def _change_file(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        assert self._path is not None
        with lock.held(_lock_of(self._path), wait=_WAIT_S, mode=0o600):
            if self._path.stat().st_ino != self._inode:
                raise FileNotFoundError("another process has begun it anew")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                work(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    def _open(self, path: Path) -> bool:
        """Whether the file could be opened for writing, and has its tables."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._inode, size = os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            self._connection = _connect(os.fspath(path))
            if size == 0:
                self._change_file(self._make_tables)
            return True
        except (OSError, sqlite3.OperationalError):
            return False

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        if self._has_version() == 0:  # otherwise another process was faster
            for statement in self._schema.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {self._version}")

    def _has_version(self) -> int:
        return self.rows("PRAGMA user_version")[0][0]

    def _to_memory(self, source: sqlite3.Connection | None) -> None:
        """Go on with a copy of `source`, empty if it cannot be read."""
        self._connection = _connect(":memory:")
        self._is_file = False
        if source is not None:
            with contextlib.suppress(sqlite3.Error):
                source.backup(self._connection)
        if self._has_version() != self._version:
            self._connection = _connect(":memory:")
            self._make_tables(self._connection)


def discard(path: Path) -> None:
    """Remove a file that is damaged or of another version, if that is possible."""
    with contextlib.suppress(OSError), lock.held(_lock_of(path), wait=_WAIT_S, mode=0o600):
        for name in (path.name, f"{path.name}-journal"):
            path.with_name(name).unlink(missing_ok=True)


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _connect(name: str, *, uri: bool = False) -> sqlite3.Connection:
    """In autocommit mode; the objects of a run may be used by any thread."""
    made = sqlite3.connect(
        name, uri=uri, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
    )
    made.execute("PRAGMA mmap_size = 1073741824")  # reading 10,000 entries takes half as long
    return made


def _read_only(path: Path) -> sqlite3.Connection | None:
    try:
        return _connect(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True)
    except sqlite3.Error:
        return None
