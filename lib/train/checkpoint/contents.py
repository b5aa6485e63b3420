# SPDX-License-Identifier: MIT
"""What a checkpoint contains: everything that the rest of a training depends on.

    contents = collect(settings, runtime, learner, state, data, offset)     # all ranks
    restore(contents, path, runtime, learner, state)                        # all ranks

Learning rate, batches and augmentation are functions of (seed, step), so there is no state of a
schedule or a data loader: `training_state` has the step. `journal` is the length of the journal in
bytes, with all rows up to that step.
"""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch

from ...runs import metadata
from ..learner import Learner
from ..ranks import full_state, is_sharded, load_full_state, own_options
from ..rng import restore_rng, rng_states
from ..runtime import Runtime
from ..state import TrainingState
from . import sharded


def collect(
    settings: Any,
    runtime: Runtime,
    learner: Learner,
    state: TrainingState,
    data: Mapping[str, str],
    offset: int,
) -> dict[str, Any]:
    """The contents of a checkpoint: tensors, which the next step changes, and plain values.

    data: what `data_identity` returned. offset: bytes of the journal. All ranks must call; those of
    rank 0 are complete. The tensors of a sharded model are not among them (sharded.py).
    """
    model, optimizer = learner.model, learner.optimizer
    return {
        **({} if is_sharded(model) else full_state(model, optimizer)),
        **learner.average.contents(),
        **learner.loss_scale.contents(),
        "model": settings.MODEL,
        "step": state.step,
        "training_state": state.state_dict(),
        "scores": learner.pruner.histogram,  # until the next row of metrics, which reports it
        "rng": rng_states(runtime),
        "data": dict(data),
        "journal": {"offset": offset},
        "versions": versions(),
        "settings_hash": settings.science_hash,
        "precision": runtime.precision,
        "kernels": dict(runtime.kernels),
        "device": runtime.device.type,
        "world_size": runtime.world_size,
    }


def restore(
    contents: Mapping[str, Any],
    path: Path,
    runtime: Runtime,
    learner: Learner,
    state: TrainingState,
) -> None:
    """Load what `collect` returned, and the tensors of a sharded model from the directory `path`.

    Raises ValueError, KeyError, TypeError, RuntimeError or CheckpointError when they are of another
    model, optimizer or batch.
    """
    state.load_state_dict(contents["training_state"])
    with own_options(learner.optimizer):
        if is_sharded(learner.model):
            sharded.load(path, learner.model, learner.optimizer)
        else:
            load_full_state(learner.model, learner.optimizer, contents)
    learner.average.restore(contents, updates=state.step)
    learner.loss_scale.restore(contents)
    learner.pruner.histogram = contents["scores"]
    restore_rng(contents["rng"], runtime)


def versions() -> dict[str, str]:
    """What the last bits of a training depend on, apart from its settings and the processor."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "adamwprune": metadata.VERSION,
        "threads": str(torch.get_num_threads()),
    }


def data_identity(dataset: Mapping[str, Any]) -> dict[str, str]:
    """What tells one data set from another: its name and fingerprint."""
    return {name: str(dataset.get(name, "")) for name in ("name", "fingerprint")}
