# SPDX-License-Identifier: MIT
"""Checkpoints of a loop of your own: killed at any moment, it goes on and ends with the same bits.

    with adamwprune.run("digits", resume=True) as run:
        checkpoints = adamwprune.Checkpoints(run, keep=3, best="val/loss")
        last = checkpoints.restore(model=model, optimizer=optimizer)
        for step in range(last.step + 1, 1001):
            …
            if step % 100 == 0:
                checkpoints.save(
                    step, model=model, optimizer=optimizer, metrics={"val/loss": loss}
                )

The files are those of the trainings of this project (lib/train/checkpoint). A thread writes them
while the loop goes on; the random number generators of Python, NumPy and PyTorch are part of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ..advice import need
from ..errors import BadUse
from ..launch_env import launch_env
from ..runs.direction import lower_is_better
from ..train.best import Best
from ..train.checkpoint import CheckpointError
from ..train.checkpoint.contents import versions
from ..train.checkpoint.find import load_newest, named, steps_on_disk
from ..train.checkpoint.find import load_state as read_state
from ..train.rng import restore_rng, rng_states
from ..train.runtime import Runtime
from ..train.saver import Saver
from .run import Run
from .state import bare, check_loadable, generators, restore_generators, state_of

_PART = "_state_dict"  # behind the name of a part


@dataclass(frozen=True)
class Restored:
    """Where the loop goes on: `step` is 0, and the others are empty, where there is no checkpoint.

    `metrics` are those of its save, `extra` the plain values given there.
    """

    step: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


class Checkpoints:
    """Those of `where`, a run or a folder.

    keep: how many of the latest stay, at least 1. every: the multiples of this step stay, too (0:
    none). best: the metric that decides which is the best; it stays, too. mode: `min` or `max`; by
    default as the name of the metric says. compress: with zstandard, which masks make worth it.

    Raises BadUse for values out of range, and where `best` does not say whether lower is better;
    Failure when compress lacks its package.
    """

    def __init__(
        self,
        where: "Run | str | Path",
        *,
        keep: int = 2,
        every: int = 0,
        best: str = "",
        mode: str = "",
        compress: bool = False,
    ) -> None:
        if keep < 1 or every < 0:
            raise BadUse(f"keep={keep}, every={every}: allowed are keep ≥ 1 and every ≥ 0")
        if compress:
            need("zstandard", "compress=True")
        if mode not in ("", "min", "max"):
            raise BadUse(f"mode={mode!r}: allowed are min and max")
        self._best = Best(best, mode or _mode_of(best), None) if best else None
        self._run = where if isinstance(where, Run) else None
        self.folder = _shared(where.dir / "checkpoints" if isinstance(where, Run) else Path(where))
        self._best_so_far: dict[str, float] = {}
        self._best_step = 0
        self._latest: int | None = None  # the step that was saved or restored last
        self._runtime = _runtime()
        if self._runtime.is_main:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._run is not None:
            self._run.at_end(self.close)
            if self._best is not None:
                self._run.set_info(checkpoint={"metric": best, "mode": self._best.mode})
        self._saver = Saver(
            self.folder,
            is_main=self._runtime.is_main,
            keep=keep, every=every, compress=compress,
            sync_journal=self._run.sync if self._run else lambda: None,
            say=self._run.say if self._run else print,
        )  # fmt: skip

    def save(
        self,
        step: int,
        *,
        metrics: Mapping[str, float] | None = None,
        extra: Mapping[str, Any] | None = None,
        **parts: Any,
    ) -> None:
        """Save the loop after `step` steps; all ranks must call.

        parts: whatever has state_dict and load_state_dict: model=…, optimizer=…, scheduler=…,
        scaler=… extra: tensors and plain values by name. metrics: for the entry of the checkpoint,
        and to find the best one.

        Copies the state and returns; what goes wrong while it is written is said once, and costs a
        checkpoint, not the training. Raises BadUse for a state that could not be loaded again, a
        sharded model, metrics without that of `best`, and a step before that of a checkpoint which
        is there and was not restored.
        """
        self._require_later(step)
        metrics = {name: float(value) for name, value in (metrics or {}).items()}
        contents = {f"{name}{_PART}": state_of(name, part) for name, part in parts.items()}
        is_best = self._is_best(metrics)
        best = (metrics, step) if is_best else (self._best_so_far, self._best_step)
        contents |= {
            "step": step,
            "metrics": metrics,
            "extra": dict(extra or {}),
            "best": {"metrics": dict(best[0]), "step": best[1]},
            "rng": rng_states(self._runtime),
            "generators": generators(self._runtime),
            "journal": {"offset": self._run.position() if self._run else 0},
            "versions": versions(),
            "world_size": self._runtime.world_size,
        }
        check_loadable(contents)
        self._best_so_far, self._best_step = best
        self._latest = step
        self._saver.save(contents, step=step, metrics=metrics, best=is_best)

    def restore(self, **parts: Any) -> Restored:
        """Load the latest checkpoint into `parts`, those that were saved; all ranks must call.

        A damaged checkpoint is named and the one before is used. The random number generators go on
        where they were. Raises BadUse when the parts are others than those that were saved,
        CheckpointError when all checkpoints are damaged, and what load_state_dict raises.
        """
        self.wait()
        if self._runtime.world_size > 1:
            dist.barrier()
        if not any(steps_on_disk(self.folder)):
            return Restored()
        say = self._run.say if self._run else print
        _, contents = load_newest(self.folder, say if self._runtime.is_main else lambda _: None)
        _check_parts(contents, parts)
        for name, part in parts.items():
            bare(part).load_state_dict(contents[f"{name}{_PART}"])
        restore_rng(contents["rng"], self._runtime)
        if self._runtime.rank < len(contents["generators"]):
            restore_generators(contents["generators"][self._runtime.rank])
        self._best_so_far = dict(contents["best"]["metrics"])
        self._best_step = contents["best"]["step"]
        self._latest = contents["step"]
        self._saver.rewind(contents["step"], self._best_step)
        return Restored(contents["step"], contents["metrics"], contents["extra"])

    def load(self, which: str | int = "best") -> dict[str, Any]:
        """The contents of "best", "last" or that of a step: `model_state_dict` and so on.

        Restores nothing. Raises CheckpointError when it is missing or damaged.
        """
        self.wait()
        if isinstance(which, int):
            found = steps_on_disk(self.folder)
            if which not in found:
                there = ", ".join(map(str, found)) or "none"
                raise CheckpointError(f"no checkpoint of step {which}; of these steps: {there}")
            return read_state(found[which])
        if which not in ("best", "last"):
            raise BadUse(f"checkpoint {which!r}: allowed are best, last and the number of a step")
        return read_state(named(self.folder, which))

    def wait(self) -> None:
        """Wait until the latest checkpoint is written."""
        self._saver.wait()

    def close(self) -> None:
        """Wait, and free the copy; the end of a run calls it."""
        self._saver.close()

    def _require_later(self, step: int) -> None:
        """Saving an earlier step removes the later ones, as is right after `restore` alone."""
        if type(step) is not int or step < 0:
            raise BadUse(f"step={step!r}: allowed are whole numbers from 0 on")
        if self._latest is None:
            self._latest = max(steps_on_disk(self.folder), default=0)
        if step < self._latest:
            raise BadUse(
                f"step {step}: {self.folder} has a checkpoint of step {self._latest}, which would "
                "be lost: call restore first, or choose another folder"
            )

    def _is_best(self, metrics: Mapping[str, float]) -> bool:
        if self._best is None or not metrics:
            return False
        if self._best.metric not in metrics:
            raise BadUse(f"metrics lack {self._best.metric}, by which the best one is chosen")
        return self._best.is_better(metrics, than=self._best_so_far)


def _mode_of(metric: str) -> str:
    lower = lower_is_better(metric)
    if lower is None:
        raise BadUse(f"best={metric!r}: add mode='min' or mode='max'; its name does not say which")
    return "min" if lower else "max"


def _runtime() -> Runtime:
    launch = launch_env()
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if launch.world_size > 1 and world == 1:
        raise BadUse(
            "there are several ranks: call torch.distributed.init_process_group before Checkpoints"
        )
    rank = dist.get_rank() if world > 1 else 0
    device = torch.device("cpu")
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        device = torch.device("cuda", torch.cuda.current_device())
    elif torch.backends.mps.is_available():
        device = torch.device("mps")
    return Runtime(device, "float32", rank, world)


def _shared(folder: Path) -> Path:
    """The folder of rank 0, whose run alone has a directory."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return folder
    known = [str(folder)]
    dist.broadcast_object_list(known)
    return Path(known[0])


def _check_parts(contents: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    saved = {key.removesuffix(_PART) for key in contents if key.endswith(_PART)}
    if saved != parts.keys():
        raise BadUse(
            f"the checkpoint has {', '.join(sorted(saved)) or 'no parts'}; given are "
            f"{', '.join(sorted(parts)) or 'none'}: to go on exactly, all of them are needed"
        )
