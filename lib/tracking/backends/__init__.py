# SPDX-License-Identifier: MIT
"""One small file per tracker, all behind the interface below, loaded in the forwarder alone.

A backend is given rows in the order of the journal and has to hold each of them exactly once, also
when the process is killed between any two instructions and another one goes on. Either its writes
are idempotent, and the cursor may be a little behind the truth (Trackio, MLflow); or `open` finds
out how many rows are held already (W&B); or it puts the tracker back to the cursor (TensorBoard).
"""

import abc
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lib.tracking.describe import Description

MODULES = {
    "trackio": "lib.tracking.backends.trackio:Trackio",
    "wandb": "lib.tracking.backends.wandb:Wandb",
    "mlflow": "lib.tracking.backends.mlflow:MLflow",
    "tensorboard": "lib.tracking.backends.tensorboard:TensorBoard",
}


@dataclass(slots=True)
class Row:
    """A row of the journal: `index` counts them from 0; `time` is in seconds since the epoch."""

    index: int
    step: int
    time: float
    metrics: dict[str, float] = field(default_factory=dict)
    media: dict[str, dict[str, Any]] = field(default_factory=dict)


class Refused(Exception):
    """The tracker will never take this row, however often it is tried."""


class Backend(abc.ABC):
    """What the forwarder needs from a tracker. Any method may raise; it is then opened again.

    `state` is a small dict, kept in the cursor file, that survives the process. It is written
    after `open`, `describe` and `write` have returned.
    """

    batch_rows: ClassVar[int] = 500
    where: str = ""  # what a user opens to see the run

    def __init__(self, run: Description, state: dict[str, Any]) -> None:
        self.run = run
        self.state = state

    @abc.abstractmethod
    def open(self) -> int | None:
        """Connect, and create the run or find it again.

        Returns how many rows the tracker holds if it can tell, None to go on from the cursor.
        """

    @abc.abstractmethod
    def describe(self, facts: Mapping[str, Any]) -> None:
        """Store what the run is: flat name → number, text or bool. Called again when it changes."""

    @abc.abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Store the rows; once this has returned they survive the death of this process."""

    @abc.abstractmethod
    def finish(self, status: str) -> None:
        """Close the run as completed, failed or interrupted."""

    def abandon(self) -> None:  # noqa: B027 (optional: most have nothing to let go of)
        """Let go of everything after an error, without waiting; `open` may follow."""


def load(name: str) -> type[Backend]:
    """The backend class of a tracker. Raises ImportError when its package is missing."""
    module, _, attribute = MODULES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
