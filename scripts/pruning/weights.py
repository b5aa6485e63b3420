# SPDX-License-Identifier: MIT
"""The weights in a run's checkpoint, and the forms for others. Imports torch."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from torch import Tensor

from lib.errors import Failure
from lib.files import ROOT
from lib.train import checkpoint
from lib.train.checkpoint.weights import AVERAGE, IS_AVERAGE, trained_weights

Weights = dict[str, Tensor]


class Trained(NamedTuple):
    """Weights by name after `step` updates; masks are bool, and empty when nothing was pruned.

    averaged: the weights are their running mean.
    """

    weights: Weights
    masks: Weights
    step: int
    averaged: bool


def load_trained(path: Path) -> Trained:
    """What a checkpoint has for others. Says so when the weights are a running mean.

    Raises Failure naming `path` when it cannot be read or is another kind of file.
    """
    try:
        state = checkpoint.load(path)
        if AVERAGE in state:
            print(IS_AVERAGE, file=sys.stderr)
        return Trained(*trained_weights(state), state["step"], AVERAGE in state)
    except checkpoint.CheckpointError:
        raise
    except Failure as error:
        raise Failure(f"{path}: {error}") from error


def load_weights(path: Path) -> tuple[Weights, Weights]:
    """(weights, masks) of `load_trained`."""
    trained = load_trained(path)
    return trained.weights, trained.masks


def load_pruned_weights(path: Path) -> tuple[Weights, Weights]:
    """The same for a run that pruned. Raises Failure for one that did not."""
    weights, masks = load_weights(path)
    if not masks:
        raise Failure(f"{path}: nothing was pruned in this run (PRUNING_METHOD=none)")
    return weights, masks


def export_module(model: object) -> ModuleType | None:
    """<model>/export.py, what a model says about its forms for others; None without one.

    docs/export.md says which functions it may have.
    """
    name = str(model)
    if not name.isidentifier() or not (ROOT / name / "export.py").is_file():
        return None
    return importlib.import_module(f"{name}.export")
