# SPDX-License-Identifier: MIT
"""Two processes on the CPU whose model is sharded, and how the launcher ends them."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gpt2.export import published
from lib.runs import metadata
from lib.text import printable
from lib.train import checkpoint
from lib.train.checkpoint.find import named
from tests.killed import differences, science
from tests.models import ENVIRONMENT, ROOT, Finished, SmallModel

pytestmark = pytest.mark.slow


IN_PARTS = ["--batch-size", "2", "--grad-accum", "2", "--gpt2-activation-checkpointing", "2"]


@pytest.mark.parametrize("how", [["--shard"], [*IN_PARTS, "--shard"], IN_PARTS])
def test_a_spread_model_trains_as_a_whole_one_does(gpt2, how):
    long = ("--max-steps", "50", "--eval-interval", "25")
    alone, two = gpt2.train(*long), gpt2.train_on_ranks(2, *long, *how)
    for name in ("train/loss", "val/loss"):
        assert two.rows(name) == pytest.approx(alone.rows(name), abs=1e-5)
    ours = two.weights("step_00000050" if "--shard" in how else "last.pt")
    theirs = alone.weights()
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-5, msg=name)


STEPS = ("--max-steps", "6", "--eval-interval", "3", "--batch-size", "12", "--shard")


@pytest.fixture(scope="module")
def sharded(folder, tmp_path_factory):
    """Six steps of two ranks, with checkpoints after the third and the sixth."""
    output = tmp_path_factory.mktemp("sharded")
    return SmallModel("gpt2", folder, output).train_on_ranks(2, *STEPS)


def interrupted(run: Finished, where: Path) -> Finished:
    """A copy of a run as it was when it had made three of its six steps."""
    shutil.copytree(run.dir, where)
    shutil.rmtree(where / "checkpoints" / "step_00000006")
    path = where / "metadata.yaml"
    path.write_text(path.read_text().replace("status: completed", "status: interrupted"))
    return Finished(where)


@pytest.mark.parametrize("ranks", [2, 3, 1])
def test_a_sharded_training_goes_on_with_any_number_of_ranks(sharded, tmp_path, ranks):
    run = interrupted(sharded, tmp_path / "interrupted")
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    program = [str(ROOT / "gpt2" / "train.py"), "--resume", str(run.dir)]
    subprocess.run(
        [sys.executable, "-m", *torchrun, *program], check=True, timeout=300, env=ENVIRONMENT
    )
    assert run.metadata["status"] == "completed" and "after step 3" in run.log
    if ranks == 2:
        assert differences(science(sharded.dir), science(run.dir)) == []
    ours, theirs = run.weights("step_00000006"), sharded.weights("step_00000006")
    assert ours.keys() == theirs.keys()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_a_sharded_run_is_exported_sampled_and_begun_from(sharded, gpt2, tmp_path):
    programs = {
        "-m": ["scripts.pruning.export", "--output", str(tmp_path / "out"), str(sharded.dir)],
        "gpt2/sample.py": [str(sharded.dir), "--tokens", "12", "--checkpoint", "last"],
    }
    for program, arguments in programs.items():
        done = subprocess.run(
            [sys.executable, program, *arguments],
            check=True, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True,
        )  # fmt: skip
    sample = (sharded.dir / "media" / "sample.txt").read_text()  # of the ranks, at the end
    assert done.stdout == printable(sample) + "\n"
    best = checkpoint.load(named(sharded.dir / "checkpoints", "best"))["model_state_dict"]
    exported = published(sharded.weights("step_00000006"), {"vocab_size": 257})
    torch.testing.assert_close(load_file(tmp_path / "out"), exported, rtol=0, atol=0)
    begun = gpt2.train("--init-from", str(sharded.dir), "--learning-rate", "1e-30")
    torch.testing.assert_close(begun.weights(), best, rtol=0, atol=1e-6)
    assert begun.metadata["parent"]["checkpoint"].startswith("step_0000000")


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
