# SPDX-License-Identifier: MIT
"""Where a training begins: anew, with old weights (INIT_FROM), or where a run was interrupted.

    start = Start.from_settings(settings, runtime)      # all ranks
    model = start.with_weights(model)                   # those of INIT_FROM, if any
    …
    with Loop(settings, start, …) as loop:              # opens the run, restores the state

A run goes on from its newest checkpoint that is whole. `runtime` and `plan` are those of the run,
as far as this machine allows: its last bits depend on precision, kernels and micro-batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from .. import lock
from ..config.changes import BATCH
from ..errors import BadUse, Failure
from ..launch_env import launch_env
from ..runs.keep.ledger import describe, tried_before
from ..runs.keep.partial import missing
from ..runs.redact import redact_named
from ..runs.run import NullRun, Run, info_from_settings
from ..runs.stored import StoredRun, load_run, resolve, run_of_launch
from . import checkpoint
from .batch_finding import BatchPlan
from .checkpoint import CheckpointError, manifest
from .checkpoint.contents import data_identity, restore, versions
from .checkpoint.find import load_newest, load_state, named
from .checkpoint.sharded import load_plain
from .checkpoint.weights import AVERAGE, IS_AVERAGE, evaluated_weights
from .learner import Learner
from .runtime import Runtime
from .state import TrainingState

Found = tuple[Path | None, Path, dict[str, Any] | None]  # run directory, checkpoint, its contents
NOTHING: Found = None, Path(), None


class Start:
    """`run_dir` is that of the run to go on with, None for a new one.

    `runtime` is the one given, with the precision and kernels of that run; `plan` is how the batch
    was divided there, None if that has to be found.
    """

    def __init__(self, runtime: Runtime, run_dir: Path | None = None) -> None:
        self.runtime, self.run_dir = runtime, run_dir
        self.plan: BatchPlan | None = None
        self._file = Path()  # the checkpoint
        self._saved: dict[str, Any] | None = None  # its contents, until they are restored
        self._weights: Mapping[str, Any] | None = None  # of INIT_FROM, until they are loaded
        self._parent: dict[str, Any] = {}
        self._remark = ""  # for the run's log, once it is open
        self._trained: Path | None = None  # the directory of the run, once it is open

    @staticmethod
    def from_settings(settings: Any, runtime: Runtime) -> "Start":
        """What --resume and INIT_FROM ask for; all ranks must call.

        Raises BadUse when there is no such run, it is running, or it is another model's, and
        CheckpointError when none of its checkpoints can be loaded.
        """
        run_dir, file, saved = _on_main_rank(runtime, lambda: _find(settings))
        start = Start(runtime, run_dir)
        try:
            if run_dir is not None:
                start._load(settings, run_dir, file, saved or _load_on_rank(file, runtime))
            elif settings.INIT_FROM:
                start._load_parent(settings)
        except (KeyError, TypeError) as error:  # a file of ours with something else in it
            raise BadUse(
                f"{start._file} is no checkpoint of a training: {_brief(error)}"
            ) from error
        return start

    @property
    def resumes(self) -> bool:
        """Whether a run goes on."""
        return self.run_dir is not None

    def with_weights(self, model: nn.Module) -> nn.Module:
        """`model`, not spread over the ranks yet, with the weights of INIT_FROM, if that is given.

        Raises BadUse when they do not fit.
        """
        if self._weights is not None:
            try:
                model.load_state_dict(self._weights)
            except RuntimeError as error:
                reason = _brief(error)
                raise BadUse(f"INIT_FROM: {self._file} does not fit this model: {reason}") from None
            self._weights = None
        return model

    def restore(self, learner: Learner, state: TrainingState, total_steps: int) -> None:
        """Give both the state of the checkpoint, if a run goes on.

        Raises BadUse when it does not fit, or when there is no step left to train.
        """
        if self._saved is None:
            return
        saved, self._saved = self._saved, None  # its memory is free as soon as it is copied
        try:
            self._require_steps(saved["step"], total_steps)
            restore(saved, self._file, self.runtime, learner, state)
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise BadUse(
                f"{self._file} does not fit this training: {_brief(error)}. Go on with the run's "
                "own settings (make resume), or start a new run from its weights (INIT_FROM)"
            ) from error
        self._offset, self._data = saved["journal"]["offset"], saved["data"]
        was = {**saved["versions"], "ranks": saved["world_size"]}
        now = {**versions(), "ranks": self.runtime.world_size}
        changed = [f"{k} {was.get(k)} → {now[k]}" for k in now if was.get(k) != now[k]]
        if changed:
            self._remark = (
                f"note: {', '.join(changed)} since the checkpoint: numbers can differ in their "
                "last bits from those of a run that was never interrupted"
            )

    def open_run(self, settings: Any, step: int) -> Run | NullRun:
        """The run: a new one, or the one that goes on after `step` updates."""
        run = self._new_or_continued(settings, step)
        self._trained = run.dir if self.runtime.is_main else None
        return run

    def trained_run(self) -> StoredRun | None:
        """The run that was opened, as it is on the disk now; None on all ranks but the first."""
        return load_run(self._trained) if self._trained else None

    def _new_or_continued(self, settings: Any, step: int) -> Run | NullRun:
        if self.run_dir is None:
            run = Run.from_settings(settings, model=settings.MODEL)
            if found := tried_before(settings.OUTPUT_DIR, settings.science_hash):
                run.say(f"note: the same settings and seed were tried before: {describe(found)}")
            if self._parent:
                run.set_info(parent=self._parent)
            if self._remark:
                run.say(self._remark)
            return run
        changed = settings.changes(self.run_dir) if self.runtime.is_main else {}
        run = Run.resume(
            self.run_dir,
            step=step,
            offset=self._offset,
            checkpoint=self._file.name,
            changed=changed,
            files=settings.files(redact_named) if changed else {},
            info=info_from_settings(settings),
        )
        run.say(f"{run.name} goes on after step {step}, from checkpoints/{self._file.name}")
        for name, (old, new) in changed.items():
            run.say(f"  {name}: {old} → {new}")
        if self._remark:
            run.say(self._remark)
        return run

    def check_data(self, dataset: Mapping[str, Any]) -> None:
        """Raise Failure when a run would go on with other data than it began with."""
        if self.run_dir is None or (now := data_identity(dataset)) == self._data:
            return
        raise Failure(
            f"the data set has changed since the run began: it was {_named(self._data)}, now it is "
            f"{_named(now)}. Restore it, or start a new run from these weights: "
            f"make SET='INIT_FROM={self.run_dir}'"
        )

    def _load(self, settings: Any, run_dir: Path, file: Path, saved: dict[str, Any]) -> None:
        self._file, self._saved = file, saved
        if saved["model"] != settings.MODEL:
            raise BadUse(
                f"{file} is of MODEL={saved['model']}, this program trains {settings.MODEL}: "
                f"make resume RUN={run_dir.name} starts the right one"
            )
        was, runtime = saved["training_state"]["batch"], self.runtime
        self.runtime = replace(runtime, kernels=saved["kernels"])
        if settings.PRECISION == "auto":
            self.runtime = replace(self.runtime, precision=saved["precision"])
        is_alike = (
            was["world_size"] == runtime.world_size and saved["device"] == runtime.device.type
        )
        if is_alike and not BATCH & settings.changes(run_dir).keys():
            self.plan = BatchPlan(was["effective"], was["world_size"], was["micro"])

    def _load_parent(self, settings: Any) -> None:
        self._file = _checkpoint_named(settings.INIT_FROM, settings.OUTPUT_DIR)
        saved = checkpoint.load(self._file)
        self._weights = evaluated_weights(saved)
        self._parent = {"checkpoint": self._file.name, "step": saved["step"]}
        if AVERAGE in saved:
            self._parent["average"] = True
            self._remark = f"INIT_FROM: {IS_AVERAGE}"
        run_dir = self._file.parent.parent
        if (run_dir / "metadata.yaml").is_file():
            run = load_run(run_dir)
            self._parent |= {"run": run.name, "run_id": run.metadata.get("run_id")}

    def _require_steps(self, step: int, total_steps: int) -> None:
        assert self.run_dir is not None
        name = self.run_dir.name
        is_complete = step == total_steps and load_run(self.run_dir).status == "completed"
        if step > total_steps or is_complete:
            raise BadUse(
                f"{name} has made {step} steps, of {total_steps}: nothing is left to train. For "
                f"more: make resume RUN={name} SET='NUM_EPOCHS=…' (or MAX_STEPS=…)"
            )


# ---------------------------------------------------------------- what to go on with


def _on_main_rank(runtime: Runtime, find: Callable[[], Found]) -> Found:
    """What rank 0 finds or raises, on all ranks; the contents of the checkpoint on rank 0 alone."""
    found, error = NOTHING, None
    if runtime.is_main:
        try:
            found = find()
        except Failure as failure:
            error = failure
    if runtime.world_size > 1:
        told = [found[0], found[1], error]
        dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
        found, error = (told[0], told[1], found[2]), told[2]
    if error is not None:
        raise error
    return found


def _find(settings: Any) -> Found:
    given = settings.resume
    if given is None:
        return NOTHING
    file = None
    if given == "auto":
        run_dir = run_of_launch(settings.OUTPUT_DIR, launch_env().launch_id)
        if run_dir is None:
            return NOTHING
    else:
        run_dir, file = _run_and_file(Path(given), settings.OUTPUT_DIR)
    if not lock.is_free(run_dir / ".lock"):
        raise BadUse(f"{run_dir.name} is running: make show RUN={run_dir.name}")
    if said := missing(run_dir):
        raise BadUse(said)
    if file is not None:
        return run_dir, file, load_state(file)
    try:
        return run_dir, *load_newest(run_dir / "checkpoints", print)
    except CheckpointError:
        if given != "auto":
            raise
        return NOTHING  # the run ended before its first checkpoint: begin anew


def _run_and_file(given: Path, output_dir: str) -> tuple[Path, Path | None]:
    """The run that --resume names, by itself or by one of its checkpoints."""
    if given.parent.name == "checkpoints" and given.exists():
        return given.parent.parent, given
    return resolve(output_dir, str(given)), None


def _checkpoint_named(given: str, output_dir: str) -> Path:
    """The checkpoint that INIT_FROM names: by its path, or the best one of a run."""
    path = Path(given)
    if path.is_file() or (path / manifest.NAME).is_file():
        return path
    folder = resolve(output_dir, given) / "checkpoints"
    best = named(folder, "best")
    return best if best.exists() else load_newest(folder, print)[0]


def _load_on_rank(file: Path, runtime: Runtime) -> dict[str, Any]:
    if not file.exists():
        raise Failure(
            f"rank {runtime.rank} does not see {file}, which rank 0 found: OUTPUT_DIR must be on a "
            "file system that all machines share"
        )
    return load_plain(file) if file.is_dir() else checkpoint.load(file)


def _named(data: Mapping[str, str]) -> str:
    return f"{data['name']} ({data['fingerprint'][:16]})"


def _brief(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    what = "; ".join(lines[:3])
    return f"it lacks {what}" if isinstance(error, KeyError) else what
