# SPDX-License-Identifier: MIT
"""Two processes on the CPU, as torchrun starts them, against one: the same training."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lib.runs import metadata
from lib.runs.journal import read_rows
from lib.train import checkpoint

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.slow
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def command(ranks: int, *flags: str) -> list[str]:
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return [*launcher, str(ROOT / "gpt2" / "train.py"), *flags]


@pytest.fixture(scope="module")
def flags(small, tmp_path_factory) -> list[str]:
    config = tmp_path_factory.mktemp("config") / "config"
    config.write_text("CONFIG_MODEL_GPT2=y\n")
    return ["--config", str(config), *small, "--max-steps", "50", "--eval-interval", "25"]


@pytest.fixture(scope="module")
def alone(flags, tmp_path_factory) -> Path:
    """Fifty steps of eight sequences by one process."""
    folder = tmp_path_factory.mktemp("alone")
    batch = ["--batch-size", "8", "--output-dir", str(folder), "--tracker-run-name", "alone"]
    subprocess.run(command(1, *flags, *batch), check=True, env=ENVIRONMENT, timeout=300)
    return folder / "alone"


def losses(run: Path) -> list[float]:
    rows = [
        row["metrics"] for row, _ in read_rows(run / "logs" / "metrics.jsonl") if "metrics" in row
    ]
    return [row[name] for row in rows for name in ("train/loss", "val/loss") if name in row]


# Replicated with and without accumulation; sharded; sharded with accumulation.
@pytest.mark.parametrize(
    "division",
    [
        ["--batch-size", "8"],
        ["--batch-size", "4", "--grad-accum", "2"],
        ["--batch-size", "8", "--shard"],
        ["--batch-size", "4", "--grad-accum", "2", "--shard"],
    ],
    ids=["replicated", "accumulated", "sharded", "sharded-accumulated"],
)
def test_two_ranks_train_as_one_does(division, alone, flags, tmp_path):
    output = ["--output-dir", str(tmp_path), "--tracker-run-name", "two"]
    subprocess.run(command(2, *flags, *division, *output), check=True, env=ENVIRONMENT, timeout=300)
    assert [path.name for path in tmp_path.iterdir()] == ["two"], "one run, one directory"
    assert metadata.load(tmp_path / "two" / "metadata.yaml")["batch"]["world_size"] == 2
    found, expected = losses(tmp_path / "two"), losses(alone)
    assert len(found) == len(expected) == 52
    assert found == pytest.approx(expected, abs=1e-5)
    ours, theirs = (
        checkpoint.load(run / "checkpoints" / "last.pt")["model_state_dict"]
        for run in (tmp_path / "two", alone)
    )
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-5, msg=name)


def test_sigterm_to_the_launcher_ends_all_ranks_after_the_same_step(flags, tmp_path):
    output = ["--output-dir", str(tmp_path), "--tracker-run-name", "two", "--max-steps", "100000"]
    launcher = subprocess.Popen(command(2, *flags, *output), env=ENVIRONMENT)
    journal = tmp_path / "two" / "logs" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (journal.exists() and journal.read_text().count("\n") > 5):
        assert time.monotonic() < deadline and launcher.poll() is None
        time.sleep(0.2)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(60) != 0
    assert metadata.load(tmp_path / "two" / "metadata.yaml")["status"] == "interrupted"
    assert checkpoint.load(tmp_path / "two" / "checkpoints" / "last.pt")["step"] > 0
