#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Train the tiny model: python tiny/train.py [--config PATH] [--resume auto|RUN] [flags]

A training for tests of what stands around trainings: its configuration, run directory, journal,
signals, locks and resuming are those of every model, but it needs no PyTorch and ends in a
fraction of a second. Its state is one number; a training that is resumed wrongly ends with another.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script run by its path

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from tiny.model import advance, val_loss

from lib import lock
from lib.config.settings import Settings, program_settings
from lib.errors import BadUse
from lib.files import write_atomic
from lib.launch_env import launch_env
from lib.runs.redact import redact_named
from lib.runs.run import Run, info_from_settings
from lib.runs.stored import resolve, run_of_launch
from lib.signals import Terminated

FILE = "checkpoints/tiny.json"


def begin_or_go_on(settings: Settings) -> tuple[Run, int, float]:
    """The run, the steps that it has made, and its state. Raises BadUse as every model does."""
    run_dir = found(settings)
    if run_dir is not None and not lock.is_free(run_dir / ".lock"):
        raise BadUse(f"{run_dir.name} is running: make show RUN={run_dir.name}")
    if run_dir is None or not (run_dir / FILE).exists():
        return Run.from_settings(settings, model="tiny"), 0, 0.0
    saved = json.loads((run_dir / FILE).read_text())
    changed = settings.changes(run_dir)
    run = Run.resume(
        run_dir,
        step=saved["step"],
        offset=saved["offset"],
        checkpoint=Path(FILE).name,
        changed=changed,
        files=settings.files(redact_named) if changed else {},
        info=info_from_settings(settings),
    )
    return run, saved["step"], saved["state"]


def found(settings: Settings) -> Path | None:
    """The directory of the run to go on with, None for a new one."""
    if settings.resume == "auto":
        return run_of_launch(settings.OUTPUT_DIR, launch_env().launch_id)
    return settings.resume and resolve(settings.OUTPUT_DIR, str(settings.resume))


def train(settings: Settings, run: Run, step: int, state: float) -> None:
    """From `step` to the end; a checkpoint holds the state after a step."""

    def save() -> None:
        saved = {"step": step, "state": state, "offset": run.position()}
        write_atomic(run.dir / FILE, json.dumps(saved), sync=False)

    try:
        while step < settings.MAX_STEPS:
            time.sleep(settings.TINY_STEP_MS / 1000)
            if step + 1 == settings.TINY_FAILS_AT:
                raise RuntimeError(f"step {step + 1} failed, as it was asked to")
            if 0 < settings.TINY_MEMORY < settings.BATCH_SIZE:
                raise MemoryError(f"a batch of {settings.BATCH_SIZE} needs more memory")
            step, state = step + 1, advance(state, settings.SEED, step)
            ended = step == settings.MAX_STEPS
            if ended or step % settings.EVAL_INTERVAL == 0:
                run.log({"val/loss": val_loss(state, settings.LEARNING_RATE, step)}, step)
            if ended or step % settings.CHECKPOINT_INTERVAL == 0:
                save()
    except Terminated:
        save()
        raise


def main(settings: Settings) -> None:
    started = time.monotonic()
    run, step, state = begin_or_go_on(settings)
    with run:
        run.set_info(
            model={"name": "tiny", "parameters": 1},
            dataset={"name": "none"},
            total_steps=settings.MAX_STEPS,
            device="cpu",
        )
        train(settings, run, step, state)
        took = {"final/training_time_s": time.monotonic() - started}
        run.log(took, settings.MAX_STEPS)
        run.summary(final_metrics=took)


if __name__ == "__main__":
    settings = program_settings("tiny")
    os.chdir(Path(__file__).parent.parent)  # relative paths in the settings start here
    run_main(lambda: main(settings))
