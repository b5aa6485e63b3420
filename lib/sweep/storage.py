# SPDX-License-Identifier: MIT
"""The database in which Optuna keeps sweeps: SQLite on one machine, PostgreSQL for several.

    url = default_storage("outputs/training")   # sqlite:///…/outputs/training/.sweeps/studies.sqlite
    database = Database(url, create=True)
    database.write(lambda connection: …)        # one transaction; whole or not at all
    redacted(url)                               # what may be shown and written

`write` begins with the write lock in SQLite (BEGIN IMMEDIATE), so that what it reads stays true
until it commits. Python's sqlite3 would begin only at the first change, after the reading: two
workers would find the same trial waiting, and both would set it running. In PostgreSQL the work
locks the row of its study first (lib/sweep/tables.py), to the same effect.

A server that is restarted meanwhile is waited for: the work is done again from its beginning.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .. import lock
from ..errors import BadUse, Failure, did_you_mean
from ..runs.redact import redact

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy import Connection, Engine

    from .rows import Storage

Result = TypeVar("Result")

FOLDER = ".sweeps"  # in OUTPUT_DIR
PATIENCE_S = 300.0  # how long a server that went away is waited for
BUSY_S = 60.0  # how long one worker waits for another one's transaction
_POLL_S = 1.0
# By default a network that drops everything is noticed after two hours.
_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
}
_FORMS = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE"


class TakenAway(Failure):
    """The trial is no longer this worker's: it was taken for dead, or the sweep was changed."""


def default_storage(output_dir: str | Path) -> str:
    """The URL of the SQLite database of all sweeps whose runs are below `output_dir`."""
    return f"sqlite:///{Path(output_dir).absolute() / FOLDER / 'studies.sqlite'}"


def redacted(url: str) -> str:
    """`url` without user, password and other secrets."""
    return redact(re.sub(r"(://)[^\s]*@", r"\1[redacted]@", url))


def normalised(url: str) -> str:
    """`url` with the driver that is used here. Raises BadUse for other databases and forms."""
    scheme, separator, rest = url.partition("://")
    name = scheme.partition("+")[0]
    if not separator or name not in _DRIVERS:
        wanted = did_you_mean(name, _DRIVERS) if separator else ""
        raise BadUse(
            f"STORAGE={redacted(url)} is not a database that is known here: {_FORMS}{wanted}"
        )
    if name == "sqlite" and not re.match(r"/[^?]", rest):
        raise BadUse(f"STORAGE={redacted(url)} names no file: {_FORMS}")
    return f"{_DRIVERS[name]}://{rest}"


class Database:
    """Optuna's storage at `url`, opened and checked.

    With `create` it is made if it does not exist; else that is an error. Raises BadUse for what
    cannot be a database of sweeps, Failure when it cannot be reached, read or written.
    """

    def __init__(self, url: str, create: bool):
        self.url = normalised(url)
        self.is_sqlite = self.url.startswith("sqlite")
        self._opened = False
        self._path = self._prepared_file(create) if self.is_sqlite else None
        self.engine: Engine = self._explained(lambda: self._open(create))
        self._opened = True

    @cached_property
    def storage(self) -> BaseStorage:
        """Optuna's own object for the database, with its cache of finished trials.

        Made when it is asked for: the check of the version takes as long as all other imports.
        """
        from optuna.storages import get_storage

        return get_storage(self._explained(self._storage))

    def write(self, work: Callable[[Connection], Result]) -> Result | None:
        """`work` in one transaction. None when an earlier try was committed after all.

        Its answer was lost with the connection then, and the trial is no longer as `work` wants it.
        """
        return self._patiently(lambda: self._transaction(work))

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """`work`, which changes nothing, on one connection."""

        def reading() -> Result:
            with self.engine.connect() as connection:
                return work(connection)

        return self._patiently(reading)

    def through_optuna(self, work: Callable[[], Result]) -> Result:
        """`work` with Optuna's own objects, which must do no harm when it is done again."""
        return self._patiently(work)

    def _transaction(self, work: Callable[[Connection], Result]) -> Result:
        with self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            result = work(connection)
            connection.commit()
            return result

    def _patiently(self, work: Callable[[], Result]) -> Result:
        deadline, again = time.monotonic() + PATIENCE_S, False
        while True:
            try:
                return self._explained(work)
            except TakenAway:
                if again:
                    return None
                raise
            except _Away as error:
                if time.monotonic() > deadline:
                    raise Failure(str(error)) from None
                if not again:
                    print(f"note: {error}; waiting for it", file=sys.stderr, flush=True)
                again = True
                _rest()

    def _explained(self, work: Callable[[], Result]) -> Result:
        """What `work` returns; errors of the database in words that help."""
        from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError

        try:
            return work()
        except UpdateFinishedTrialError as error:
            raise TakenAway(str(error)) from None
        except (StorageInternalError, SQLAlchemyError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            reason = str(getattr(cause, "orig", None) or cause).strip().partition("\n")[0]
            away = not self.is_sqlite and isinstance(cause, DBAPIError) and _is_away(cause)
            said = self._said(reason)
            if away and self._opened:
                raise _Away(said) from None
            raise Failure(said) from None

    def _said(self, reason: str) -> str:
        where = redacted(self.url)
        hidden = self._hide(reason)
        for pattern, cure in _CURES:
            if re.search(pattern, reason):
                return f"{where}: {cure.format(reason=hidden, busy=BUSY_S)}"
        return f"{where}: {hidden}"

    def _hide(self, text: str) -> str:
        from sqlalchemy import make_url

        password = make_url(self.url).password
        if password:
            text = text.replace(str(password), "[redacted]")
        return redact(text)

    def _open(self, create: bool) -> Engine:
        from sqlalchemy import create_engine

        from .tables import foreign, has_studies, made_by_this_optuna

        engine = create_engine(self.url, **self._options())
        if problem := foreign(engine, alone=self.is_sqlite):
            raise BadUse(f"{redacted(self.url)} {problem}; choose another STORAGE")
        if not made_by_this_optuna(engine):
            if not create and not has_studies(engine):
                raise BadUse(f"{redacted(self.url)} has no sweeps yet: start one with `make sweep`")
            with _alone(self.url, self._path):
                self._storage()
        return engine

    def _storage(self) -> Storage:
        """Optuna's storage, which makes missing tables and checks the version of the others."""
        from .rows import Storage

        # Optuna would put its schema's version where {SCHEMA_VERSION} stands.
        escaped = self.url.replace("{", "{{").replace("}", "}}")
        try:
            return Storage(escaped, self._options())
        except RuntimeError as error:
            raise Failure(f"{redacted(self.url)}: {self._hide(str(error))}") from None

    def _options(self) -> dict[str, Any]:
        if self.is_sqlite:
            return {"connect_args": {"timeout": BUSY_S}}
        from sqlalchemy import make_url

        # A machine that falls asleep in a transaction would hold its locks until it wakes up.
        idle = f"-c idle_in_transaction_session_timeout={1000 * BUSY_S:.0f}"
        given = str(make_url(self.url).query.get("options", ""))
        return {
            "pool_pre_ping": True,
            "connect_args": {"options": f"{given} {idle}".strip(), **_KEEPALIVE},
        }

    def _prepared_file(self, create: bool) -> Path:
        """The file of the database, which its owner alone may read."""
        path = Path(self.url.removeprefix("sqlite:///").partition("?")[0])
        if path.is_dir():
            raise BadUse(f"{path} is a directory: STORAGE=sqlite:///PATH names a file")
        if not path.exists():
            if not create:
                raise BadUse(f"{path} does not exist, so there are no sweeps yet: `make sweep`")
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            except OSError as error:
                raise Failure(f"{path}: {error.strerror}") from None
        return path


class _Away(Exception):
    """The server does not answer now."""


def _rest() -> None:
    time.sleep(_POLL_S)


def _is_away(error: object) -> bool:
    """Whether the connection was lost, or there is none to be had."""
    said = str(getattr(error, "orig", error))
    return getattr(error, "connection_invalidated", False) or bool(re.search(_UNREACHABLE, said))


_UNREACHABLE = (
    r"connection (failed|refused|timeout)|could not connect|server closed the connection|"
    r"terminating connection|the connection is (closed|lost)|(starting up|shutting down)|"
    r"consuming input failed|SSL connection|connection to server"
)
_CURES = (
    ("file is not a database", "this is not an SQLite database; choose another STORAGE"),
    ("database is locked", "another process has kept the database locked for {busy:.0f} s"),
    ("disk is full|disk I/O", "{reason}; free some space and go on with the same command"),
    ("unable to open", "{reason}: does its directory exist, and may you write there?"),
    ("readonly database", "{reason}: you may not write there"),
    ("authentication failed|no password", "{reason}: check user and password in STORAGE"),
    (r"(database|role) .* does not exist", "{reason}: `createdb` makes a database"),
    (_UNREACHABLE, "the server cannot be reached: {reason}"),
)


class _alone:
    """A `with` block for one process at a time, in which the tables are made."""

    def __init__(self, url: str, path: Path | None):
        self._url, self._path = url, path

    def __enter__(self) -> None:
        if self._path:
            file = self._path.with_name(f".{self._path.name}.lock")
            self._held = lock.hold(file, wait=BUSY_S, mode=0o600)
            return
        from sqlalchemy import create_engine, text

        self._engine = create_engine(self._url)
        self._connection = self._engine.connect()
        self._connection.execute(text("SELECT pg_advisory_lock(hashtext('adamwprune sweeps'))"))

    def __exit__(self, *_: object) -> None:
        if self._path:
            lock.release(self._held)
        else:
            self._connection.close()  # and with it the lock
            self._engine.dispose()
