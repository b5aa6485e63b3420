# SPDX-License-Identifier: MIT
"""A run: a directory that explains and reproduces one training, and the status of that training.

    with Run.from_settings(settings, model=settings.MODEL) as run:
        run.set_info(dataset={…}, model={…})
        run.log({"train/loss": 0.5}, step)
        run.summary(final_metrics={…})
        run.plot()
    run.print_summary()

A run that was interrupted goes on with `Run.resume(directory, step=…, offset=…)`: the same
directory, journal and identity.

Leaving the block normally makes the run completed; Ctrl-C, SIGTERM or SIGHUP (raised in the block
as lib.signals.Terminated) interrupted; any other exception failed. kill -9 leaves its status at
running but frees the lock on `.lock`: the next program to look (lib/runs/status.py) marks it
interrupted.
"""

import contextlib
import errno
import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import lock, text
from ..advice import typed
from ..errors import BadUse, Failure
from ..files import ROOT, reserve_space, sweep, write_atomic
from ..launch_env import launch_env
from ..signals import termination_raises, uninterrupted
from . import metadata
from .amend import save_but_words
from .best import with_best
from .directory import (
    RunError,
    check_name,
    check_space,
    default_name,
    make_directory,
    make_private,
    private_opener,
)
from .journal import Journal
from .media_log import MediaLog
from .null_run import NullRun, Tracking
from .plots import plot_run
from .redact import redact, redact_named
from .resumes import mend
from .status import RESERVE, clear_up, read_ended, seconds, status_lock
from .words import applied, entries, tags

FOLDERS = ("logs", "checkpoints", "plots", "media")
_LAST_MOMENT_S = 1.0  # for a process that was just killed to be gone
_OTHER_PLACE = typed("make SET='OUTPUT_DIR=…', --output-dir …", "output_dir=…")
_LONGEST_ERROR = 10_000  # characters in metadata.yaml; train.log has all of it


class Run(MediaLog):
    """A run in progress; made by `create`, `from_settings` or `resume`, used in a `with` block.

    `dir`, `name` and `id` (12 hex digits, unique) identify it; `log(metrics, step)`,
    `record(fields, step)`, `flush()`, `position()` and `sync()` are the journal's; log_image and
    its siblings are in MediaLog.
    """

    def __init__(self, directory: Path, fields: Mapping[str, Any], lock_fd: int | None) -> None:
        self.dir = directory
        self.name = directory.name
        self.id = str(fields["run_id"])
        self._lock_fd = lock_fd
        self._started, self._before_s = time.monotonic(), seconds(fields.get("duration_s"))
        self._train_log = open(  # noqa: SIM115, closed in __exit__
            directory / "logs" / "train.log", "a", encoding="utf-8", opener=private_opener
        )
        self.metadata = dict(fields)
        metadata.save(directory / "metadata.yaml", self.metadata)
        self.journal = Journal(directory / "logs" / "metrics.jsonl", warn=self.say)
        self.log = self.journal.log  # bound here, which saves a call on the hot path
        self.record = self.journal.record
        self.flush = self.journal.flush
        self.position = self.journal.position
        self.sync = self.journal.sync
        self._tracking: Tracking | None = None
        self._differs = False  # whether superseded rows were logged with other settings

    @staticmethod
    def from_settings(settings: Any, *, model: str) -> "Run | NullRun":
        """The run that the Settings of lib/config/settings.py describe. Raises as `create` does."""
        return Run.create(
            settings.OUTPUT_DIR,
            settings.TRACKER_RUN_NAME or default_name(model, settings.OPTIMIZER),
            files=settings.files(redact_named),
            info={**info_from_settings(settings), "model": {"name": model}},
        )

    @staticmethod
    def create(
        output_dir: str | Path,
        name: str,
        *,
        files: Mapping[str, str] | None = None,
        info: Mapping[str, Any] | None = None,
        code: Path = ROOT,
    ) -> "Run | NullRun":
        """Make `output_dir`/`name`, or `name`_2, _3 … when taken, with `files` (name → text) in it.

        The texts are written as they are: secrets must be gone from them. `info` replaces fields of
        metadata.yaml. `code` is the folder of the program, which git is asked about. Ranks other
        than 0 get a run that does nothing. Raises BadUse for a bad name
        or launch environment, and RunError when the directory cannot be made and filled.
        """
        if not launch_env().is_main:
            return NullRun()
        check_name(name)
        directory = lock_fd = None
        try:
            for killed in Path(output_dir).glob("*/checkpoints"):
                sweep(killed)
            directory = make_directory(Path(output_dir), name)
            lock_fd = lock.hold(directory / ".lock", mode=0o600)
            _fill(directory, files)
            fields = metadata.first_fields(directory.name, directory, code)
            run = Run(directory, {**fields, **(info or {})}, lock_fd)
        except OSError as error:
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)
            lock.release(lock_fd)
            raise RunError(
                f"cannot write a run directory in {output_dir}: {error.strerror}. Free some "
                f"space there, or choose another place: {_OTHER_PLACE}"
            ) from error
        run.journal.event("start", run_name=run.name, run_id=run.id)
        return run

    @staticmethod
    def resume(
        directory: str | Path,
        *,
        step: int,
        offset: int,
        checkpoint: str = "",
        changed: Mapping[str, Any] | None = None,
        files: Mapping[str, str] | None = None,
        info: Mapping[str, Any] | None = None,
        code: Path = ROOT,
    ) -> "Run | NullRun":
        """The run in `directory` again, in progress from `step` updates on.

        The rows of its journal from byte `offset` on, its length when the checkpoint was saved, are
        superseded. `changed` (symbol → [old, new]) and the name of the `checkpoint` are recorded,
        `files`, `info` and `code` are as for `create`. Other ranks than 0 get a run that does
        nothing.

        Whenever this is killed, the run can be resumed again: the event in the journal, which
        supersedes rows, comes last. Raises BadUse when the run is in progress, UnreadableRun
        when its metadata are damaged, and RunError when it cannot be written.
        """
        if not launch_env().is_main:
            return NullRun()
        directory = Path(directory)
        read_ended(directory)  # nothing is made where there is no run
        lock_fd = _hold(directory)
        run = None
        try:
            check_space(directory)
            clear_up(directory)
            journal = directory / "logs" / "metrics.jsonl"
            if journal.exists():
                mend(journal)
            with status_lock(directory):  # nobody marks it interrupted from here on
                old = read_ended(directory)
                attempt = metadata.attempt(step, checkpoint, changed or {}, code)
                fields = {**metadata.resumed_fields(old, attempt), **(info or {})}
                fields["tags"] = applied(tags(fields), entries(old, "tag_changes"))
                run = Run(directory, fields, lock_fd)
            _fill(directory, files)
            run._differs = bool(changed) and journal.stat().st_size > offset
            run._supersede(step, offset)
        except BaseException as error:
            if run is not None:
                run.journal.close()
                run._train_log.close()
            lock.release(lock_fd)
            if not isinstance(error, OSError):
                raise
            raise RunError(
                f"cannot go on with {directory}: {error.strerror}. Free some space there, or move "
                f"the run to another disk{typed(': make resume RUN=path/of/the/run', '')}"
            ) from error
        return run

    def _supersede(self, step: int, offset: int) -> None:
        """Append the resume event. Raises OSError when that fails, and nothing is superseded."""
        session = len(self.metadata["resumes"])
        self.journal.event("resume", step=step, offset=offset, session=session)
        self.journal.sync()
        if self.journal.refused:
            raise OSError(errno.ENOSPC, next(iter(self.journal.refused)))

    def track(self, launch: Callable[..., Tracking | None]) -> None:
        """Start tracking; leaving the `with` block waits for it, for a while.

        `launch(run_dir, say=…)` starts what forwards the journal; it returns None if there is
        nothing to do.
        """
        self._tracking = launch(self.dir, say=self.say)
        if self._tracking is not None and self._differs:
            self.say(
                "note: settings have changed, and steps that this run made before are made again; "
                "trackers keep the first values of these, the journal and the plots have the new "
                "ones (docs/tracking.md)"
            )

    def set_info(self, **fields: Any) -> None:
        """Merge `fields` into metadata.yaml; mappings are merged key by key."""
        for name, value in fields.items():
            old = self.metadata.get(name)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            self.metadata[name] = {**old, **value} if both else value
        try:
            self.metadata = save_but_words(self.dir, self.metadata, own=fields)
        except OSError as error:
            self.say(f"warning: metadata.yaml could not be updated: {error.strerror}")

    def summary(
        self,
        final_metrics: Mapping[str, Any] | None = None,
        results: Mapping[str, Any] | None = None,
    ) -> None:
        """Record what came out: `final_metrics` are scalars, `results` anything worth keeping."""
        self.set_info(final_metrics=final_metrics or {}, results=results or {})

    def plot(self) -> None:
        """Draw the curves logged so far into plots/; a full disk costs the plots, not the run.

        The same holds without Matplotlib.
        """
        try:
            plot_run(self.dir, say=self.say)
        except OSError as error:
            again = typed(f" (make plots RUN={self.dir})", "")
            self.say(f"warning: no plots: {error.strerror}{again}")
        except Failure as error:  # Matplotlib is missing
            self.say(f"warning: no plots: {error}")

    def say(self, text: str) -> None:
        """Print a message and keep it in logs/train.log, without the secrets in it."""
        with contextlib.suppress(OSError):  # nobody reads any more; training goes on
            print(redact(text), flush=True)
        self._keep(text)

    def print_summary(self) -> None:
        """Print results, paths and what to type next; for use after the `with` block."""
        text.print_summary(self.dir, self.metadata)

    def _keep(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # disk full, file closed; it was printed
            self._train_log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {redact(text)}\n")
            self._train_log.flush()

    def __enter__(self) -> "Run":
        self._signals = termination_raises()
        self._signals.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        self.end(*outcome(error))
        self.leave()

    def leave(self) -> None:
        """Take back what entering the `with` block changed; `__exit__` calls it."""
        self._signals.__exit__(None, None, None)

    def end(self, status: str, error: BaseException | None = None) -> None:
        """Record `status` and `error`, close the files, and wait for the trackers, for a while.

        For a run that is not in a `with` block, which calls it.
        """
        with uninterrupted():
            self._finish(status, error)
        if self._tracking is not None:
            self._tracking.finish()
        with contextlib.suppress(OSError):  # a full disk may not take what is buffered
            self._train_log.close()

    def _finish(self, status: str, error: BaseException | None) -> None:
        # On a full disk this makes room, first of all for the status.
        with contextlib.suppress(OSError):
            (self.dir / RESERVE).unlink(missing_ok=True)
        self.journal.event("finish", status=status)
        self.journal.close()
        lost = self.journal.refused
        ended = {
            "end_time": metadata.now(),
            "duration_s": round(self._before_s + time.monotonic() - self._started, 3),
        }
        if status != "completed":  # the program did not get to report its best
            known = with_best(self.journal.path, self.metadata)
            ended |= {name: known[name] for name in ("best", "final_metrics") if name in known}
        if error is not None:
            ended["error"] = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
        if lost:
            ended["lost_rows"] = self.metadata.get("lost_rows", 0) + lost.total()
        self.set_info(status=status, **ended)
        if error is not None:
            self._keep("".join(traceback.format_exception(error)).rstrip())
        if lost:
            reasons = "; ".join(f"{rows} × {reason}" for reason, rows in lost.items())
            self.say(f"warning: {lost.total()} rows are missing from the journal: {reasons}")
        lock.release(self._lock_fd)


def info_from_settings(settings: Any) -> dict[str, Any]:
    """The fields of metadata.yaml that the Settings of lib/config/settings.py determine."""
    return {
        "description": settings.DESCRIPTION,
        "hypothesis": settings.HYPOTHESIS,
        "science_hash": settings.science_hash,
        "seed": settings.SEED,
        "optimizer": settings.OPTIMIZER,
        "checkpoint": {"metric": settings.CHECKPOINT_METRIC, "mode": settings.CHECKPOINT_MODE},
        "tags": settings.TRACKER_TAGS.replace(",", " ").split(),
        "group": settings.TRACKER_GROUP,
        "job_type": settings.TRACKER_JOB_TYPE,
    }


def _fill(directory: Path, files: Mapping[str, str] | None) -> None:
    """Make the folders, the reserve and `files`. Raises OSError."""
    for folder in FOLDERS:
        make_private(directory / folder)
    reserve_space(directory / RESERVE)
    for file, content in (files or {}).items():
        write_atomic(directory / file, content)


def _hold(directory: Path) -> int | None:
    """The lock of a run that is not in progress. Raises BadUse, RunError."""
    try:
        return lock.hold(directory / ".lock", wait=_LAST_MOMENT_S, mode=0o600)
    except BlockingIOError:
        raise BadUse(
            f"{directory.name} is running already. Look at it: {_look_at(directory)}, or "
            f"tail -f {directory}/logs/train.log; stop it first to resume it from a checkpoint"
        ) from None
    except OSError as error:
        raise RunError(f"cannot go on with {directory}: {error.strerror}") from error


def _look_at(directory: Path) -> str:
    return typed(f"make show RUN={directory.name}", f"adamwprune.open_run({str(directory)!r})")


def outcome(error: BaseException | None) -> tuple[str, BaseException | None]:
    """(status, the error worth recording) of a block that ended with `error`."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "completed", None
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", None
    return "failed", error
