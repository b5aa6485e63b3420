# SPDX-License-Identifier: MIT
"""Small sweeps over one of the defconfigs, and processes that are killed at work on them.

Processes are forked, since all imports take seconds; nothing here imports torch.
"""

import contextlib
import functools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from lib.files import ROOT
from lib.sweep.description import Sweep, sweep_of
from lib.sweep.storage import Database
from tests.forked import in_child

_FOLDER = tempfile.TemporaryDirectory(prefix="adamwprune-tests-", ignore_cleanup_errors=True)
DEFCONFIG = (ROOT / "defconfigs" / "lenet5-digits").read_text()
GRID = {"LEARNING_RATE": ["0.1", "0.01"], "BATCH_SIZE": ["32", "64"]}
SPACE = {
    "LEARNING_RATE": {"min": "1e-5", "max": "1e-1", "log": True},
    "WEIGHT_DECAY": {"min": "0.0", "max": "1.0"},
    "BATCH_SIZE": ["32", "64", "128"],
}


def made_sweep(name: str = "some", **parts: Any) -> Sweep:
    """A grid of four cells, or what `parts`, as in the file of a sweep, make of it."""
    given = {"axes": GRID, "metric": {"name": "val/loss"}, **parts}
    return sweep_of(given, name, DEFCONFIG)


def url_in(folder: Path) -> str:
    return f"sqlite:///{folder / 'studies.sqlite'}"


def new_database(folder: Path) -> str:
    """The URL of a database in `folder` that has no study yet; Optuna takes a second to make it."""
    url = url_in(folder)
    shutil.copy(_empty_database(), folder / "studies.sqlite")
    return url


@functools.cache
def _empty_database() -> Path:
    folder = Path(_FOLDER.name)
    Database(url_in(folder), create=True)
    return folder / "studies.sqlite"


@contextlib.contextmanager
def _listening(heard: Callable[..., None]) -> Iterator[None]:
    """Call `heard` before each statement and each commit."""
    events = ("before_cursor_execute", "commit")
    for name in events:
        event.listen(Engine, name, heard)
    yield
    for name in events:
        event.remove(Engine, name, heard)


def count_statements(work: Callable[[], Any]) -> int:
    """How many statements and commits `work` takes."""
    seen = []
    with _listening(lambda *_: seen.append(1)):
        work()
    return len(seen)


def killed_at_statement(number: int, work: Callable[[], Any]) -> bool:
    """Do `work` in a process that is killed before statement or commit `number` (1…).

    Returns whether it was: False when it has ended before.
    """

    def counted() -> None:
        seen = 0

        def count(*_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

        with _listening(count):
            work()

    code = in_child(counted)
    assert code in (0, -signal.SIGKILL)
    return code != 0
