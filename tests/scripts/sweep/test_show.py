# SPDX-License-Identifier: MIT
"""`make sweep-show` and `make list-sweeps`: what they say before anything was trained."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.sweep_tree import make_tree

ROOT = Path(__file__).resolve().parents[3]


def call(program, output_dir, *words, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", f"scripts.sweep.{program}", "--output-dir", output_dir, *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_grid(tmp_path):
    done = call("show", tmp_path, "digits-grid")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1:4] == [
        "grid, 18 cells: 6 configurations × 3 seeds",
        "metric: val/loss (minimize), best value",
        "set: NUM_EPOCHS=5",
    ]
    assert lines[6].split()[:6] == ["1", "LEARNING_RATE=0.0005,", "WEIGHT_DECAY=0.0", "1", "2", "3"]
    assert "time and disk: not known" in done.stdout
    assert lines[-1] == "next: make sweep SWEEP=digits-grid"
    assert not (tmp_path / ".sweeps").exists(), "nothing is made by looking"


def test_a_search(tmp_path):
    done = call("show", tmp_path, "digits-search")
    assert "tpe, at most 16 trials, seed 1\n" in done.stdout
    assert "pruner: median startup_trials=4 warmup_steps=40\n" in done.stdout
    assert "LEARNING_RATE  0.0001 … 0.1, logarithmic\n" in done.stdout
    assert "OPTIMIZER      adam adamw\n" in done.stdout


def test_what_is_refused(tmp_path):
    (tmp_path / "bad.yaml").write_text(
        "defconfig: lenet5-digits\nmetric: {name: val/loss}\naxes:\n  BATCHSIZE: [1, 2]\n"
    )
    done = call("show", tmp_path, tmp_path / "bad.yaml")
    assert done.returncode == 2
    assert f"{tmp_path}/bad.yaml:4: BATCHSIZE=1: no such symbol; did you mean" in done.stderr


def test_the_ready_ones_and_what_is_wrong_with_others(tmp_path):
    tree = make_tree(tmp_path / "tree")
    (tree.root / "sweeps" / "damaged.yaml").write_text("seeds: [")
    done = call("list", tmp_path, cwd=tree.root)
    assert done.returncode == 0
    assert "digits-grid    grid  Learning rate and weight decay" in done.stdout
    assert "damaged" in done.stdout
    assert "error: sweeps/damaged.yaml" in done.stdout
    assert "Begun" not in done.stdout


@pytest.mark.slow
def test_a_short_training_says_how_long_a_whole_one_takes(tmp_path):
    """Of 4,000 steps of 30 ms some are made."""
    tree = make_tree(tmp_path / "tree")
    tree.write_sweep(
        "slow",
        {"set": {"TINY_STEP_MS": 30, "MAX_STEPS": 4000}, "axes": {"LEARNING_RATE": [0.1, 0.2]},
         "metric": {"name": "val/loss"}},
    )  # fmt: skip
    code = "import scripts.sweep.show as s; s._REHEARSAL_S = 1.5; s.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "slow", "--trial"],
        cwd=tree.root, env=tree.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("time: about"))
    assert line.endswith(", one at a time, by a short training")
    minutes = int(line.split()[2])
    assert 4 <= minutes <= 8, "two trainings of two minutes, and what a busy machine adds"
    assert not tree.output_dir.exists()
