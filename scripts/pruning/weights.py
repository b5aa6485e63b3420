# SPDX-License-Identifier: MIT
"""The weights in a run's checkpoint, and the forms for others. Imports torch."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from torch import Tensor

from lib.errors import Failure
from lib.files import ROOT
from lib.runs.stored import load_run
from lib.train import checkpoint
from lib.train.checkpoint.weights import AVERAGE, IS_AVERAGE, trained_weights

Weights = dict[str, Tensor]


def load_weights(path: Path) -> tuple[Weights, Weights]:
    """(weights, masks) by name; the masks are bool, and empty when nothing was pruned.

    Says so when the weights are a running mean. Raises Failure naming `path` when it cannot be read
    or is another kind of file.
    """
    try:
        state = checkpoint.load(path)
        if AVERAGE in state:
            print(IS_AVERAGE, file=sys.stderr)
        return trained_weights(state)
    except checkpoint.CheckpointError:
        raise
    except Failure as error:
        raise Failure(f"{path}: {error}") from error


def load_pruned_weights(path: Path) -> tuple[Weights, Weights]:
    """The same for a run that pruned. Raises Failure for one that did not."""
    weights, masks = load_weights(path)
    if not masks:
        raise Failure(f"{path}: nothing was pruned in this run (PRUNING_METHOD=none)")
    return weights, masks


def published(run_dir: Path, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights in the form in which others publish and expect this model.

    A model whose own form differs has a function `published` in its export.py: (weights, the
    `model` part of metadata.yaml) → weights. Without one they stay as they are.
    """
    model = load_run(run_dir).part("model")
    form = getattr(export_module(model.get("name")), "published", None)
    return form(weights, model) if form else weights


def export_module(model: object) -> ModuleType | None:
    """<model>/export.py, what a model says about its forms for others; None without one."""
    name = str(model)
    if not name.isidentifier() or not (ROOT / name / "export.py").is_file():
        return None
    return importlib.import_module(f"{name}.export")
