# SPDX-License-Identifier: MIT
"""Two processes on the CPU whose model is sharded, and how the launcher ends them."""

import signal
import subprocess
import time

import pytest
import torch

from lib.runs import metadata
from lib.train import checkpoint
from tests.models import ENVIRONMENT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("division", [[], ["--batch-size", "2", "--grad-accum", "2"]])
def test_a_sharded_model_trains_as_a_whole_one_does(gpt2, division):
    long = ("--max-steps", "50", "--eval-interval", "25")
    alone, two = gpt2.train(*long), gpt2.train_on_ranks(2, *long, *division, "--shard")
    for name in ("train/loss", "val/loss"):
        assert two.rows(name) == pytest.approx(alone.rows(name), abs=1e-5)
    ours, theirs = two.weights(), alone.weights()
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-5, msg=name)


def test_sigterm_to_the_launcher_ends_all_ranks_after_the_same_step(gpt2, tmp_path):
    launcher = subprocess.Popen(gpt2.command(2, "two", "--max-steps", "100000"), env=ENVIRONMENT)
    journal = tmp_path / "two" / "logs" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (journal.exists() and journal.read_text().count("\n") > 5):
        assert time.monotonic() < deadline and launcher.poll() is None
        time.sleep(0.2)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(60) != 0
    assert metadata.load(tmp_path / "two" / "metadata.yaml")["status"] == "interrupted"
    assert checkpoint.load(tmp_path / "two" / "checkpoints" / "last.pt")["step"] > 0
