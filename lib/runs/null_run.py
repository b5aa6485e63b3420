# SPDX-License-Identifier: MIT
"""The run of every rank but 0, which does nothing."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..signals import termination_raises
from .media_log import NullMediaLog


class Tracking(Protocol):
    """What forwards the journal of a run (lib/tracking/launch.py)."""

    def finish(self) -> None:
        """Wait for its end; called when the journal is closed and the lock of the run is free."""


class NullRun(NullMediaLog):
    """The run of every rank but 0: same methods, no effect; nothing can be written under `dir`."""

    dir = Path(os.devnull)
    name = id = ""

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Do nothing, as all the methods here."""

    def record(self, fields: Mapping[str, Any], step: int) -> None: ...

    def flush(self) -> None: ...

    def position(self) -> int:
        return 0

    def sync(self) -> None: ...

    def track(self, launch: Callable[..., Tracking | None]) -> None: ...

    def set_info(self, **fields: Any) -> None: ...

    def summary(self, final_metrics: Any = None, results: Any = None) -> None: ...

    def plot(self) -> None: ...

    def say(self, text: str) -> None: ...

    def print_summary(self) -> None: ...

    def end(self, status: str, error: BaseException | None = None) -> None: ...

    def __enter__(self) -> "NullRun":
        self._signals = termination_raises()
        self._signals.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.leave()

    def leave(self) -> None:
        self._signals.__exit__(None, None, None)
