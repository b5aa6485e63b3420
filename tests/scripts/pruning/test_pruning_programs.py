# SPDX-License-Identifier: MIT
"""make sparsity, export and payoff on a real run, as a user calls them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib.pruning.sparse_file import load_sparse
from lib.runs.journal import read_rows
from scripts.pruning.weights import load_weights

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow


def call(module: str, output_dir: Path, *flags: str, **variables: str):
    environment = {k: v for k, v in os.environ.items() if k not in ("RUN", "FORMAT")}
    command = [sys.executable, "-m", module, "--output-dir", str(output_dir), *flags]
    return subprocess.run(
        command, cwd=ROOT, env=environment | variables, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two short runs: `pruned`, by adamwprune, and later `dense`."""
    folder = tmp_path_factory.mktemp("runs")
    for name, *flags in (("pruned", "--optimizer", "adamwprune"), ("dense",)):
        command = [
            *(sys.executable, "lenet5/train.py", "--config", "defconfigs/lenet5-digits"),
            *("--output-dir", str(folder), "--data-dir", str(folder / "data"), "--tracker", "none"),
            *("--tracker-run-name", name, "--max-steps", "40", "--log-interval", "5", *flags),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


def test_the_run_logs_sparsity_scores_and_layers(runs):
    rows = [row for row, _ in read_rows(runs / "pruned" / "logs" / "metrics.jsonl")]
    by_step = {r["step"]: r["metrics"]["sparsity"] for r in rows if "lr" in r.get("metrics", {})}
    assert by_step[1] == 0.0 and by_step[40] == 0.5
    assert list(by_step.values()) == sorted(by_step.values())
    assert any(r.get("metrics", {}).get("final/sparsity") == 0.5 for r in rows)
    media = {name: item for r in rows for name, item in r.get("media", {}).items()}
    assert sum(media["pruning/scores"]["counts"]) > 0
    assert "pruning/layers" in media
    dense = [row for row, _ in read_rows(runs / "dense" / "logs" / "metrics.jsonl")]
    assert not any("sparsity" in r.get("metrics", {}) for r in dense)


def test_sparsity(runs):
    done = call("scripts.pruning.sparsity", runs, RUN="pruned")
    assert done.returncode == 0, done.stderr
    assert re.search(r"all prunable +30,735 +61,470 +50.00 %", done.stdout)
    assert len(done.stdout.splitlines()) == 1 + 1 + 5 + 1


@pytest.mark.parametrize("module", ["scripts.pruning.sparsity", "scripts.pruning.payoff"])
def test_a_dense_run_is_said_to_be_one(runs, module):
    done = call(module, runs)  # without RUN it is the latest
    assert done.returncode == 1 and "nothing was pruned in this run" in done.stderr


def test_export(runs, tmp_path):
    file = tmp_path / "model"
    options = ("--output", str(file))
    done = call("scripts.pruning.export", runs, *options, RUN="pruned", FORMAT="sparse")
    assert done.returncode == 0, done.stderr
    assert "61,706 values, 30,735 of them zero" in done.stdout
    weights, _ = load_weights(runs / "pruned" / "checkpoints" / "last.pt")
    found = load_sparse(file)
    assert all(torch.equal(found[name], weights[name].bfloat16()) for name in weights)


def test_export_into_the_run(runs):
    assert call("scripts.pruning.export", runs, RUN="pruned").returncode == 0
    assert (runs / "pruned" / "model.safetensors").stat().st_size > 4 * 61706


def test_unknown_format(runs):
    done = call("scripts.pruning.export", runs, FORMAT="onnx")
    assert done.returncode == 2 and "FORMAT=onnx: want dense, sparse, 2to4\n" in done.stderr


def test_a_directory_for_language_models_is_not_for_others(runs):
    done = call("scripts.pruning.export", runs, FORMAT="hf")
    assert done.returncode == 2
    assert "is of the model lenet5: want dense, sparse, 2to4\n" in done.stderr
    assert not (runs / "dense" / "hf").exists()


def test_which_checkpoint_is_checked_also_in_the_environment(runs):
    done = call("scripts.pruning.export", runs, CHECKPOINT="first")
    assert done.returncode == 2 and "CHECKPOINT=first: want last or best" in done.stderr


def test_payoff(runs):
    done = call("scripts.pruning.payoff", runs, RUN="pruned")
    assert done.returncode == 0, done.stderr
    for row in ("file in bfloat16", "memory of", "latency, batch 256", "throughput, batch 1 "):
        assert row in done.stdout
    assert "middle half" in done.stdout
    steps = [line for line in done.stderr.splitlines() if "measuring" in line]
    whats = [*(f"batch size {batch}" for batch in (1, 16, 256)), "convolutions"]
    # A convolution of so few weights may, or may not, have lost a whole filter.
    measured = whats if "convolutions that lack filters" in done.stdout else whats[:-1]
    assert steps == [f"measuring {what} …" for what in measured]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (
            "--pruning-method magnitude --pruning-unit steps --pruning-end 900",
            "pruning ends at step 900, after the end of training (800)",
        ),
        (
            "--optimizer adamwprune --pruning-unit steps --pruning-start 1 "
            "--pruning-schedule one-shot",
            "pruning by bitter7 can start at step 2, not at 1",
        ),
        (
            "--pruning-method magnitude --pruning-unit steps --pruning-start 0",
            "PRUNING_START=0.0: not a whole number of steps, 1 or more",
        ),
        ("--pruning-method magnitude --target-sparsity 1", "TARGET_SPARSITY=1: out of range"),
        ("--optimizer sgd --pruning-method state", "unmet dependency, needs !OPTIMIZER_SGD"),
    ],
)
def test_bad_input_is_refused_before_there_is_a_run(tmp_path, runs, flags, complaint):
    command = [
        *(sys.executable, "lenet5/train.py", "--config", "defconfigs/lenet5-digits"),
        *("--output-dir", str(tmp_path), "--data-dir", str(runs / "data"), "--tracker", "none"),
        *flags.split(),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and complaint in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())
