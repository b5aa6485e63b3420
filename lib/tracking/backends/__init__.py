# SPDX-License-Identifier: MIT
"""One small file per tracker, all behind the interface below, loaded in the forwarder alone.

A backend gets rows in the order of the journal and has to store each of them exactly once, even if
the process is killed between any two instructions and another one continues. Either its writes are
idempotent, so that the cursor may lag a little (Trackio, MLflow); or `open` finds out how many rows
are stored already (W&B); or it truncates the tracker to the cursor (TensorBoard).
"""

import abc
import errno
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from ...config.trackers import TRACKERS
from ...runs.redact import redact
from ...text import one_line
from ..describe import Description

_FAULTS_OF_THE_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE),
    *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}


@dataclass(slots=True)
class Row:
    """A row of the journal: `index` counts them from 0; `time` is in seconds since the epoch.

    `unfit` has what no tracker can take: name of the metric or medium → reason.
    """

    index: int
    step: int
    time: float
    metrics: dict[str, float] = field(default_factory=dict)
    media: dict[str, dict[str, Any]] = field(default_factory=dict)
    unfit: dict[str, str] = field(default_factory=dict)


class Refusal(NamedTuple):
    """A value that a tracker does not get: one metric or one medium of one row, and why."""

    name: str
    step: int
    reason: str


class Refused(Exception):
    """The tracker will not take this value, however often it is tried."""


class Backend(abc.ABC):
    """What the forwarder needs from a tracker. Any method may raise; `open` then follows.

    `state` is a small dict, kept in the cursor file, that survives the process. It is written
    after `open`, `describe` and `write` have returned. `refused` collects what the tracker did not
    take of a `write`; `cut` has the facts that it holds in part or not at all, and why.
    """

    batch_rows: ClassVar[int] = 500
    where: str = ""  # what a user opens to see the run

    def __init__(self, run: Description, state: dict[str, Any]) -> None:
        self.run = run
        self.state = state
        self.refused: list[Refusal] = []
        self.cut: dict[str, str] = {}

    @abc.abstractmethod
    def open(self) -> int | None:
        """Connect, and create the run or find it again.

        Returns how many rows the tracker holds if it can tell, else None: continue at the cursor.
        """

    @abc.abstractmethod
    def describe(self, facts: Mapping[str, Any]) -> None:
        """Store what the run is: flat name → number, text or bool, and the tags, notes and
        conclusion of `run`. Called again when any of them changes; `run` has been replaced then.
        """

    @abc.abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Store the rows; once this has returned they survive the death of this process.

        A value that the tracker cannot take goes to `refuse`, and the rest of its row is stored.
        """

    @abc.abstractmethod
    def finish(self, status: str, ended: float | None) -> None:
        """Close the run as completed, failed or interrupted; `ended` is when it did, if known."""

    def abandon(self) -> None:  # noqa: B027 (optional: most have nothing to let go of)
        """Let go of everything after an error, without waiting; `open` may follow."""

    def refuse(self, row: Row, name: str, reason: object) -> None:
        """Leave the metric or medium `name` of `row` out, and have it counted."""
        self.refused.append(Refusal(name, row.step, brief(reason)))

    @contextmanager
    def encoding(self, row: Row, name: str) -> Iterator[None]:
        """For converting a value to the tracker's form: an error in the block refuses the value.

        Nothing may be stored in the block. A full disk and the like are raised nevertheless: the
        value is not their cause.
        """
        try:
            yield
        except Exception as error:  # a damaged file, a missing field: each raises its own
            if isinstance(error, OSError) and error.errno in _FAULTS_OF_THE_MACHINE:
                raise
            self.refuse(row, name, error)


def brief(reason: object) -> str:
    """An error as one line of at most 300 characters, without secrets."""
    line = one_line(reason) or type(reason).__name__
    return redact(line if len(line) <= 300 else f"{line[:300]}…")


def load(name: str) -> type[Backend]:
    """The backend class of a tracker. Raises ImportError when its package is missing."""
    return pkgutil.resolve_name(TRACKERS[name].backend)
