# SPDX-License-Identifier: MIT
"""Saves the checkpoints of a training; a full disk costs a checkpoint and not the training.

saver = Saver(run, runtime, model, optimizer, settings.science_hash)
saver.save("last.pt", state)
saver.require_saved()               # at the end
"""

from typing import Any

import torch
from torch import nn

from lib.train import checkpoint
from lib.train.checkpoint import CheckpointError
from lib.train.ranks import full_state
from lib.train.runtime import Runtime
from lib.train.state import TrainingState


class Saver:
    """Writes into the run's checkpoints folder, on rank 0."""

    def __init__(
        self,
        run: Any,
        runtime: Runtime,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        settings_hash: str,
    ) -> None:
        self._run, self._runtime = run, runtime
        self._model, self._optimizer = model, optimizer
        self._settings_hash = settings_hash
        self._unsaved: dict[str, tuple[int, CheckpointError]] = {}  # by name: step, reason

    def save(self, name: str, state: TrainingState) -> None:
        """Write the checkpoint `name`. All ranks must call, since a sharded model is gathered.

        When it cannot be written the previous file of that name stays; the run says so, once until
        it can be written again.
        """
        contents = full_state(self._model, self._optimizer)
        if not self._runtime.is_main:
            return
        contents |= {
            "step": state.step,
            "training_state": state.state_dict(),
            "settings_hash": self._settings_hash,
        }
        try:
            checkpoint.save(self._run.dir / "checkpoints" / name, contents)
        except CheckpointError as error:
            if name not in self._unsaved:
                self._run.say(
                    f"warning: no checkpoint of step {state.step}, training goes on: {error}"
                )
            self._unsaved[name] = state.step, error
        else:
            self._unsaved.pop(name, None)

    def has_saved(self, name: str) -> bool:
        """Whether the latest attempt to save `name` succeeded."""
        return name not in self._unsaved and (self._run.dir / "checkpoints" / name).is_file()

    def require_saved(self) -> None:
        """Raise CheckpointError if a checkpoint's latest state could not be written."""
        if self._unsaved:
            lacking = [f"{name} lacks step {step}" for name, (step, _) in self._unsaved.items()]
            error = next(iter(self._unsaved.values()))[1]
            raise CheckpointError(f"{', '.join(sorted(lacking))}: {error}") from error
