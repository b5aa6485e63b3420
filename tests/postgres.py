# SPDX-License-Identifier: MIT
"""A real PostgreSQL server for as long as a test session lasts, on a free port of the loopback.

    from tests.postgres import postgres  # noqa: F401, a fixture

    def test_it(postgres):
        url = postgres.new_database()       # postgresql://user:password@127.0.0.1:port/name
        postgres.kill(); postgres.start()   # the machine of the database goes down and comes back

PostgreSQL refuses to run as root; then it runs as the user postgres or nobody. Its files are not in
pytest's folder, which other users cannot enter. Tests skip where it is not installed.
"""

import contextlib
import ctypes
import functools
import glob
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

USER = "sweeper"
_START_S = 60.0  # a busy machine takes some seconds
_PR_SET_PDEATHSIG = 1
# A commit survives `kill`, but not a power failure, after which nobody needs these databases.
_SETTINGS = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=60")


class Postgres:
    """A server with its files in `folder`, which belongs to whom it runs as."""

    def __init__(self, folder: Path) -> None:
        self._data, self._log = folder / "data", folder / "log"
        self.password = secrets.token_urlsafe(12)
        self._identity = _unprivileged(folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self.port = 0
        self._init(folder / "password")

    def url(self, database: str) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"sweeps_{next(self._numbers)}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, database: str, query: str) -> list[Any]:
        """The rows that `query` gives, each a tuple."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start it, on the port that it had, and wait until it answers."""
        for _ in range(3):  # another program may take a free port first
            self.port = self.port or _free_port()
            self._process = self._spawn()
            if self._answers():
                return
            self._end(signal.SIGQUIT)
            self.port = 0
        raise RuntimeError(f"PostgreSQL does not start:\n{self._log.read_text()[-4000:]}")

    def kill(self) -> None:
        """End it as when its machine goes down: every connection breaks at once."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it properly."""
        self._end(signal.SIGINT)

    def _init(self, password: Path) -> None:
        password.write_text(self.password)
        if "user" in self._identity:
            shutil.chown(password, self._identity["user"])
        command = [
            *(_program("initdb"), "-D", str(self._data), "--username", USER, "--encoding", "UTF8"),
            *("--auth", "scram-sha-256", "--pwfile", str(password), "--no-sync", "--no-locale"),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=password.parent, **self._identity
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _spawn(self) -> "subprocess.Popen[bytes]":
        where = (f"port={self.port}", f"unix_socket_directories={self._data.parent}")
        settings = ("listen_addresses=127.0.0.1", *where, *_SETTINGS)
        options = [word for setting in settings for word in ("-c", setting)]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [_program("postgres"), "-D", str(self._data), *options],
                stdout=log, stderr=log, cwd=self._data.parent,
                preexec_fn=_end_with_parent, **self._identity,
            )  # fmt: skip

    def _answers(self) -> bool:
        import psycopg

        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process and self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                self.execute("postgres", "SELECT 1")
                return True
            time.sleep(0.05)
        return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def running() -> Iterator[Postgres]:
    """A server that ends with the block, or with this process, however it ends."""
    with tempfile.TemporaryDirectory(prefix="adamwprune-postgres-") as folder:
        server = Postgres(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def is_installed() -> bool:
    """Whether there are the programs of a server, and somebody to run it as."""
    return all(map(_program, ("initdb", "postgres"))) and (os.geteuid() != 0 or bool(_somebody()))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    if not is_installed():
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with running() as server:
        yield server


@functools.cache
def _program(name: str) -> str:
    """The path of one of PostgreSQL's programs, the newest of them; empty without one."""
    packaged = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=_version)  # noqa: PTH207
    return packaged[-1] if packaged else shutil.which(name) or ""


def _version(path: str) -> float:
    return float(Path(path).parts[-3])


def _somebody() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), "")


def _unprivileged(folder: Path) -> dict[str, Any]:
    """How subprocess starts a program as somebody who is not root; `folder` becomes theirs."""
    if os.geteuid() != 0:
        return {}
    shutil.chown(folder, _somebody())
    return {"user": _somebody(), "group": pwd.getpwnam(_somebody()).pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _end_with_parent() -> None:
    """The server does not outlive tests that are killed (Linux)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
