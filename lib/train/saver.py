# SPDX-License-Identifier: MIT
"""Saves the checkpoints of a training while it goes on.

    saver = Saver(run.dir / "checkpoints", is_main=True, keep=2, every=0, compress=False,
                  sync_journal=run.sync, say=run.say)
    saver.save(contents, step=120, metrics={"val/loss": 0.5}, best=True)
    saver.poll()                        # at each step: says what went wrong, if anything did
    saver.require_saved()               # at the end
    saver.close()

`save` copies the state and returns; a thread writes the copy. A full disk costs a checkpoint and
not the training.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from .checkpoint import CheckpointError
from .checkpoint.find import BEST, LAST, named
from .checkpoint.snapshot import Snapshot
from .checkpoint.writer import Untidy, Writer

_NICE = 10  # training goes first where the cores are all busy


class Saver:
    """Writes into `folder` on the main rank; on the others its methods do nothing.

    keep, every, compress: CHECKPOINT_KEEP, CHECKPOINT_EVERY, CHECKPOINT_COMPRESS. sync_journal is
    called in the writing thread, before the checkpoint gets its name: a checkpoint never knows of
    rows that the journal lacks. `say` is called in the training's thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        is_main: bool,
        keep: int,
        every: int,
        compress: bool,
        sync_journal: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._is_main, self._say, self._sync_journal = is_main, say, sync_journal
        self._writer = Writer(folder, keep=keep, every=every, compress=compress)
        self._snapshot = Snapshot()
        self._thread = ThreadPoolExecutor(1, "checkpoint", initializer=_yield_the_cores)
        self._job: Future[None] | None = None
        self._job_saves: tuple[int, tuple[str, ...]] = 0, ()  # step, names
        self._job_write: Callable[[], None] = lambda: None
        self._lost_best: Callable[[], None] | None = None  # writes the best state, whose copy waits
        self._unsaved: dict[str, tuple[int, CheckpointError]] = {}  # by name: step, reason
        self._said: set[str] = set()  # what went wrong, until it goes right

    def save(
        self, contents: Mapping[str, Any], *, step: int, metrics: Mapping[str, float], best: bool
    ) -> None:
        """Take a copy of `contents`, to be written as the checkpoint after `step` updates.

        It becomes last.pt, and with `best` also best.pt. Waits for the one before if that is still
        being written. When it cannot be written, the run says so, once until it can be again.

        The best state that could not be written is tried again first, and no later one is written
        before it: a training that went on from a later one could never write it.
        """
        if not self._is_main:
            return
        self.wait()
        if self._lost_best is not None and not best and not self._saves_lost_best():
            self._unsaved[LAST] = step, self._unsaved[BEST][1]
            return
        self._lost_best = None
        taken = self._snapshot.take(contents)
        write = partial(
            self._writer.write, taken, step=step, metrics=dict(metrics), best=best,
            nbytes=self._snapshot.nbytes,
        )  # fmt: skip
        self._begin(write, step, (LAST, BEST) if best else (LAST,))

    def _begin(self, write: Callable[[], None], step: int, names: tuple[str, ...]) -> None:
        self._job_saves, self._job_write = (step, names), write
        self._job = self._thread.submit(self._work, write)

    def _saves_lost_best(self) -> bool:
        """Try again to write the best state; returns whether it is safe now."""
        assert self._lost_best is not None
        self._begin(self._lost_best, self._unsaved[BEST][0], (LAST, BEST))
        self.wait()
        return BEST not in self._unsaved

    def rewind(self, step: int, best_step: int) -> None:
        """Go on from the checkpoint of `step`: remove those of later steps.

        best.pt becomes that of `best_step`, where that is still there.
        """
        if not self._is_main:
            return
        try:
            self._writer.rewind(step, best_step)
        except (OSError, CheckpointError) as error:  # the next checkpoint tries again
            self._say(f"warning: checkpoints after step {step} were not removed: {error}")

    def poll(self) -> None:
        """Say what went wrong with the latest checkpoint, if it is done; takes a microsecond."""
        if not self.is_writing():
            self.wait()

    def is_writing(self) -> bool:
        """Whether the latest checkpoint is being written."""
        return self._job is not None and not self._job.done()

    def wait(self) -> None:
        """Wait until the latest checkpoint is written, and say if it was not."""
        if self._job is None:
            return
        (step, names), job = self._job_saves, self._job
        try:
            job.result()
        except CheckpointError as error:
            self._unsaved |= dict.fromkeys(names, (step, error))
            self._lost_best = self._job_write if BEST in names else None
            self._warn("unsaved", f"no checkpoint of step {step}, training goes on: {error}")
            return
        except Untidy as error:
            self._warn("untidy", str(error))
        else:
            self._said.clear()
        finally:
            if job.done():  # an interruption of this wait does not end it
                self._job = None
        for name in names:
            self._unsaved.pop(name, None)

    def has_saved_best(self) -> bool:
        """Whether best.pt is there, and the latest attempt to save it succeeded."""
        self.wait()
        return self._is_main and BEST not in self._unsaved and (self._writer.path / BEST).is_file()

    def has_saved_last(self) -> bool:
        """Whether there is a checkpoint, and the latest attempt to save one succeeded."""
        self.wait()
        if not self._is_main or LAST in self._unsaved:
            return False
        return named(self._writer.path, "last").exists()

    def require_saved(self) -> None:
        """Wait; raise CheckpointError if the latest state, or the best one, was not written."""
        self.wait()
        if self._unsaved:
            lacking = [f"{name} lacks step {step}" for name, (step, _) in self._unsaved.items()]
            error = next(iter(self._unsaved.values()))[1]
            raise CheckpointError(f"{', '.join(sorted(lacking))}: {error}") from error

    def close(self) -> None:
        """Wait, say what went wrong, and free the copy. Raises nothing."""
        try:
            self.wait()
        except Exception as error:  # the training may be ending with an error of its own
            self._say(f"warning: the latest checkpoint was not written: {error}")
        self._thread.shutdown()
        self._snapshot = Snapshot()

    def _work(self, write: Callable[[], None]) -> None:
        """In the thread."""
        self._snapshot.wait()
        try:
            self._sync_journal()
        except OSError as error:
            raise CheckpointError(f"cannot write the journal: {error.strerror}") from error
        write()

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._say(f"warning: {text}")
        self._said.add(kind)


def _yield_the_cores() -> None:
    """Run the calling thread after those that compute, where a thread has its own priority."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
