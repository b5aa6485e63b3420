# SPDX-License-Identifier: MIT
"""Trainings that are stopped and killed under their launcher, and go on with the same run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks.config import copy_tree
from lib.files import ROOT
from lib.runs.journal import current_rows
from lib.runs.stored import find_runs, load_run

pytestmark = pytest.mark.slow

SETTINGS = "DEVICE=cpu NUM_THREADS=1 NUM_EPOCHS=100 EVAL_INTERVAL=1000 LOG_INTERVAL=1 PLOTS=n"


@pytest.fixture
def start(tmp_path):
    """Start a program of scripts/train in a tree of its own; variables as from make."""
    copy_tree(tmp_path)
    for folder in ("lib", "lenet5"):
        shutil.copytree(ROOT / folder, tmp_path / folder, dirs_exist_ok=True)
    (tmp_path / ".config").write_text("CONFIG_MODEL_LENET5=y\n")
    mine = ("SLURM_", "LAUNCH_", "SET", "RUN", "NPROC", "MAX_RESTARTS")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(mine)}

    def start(program="launch", **variables):
        return subprocess.Popen(
            [sys.executable, "-m", f"scripts.train.{program}"],
            cwd=tmp_path,
            env=kept | {"OMP_NUM_THREADS": "1"} | {k: str(v) for k, v in variables.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def wait_for_step(tmp_path, process, step):
    """Until index.json lists a checkpoint of that step or a later one."""
    deadline = time.monotonic() + 120
    while True:
        for path in tmp_path.glob("outputs/training/*/checkpoints/index.json"):
            if json.loads(path.read_text())["checkpoints"][-1]["step"] >= step:
                return
        assert time.monotonic() < deadline and process.poll() is None, process.stdout.read()
        time.sleep(0.02)


def the_run(tmp_path):
    """The only run there is."""
    (run,) = find_runs(tmp_path / "outputs" / "training")
    return load_run(run.dir)


def logged_steps(run):
    """The steps of the rows of training metrics that count."""
    rows = (row for row, *_ in current_rows(run.journal))
    return [row["step"] for row in rows if "train/loss" in row.get("metrics", {})]


def test_after_the_death_of_a_rank_the_launch_goes_on_with_its_run(start, tmp_path):
    words = f"{SETTINGS} MAX_STEPS=150 CHECKPOINT_INTERVAL=10"
    process = start(NPROC=2, MAX_RESTARTS=1, SET=words)
    wait_for_step(tmp_path, process, 20)
    psutil.Process(process.pid).children()[-1].kill()
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    run = the_run(tmp_path)
    assert run.status == "completed"
    (resumed,) = run.metadata["resumes"]
    assert resumed["step"] >= 20 and resumed["changed"] == {}
    assert logged_steps(run) == list(range(1, 151))


def test_a_requeued_job_goes_on_with_its_run(start, tmp_path):
    job = {"SLURM_JOB_ID": 7, "SET": f"{SETTINGS} MAX_STEPS=200 CHECKPOINT_INTERVAL=150"}
    process = start(**job)
    while not list(tmp_path.glob("outputs/training/*/logs/metrics.jsonl")):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    wait_for_step(tmp_path, process, 1)
    process.send_signal(signal.SIGUSR2)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 140, out
    assert "as SIGUSR1 asks" in out
    assert the_run(tmp_path).status == "interrupted"

    again = start(**job, SLURM_RESTART_COUNT=1)
    out, _ = again.communicate(timeout=300)
    assert again.returncode == 0, out
    run = the_run(tmp_path)
    assert (run.status, len(run.metadata["resumes"])) == ("completed", 1)
    assert logged_steps(run) == list(range(1, 201))


def test_resume_makes_a_completed_run_longer_and_divides_its_batch_anew(start, tmp_path):
    first = start(SET=f"{SETTINGS} MAX_STEPS=20 LR_SCHEDULE=constant")
    assert first.wait(timeout=120) == 0, first.stdout.read()
    name = the_run(tmp_path).name
    refused = start("resume", RUN=name)
    assert refused.wait(timeout=60) == 2
    assert f'make resume RUN={name} SET="NUM_EPOCHS=…"' in refused.stdout.read()
    longer = start("resume", RUN=name, SET="MAX_STEPS=40 BATCH_SIZE=16 GRAD_ACCUM=4")
    out, _ = longer.communicate(timeout=120)
    assert longer.returncode == 0, out
    assert "  MAX_STEPS: 20 → 40" in out
    assert "64 examples a step = 1 rank(s) × 4 micro-step(s) × 16" in out
    run = the_run(tmp_path)
    assert run.metadata["resumes"][0]["changed"] == {
        "BATCH_SIZE": [64, 16], "GRAD_ACCUM": [1, 4], "MAX_STEPS": [20, 40]
    }  # fmt: skip
    assert logged_steps(run) == list(range(1, 41))
    assert "CONFIG_MAX_STEPS=40" in (run.dir / ".config").read_text()
