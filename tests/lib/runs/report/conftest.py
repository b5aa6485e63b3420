# SPDX-License-Identifier: MIT
"""Runs to report on, made in milliseconds; texts in them try to be markup."""

import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from lib.runs.run import Run
from lib.runs.stored import StoredRun, load_run

HOSTILE = '</pre></script><img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'
CONFIG = {
    "Training": {"SEED": 1, "PLOTS": True, "BATCH_SIZE": 64},
    "Optimizer": {"OPTIMIZER": "adamw", "LEARNING_RATE": 0.002},
}
DESCRIBED = {
    "description": HOSTILE,
    "hypothesis": "a smaller rate ends lower",
    "tags": ["baseline", HOSTILE],
    "notes": [{"time": "2026-01-02T03:04:05", "text": f"note {HOSTILE}"}],
    "conclusion": {"expected": "lower", "actual": "higher", "verdict": "refuted"},
    "steps_per_epoch": 20,
    "device": "cpu",
    "precision": "float32",
    "seed": 7,
    "git": {"commit": "0123abc", "branch": "main", "dirty": True},
}


def make_run(folder: Path, name: str, *, steps: int = 100, rate: float = 2e-3) -> StoredRun:
    """A completed run with curves, one NaN, and media of every kind."""
    config = {**CONFIG, "Optimizer": {**CONFIG["Optimizer"], "LEARNING_RATE": rate}}
    files = {
        "config.yaml": yaml.safe_dump(config),
        "origins.yaml": yaml.safe_dump({"LEARNING_RATE": {"value": rate, "origin": "SET"}}),
        ".config": "CONFIG_SEED=1\n",
        "git.diff": f"diff --git a/x b/x\n+{HOSTILE}\n",
    }
    with Run.create(folder, name, files=files, info=DESCRIBED) as run:
        for step in range(1, steps + 1):
            loss = math.exp(-rate * 10 * step) + 0.05 * (step % 7)
            rows = {"train/loss": loss, "lr": math.nan if step == 3 else rate, HOSTILE: 0.5}
            run.log({**rows, "perf/step_ms": 3.0, "system/cpu": 40.0}, step)
            if step % 10 == 0:
                run.log({"val/loss": abs(step - 60) / 60 + 0.1, "val/accuracy": step / steps}, step)
                run.log_text("sample", f"step {step} {HOSTILE}", step)
        log_media(run, steps)
        run.say(f"the end {HOSTILE}")
        run.summary({"final/best_val_loss": 0.1})
    return load_run(folder / name)


def log_media(run: Run, step: int) -> None:
    run.log_image("test/wrong", np.zeros((4, 6)), step, caption=HOSTILE)
    run.log_table("table", ["label", HOSTILE], [["cat", 0.25], [None, HOSTILE]], step)
    run.log_confusion_matrix("confusion", [[9, 1], [0, 5]], step, labels=["cat", HOSTILE])
    run.log_histogram("weights/conv1", np.arange(100.0), step)


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> StoredRun:
    return make_run(tmp_path_factory.mktemp("runs"), "alpha")
