# SPDX-License-Identifier: MIT
"""`make sweep LAUNCHER=slurm`: real workers as jobs of a Slurm that runs them (tests/slurm.py)."""

import re
import subprocess
import sys
import time

import pytest
import yaml

from benchmarks.sweep_tree import make_tree
from lib.files import ROOT
from lib.runs.stored import load_run
from scripts.sweep.slurm import has_password
from tests import slurm as programs
from tests.lib.sweep.test_slurm import command_lines
from tests.postgres import postgres  # noqa: F401 (a fixture)

STEPS = 60


@pytest.mark.slow
def test_two_machines_one_of_which_is_taken_away(tmp_path, postgres):  # noqa: F811
    tree, slurm = make_tree(tmp_path / "tree"), programs.install(tmp_path / "slurm")
    tree.write_sweep(
        "lr",
        {
            "set": {"TINY_STEP_MS": 20, "MAX_STEPS": STEPS},
            "metric": {"name": "val/loss"},
            "axes": {"LEARNING_RATE": [0.1, 0.2]},
            "seeds": [1, 2],
        },
    )
    variables = {"LAUNCHER": "slurm", "NODES": "2", "JOBS": "1", "TIME": "30", "PATH": slurm.path}
    storage = postgres.new_database()
    submitted = tree.popen("-m", "scripts.sweep.run", "lr", STORAGE=storage, **variables)
    assert submitted.wait(180) == 0, tree.said
    assert "submitted 1_0, 1_1; the trials are kept in postgresql://" in tree.said
    folder = tree.output_dir / ".sweeps" / "lr" / "slurm"
    deadline = time.monotonic() + 180
    while not in_progress(tree, read(folder / "1_0_0_log.out")):
        assert time.monotonic() < deadline, read(folder / "1_0_0_log.out")
        time.sleep(0.05)
    assert postgres.password not in command_lines()
    slurm.signal("1_0")
    slurm.wait("1_0")
    assert slurm.wait("1_0", restarts=1) == slurm.wait("1_1") == 0, read(folder / "1_0_0_log.out")

    runs = [load_run(path.parent) for path in tree.output_dir.glob("lr_*/metadata.yaml")]
    assert sorted((run.status, run.metadata["seed"]) for run in runs) == [
        ("completed", 1), ("completed", 1), ("completed", 2), ("completed", 2)
    ]  # fmt: skip
    assert sum(len(run.metadata.get("resumes", ())) for run in runs) == 1  # it went on, saved
    said = read(folder / "1_0_0_log.out")
    assert " goes back: " in said  # the worker may be told first, or its training
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if postgres.password.encode() in path.read_bytes()]

    again = tree.popen("-m", "scripts.sweep.run", "lr", STORAGE=storage, **variables)
    assert again.wait(180) == 0 and "lr: all trials are done" in tree.said
    assert not (slurm.folder / "2.sh").exists()


def in_progress(tree, said: str) -> bool:
    """Whether the training that a worker has said that it starts is past its first checkpoint."""
    started = re.search(r"(lr_\w+) starts: ", said)
    return bool(started) and any(tree.output_dir.glob(f"{started[1]}/checkpoints/*.json"))


def read(path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgresql://sweeper@host/sweeps", False),
        ("postgresql://host/sweeps?sslmode=require", False),
        ("sqlite:////disk/studies.sqlite", False),
        ("postgresql://sweeper:" + "hunter22@host/sweeps", True),
        ("postgresql+psycopg://sweeper:" + "%40x@host/sweeps", True),
        ("postgresql://host/sweeps?user=sweeper&password=" + "hunter22", True),
    ],
)
def test_what_must_not_be_written(url, secret):
    assert has_password(url) is secret


@pytest.mark.slow
def test_the_script_and_what_is_wrong(tmp_path):
    sweep = tmp_path / "lr.yaml"
    axes = {"LEARNING_RATE": [0.1, 0.2]}
    described = {"defconfig": "lenet5-digits", "metric": {"name": "val/loss"}, "axes": axes}
    sweep.write_text(yaml.safe_dump(described))

    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}

    def said(*words: str, **variables: str) -> str:
        done = subprocess.run(
            words or [sys.executable, "-m", "scripts.sweep.run"],
            cwd=ROOT,
            env={**environment, "SWEEP": str(sweep), **variables},
            capture_output=True,
            text=True,
        )
        assert done.returncode == (0 if words else 2), done.stderr
        return done.stdout + done.stderr

    make = ["make", "sweep", "VENV=system", f"PYTHON3={sys.executable}", f"SWEEP={sweep}"]
    asked = ["LAUNCHER=slurm", "DRY=1", "NODES=2", "TIME=2-0", "SBATCH=--gres=gpu:1 --mem=64G"]
    printed = said(*make, *asked)
    for line in ("array=0-1%2", "time=2880", "gres=gpu:1", "mem=64G", "job-name=sweep-lr"):
        assert f"#SBATCH --{line}\n" in printed
    assert "needs a database that several machines" in said(LAUNCHER="slurm", NODES="2")
    assert "LAUNCHER=pbs: there is slurm" in said(LAUNCHER="pbs")
    assert "give LAUNCHER=slurm, too" in said(DRY="1")
