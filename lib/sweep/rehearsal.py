# SPDX-License-Identifier: MIT
"""A short training of a cell, to learn what a whole one will take.

    past = rehearse(cell, shapes, slot, seconds=20)

It starts as in a sweep, in a directory of its own and without trackers, and is stopped after so
many seconds of steps. Nothing of it is kept.
"""

import signal
import tempfile
import threading
import time
from pathlib import Path

from ..errors import Failure
from ..files import write_atomic
from ..signals import termination_raises
from .cells import Cell
from .estimate import Past, Shapes
from .slots import Slot
from .training import Order, Training

_LOOK_S = 0.1
_LONGEST_START_S = 600.0  # until the first step: reading the data, compiling
_LONGEST_END_S = 120.0  # saving


def rehearse(cell: Cell, shapes: Shapes, slot: Slot, seconds: float) -> Past:
    """What a whole training of `cell` would take, from one that makes steps for so many seconds.

    Evaluations that fall into the time are part of it. Raises Failure when it does not train.
    """
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder, termination_raises():
        config = Path(folder) / "cell.config"
        write_atomic(config, cell.config_text, sync=False)
        order = Order(
            program=f"{shapes.model(cell.config_text)}/train.py",
            config=config,
            launch_id=f"rehearsal-{cell.key}",
            run_name="rehearsal",
            output_dir=Path(folder) / "runs",
            log=Path(folder) / "log.txt",
            metric="",
            flags=("--tracker", "none"),
        )
        training, ended = Training(order, slot), threading.Event()
        training.start(lambda _: ended.set())
        try:
            took = _whole(training, ended, seconds)
        finally:
            training.stop(signal.SIGTERM, "it was tried for a moment")
            if not ended.wait(_LONGEST_END_S):
                training.stop(signal.SIGKILL, "")
                ended.wait()
        outcome = training.outcome()
        if took is None or training.run is None:
            reason = outcome.reason or "it ended before its first steps"
            raise Failure(f"{cell.label} does not train: {reason}")
        return Past(shapes.of(cell.config_text), took, training.run.size)


def _whole(training: Training, ended: threading.Event, seconds: float) -> float | None:
    """Seconds of the whole training: what comes before the first row, and all steps at its pace.

    None if it made too few steps to say.
    """
    began, first = time.monotonic(), None
    while not ended.wait(_LOOK_S):
        training.look()
        follower, now = training.follower, time.monotonic()
        if follower is not None and follower.step and first is None:
            first = now
        if now - (first or began) > (seconds if first else _LONGEST_START_S):
            break
    training.look()
    follower = training.follower
    if follower is None or first is None:
        return None
    if ended.is_set() and training.outcome().kind == "completed":
        return time.monotonic() - began
    pace = follower.steps_per_s()
    return first - began + follower.total / pace if pace and follower.total else None
