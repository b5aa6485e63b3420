# SPDX-License-Identifier: MIT
"""Runs to compare, made without training."""

import math
from unittest import mock

import pytest
import yaml

from lib.runs import metadata
from lib.runs.run import Run
from lib.runs.stored import load_run

SETTINGS = {
    "Model": {"MODEL": "net"},
    "Run": {"DESCRIPTION": "", "OUTPUT_DIR": "outputs/training"},
    "Training": {"SEED": 0, "NUM_EPOCHS": 3, "LOG_INTERVAL": 10},
    "Learning rate": {"LEARNING_RATE": 0.1},
    "Optimizer": {"OPTIMIZER": "sgd"},
    "Experiment Tracking": {"TRACKER_RUN_NAME": ""},
}

# Asking git and the machine would take most of the time; and all runs are to be of the same.
CODE = mock.patch.object(
    metadata,
    "git_state",
    return_value=({"commit": "c" * 40, "branch": "main", "dirty": False, "untracked": []}, ""),
)
MACHINE = mock.patch.object(
    metadata,
    "environment",
    return_value={"torch": "2.1", "cpu": {"model": "8086", "cores": 2}, "packages": {"numpy": "2"}},
)


def settings(**values) -> dict[str, dict]:
    """SETTINGS by menu, with `values`; a new symbol is one of the optimizer."""
    menus = {menu: dict(symbols) for menu, symbols in SETTINGS.items()}
    for name, value in values.items():
        menu = next((m for m, symbols in menus.items() if name in symbols), "Optimizer")
        menus[menu][name] = value
    return menus


def files(**values) -> dict[str, str]:
    """config.yaml, and origins.yaml with what differs from SETTINGS."""
    origins = {name: {"value": value, "origin": "SET"} for name, value in values.items()}
    return {
        "config.yaml": yaml.safe_dump(settings(**values), sort_keys=False),
        "origins.yaml": yaml.safe_dump(origins),
    }


def make(output_dir, name, *, loss=1.0, status="completed", rows=(), info=None, **values):
    """A stored run with val/loss `loss` (a number, or none with None) and the settings `values`."""
    fields = {
        "seed": values.get("SEED", 0),
        "model": {"name": "net"},
        "dataset": {"name": "digits", "fingerprint": "f00d"},
        "device": "cpu",
        "precision": "fp32",
        **(info or {}),
    }
    with MACHINE, CODE, Run.create(output_dir, name, files=files(**values), info=fields) as run:
        for step, metrics in rows:
            run.log(metrics, step)
        if loss is not None:
            run.log({"val/loss": loss, "val/accuracy": math.exp(-loss)}, 10)
    if status != "completed":
        run.set_info(status=status)
    return load_run(run.dir)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "training"
