# SPDX-License-Identifier: MIT
"""Training in this process: what a run leaves, running out of memory, the ends, bad input."""

import itertools
import math

import pytest
import torch

from gpt2 import train as program
from gpt2.model import GPT
from lib.config.settings import load_settings
from lib.data.text.shards import DataError
from lib.errors import BadUse, Failure
from lib.runs import metadata
from lib.runs.journal import read_rows
from lib.train import checkpoint
from lib.train.guard import Diverged


@pytest.fixture(autouse=True)
def _restore_pytorch():
    """Training makes PyTorch deterministic for the process; other tests shall not depend on it."""
    threads, deterministic = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def run(small, tmp_path, monkeypatch):
    """Train with some flags; gives the run's directory and its rows of metrics."""
    monkeypatch.setattr("lib.config.settings.store.CONFIG_PY", tmp_path / "no-config.py")
    numbers = itertools.count(1)

    def train(*flags: str):
        name = f"run-{next(numbers)}"
        output = ["--output-dir", str(tmp_path), "--tracker-run-name", name]
        program.main(load_settings("gpt2", [*small, *output, *flags]))
        return tmp_path / name, metrics_of(tmp_path / name)

    return train


def metrics_of(directory) -> list[dict]:
    rows = (row for row, _ in read_rows(directory / "logs" / "metrics.jsonl"))
    return [{"step": row["step"], **row["metrics"]} for row in rows if "metrics" in row]


def column(rows: list[dict], name: str) -> list[float]:
    return [row[name] for row in rows if name in row]


def test_a_run_leaves_metrics_checkpoints_and_a_sample(run):
    directory, rows = run("--max-steps", "60", "--learning-rate", "0.01", "--eval-interval", "20")
    losses = column(rows, "train/loss")
    assert len(losses) == 60
    assert losses[0] == pytest.approx(math.log(257), abs=0.1)
    assert losses[-1] < 3.2, "60 steps learn which letters there are"
    assert [row["step"] for row in rows if "val/loss" in row] == [20, 40, 60]
    first = rows[0]
    assert first["train/perplexity"] == pytest.approx(math.exp(first["train/loss"]))
    assert first["lr"] == pytest.approx(0.005) and first["grad_norm"] > 0
    assert first["perf/tokens_per_s"] > 0 and 0 < first["perf/mfu"] < 1

    found = metadata.load(directory / "metadata.yaml")
    assert found["status"] == "completed"
    assert found["dataset"]["name"] == "custom" and found["dataset"]["tokenizer"] == "bytes"
    assert found["batch"] == {"effective": 4, "world_size": 1, "micro": 4, "micro_steps": 1}
    assert "GFLOP/s" in found["mfu_peak"], "the peak that MFU is a share of is stated"
    state = checkpoint.load(directory / "checkpoints" / "last.pt")
    assert state["step"] == 60
    assert state["training_state"]["best"]["val/loss"] == min(column(rows, "val/loss"))
    assert len((directory / "media" / "sample.txt").read_text()) >= 4


def test_two_runs_are_equal_to_the_last_bit(run):
    (_, first), (_, second) = run(), run()
    for name in ("train/loss", "val/loss", "grad_norm"):
        assert column(first, name) == column(second, name)


def test_accumulation_is_the_same_batch_in_parts(run):
    _, whole = run("--batch-size", "8")
    _, parts = run("--batch-size", "2", "--grad-accum", "4")
    assert column(parts, "train/loss") == pytest.approx(column(whole, "train/loss"), abs=1e-5)
    assert column(parts, "grad_norm") == pytest.approx(column(whole, "grad_norm"), rel=1e-4)


def test_hyper_param_auto_keeps_the_effective_batch(run):
    directory, _ = run("--hyper-param-auto", "--target-effective-batch", "10", "--max-steps", "2")
    assert metadata.load(directory / "metadata.yaml")["batch"] == {
        "effective": 10,
        "world_size": 1,
        "micro": 2,  # the largest divisor of 10 that is not above BATCH_SIZE=4
        "micro_steps": 5,
    }


def test_out_of_memory_halves_the_micro_batch_and_repeats_the_step(run, monkeypatch):
    _, expected = run("--batch-size", "8")
    forward, calls = GPT.forward, []

    def limited(self, tokens, targets=None):
        calls.append(len(tokens))
        # From the sixth batch on, three steps and an evaluation in, there is room for four only.
        if self.training and len(calls) > 5 and len(tokens) > 4:
            raise torch.OutOfMemoryError("injected")
        return forward(self, tokens, targets)

    monkeypatch.setattr(GPT, "forward", limited)
    directory, rows = run("--batch-size", "8")
    assert 8 in calls and calls[-1] == 4
    assert column(rows, "train/loss") == pytest.approx(column(expected, "train/loss"), abs=1e-5)
    assert column(rows, "val/loss") == pytest.approx(column(expected, "val/loss"), abs=1e-5)
    assert "out of memory in step" in (directory / "logs" / "train.log").read_text()
    batch = metadata.load(directory / "metadata.yaml")["batch"]
    assert batch == {"effective": 8, "world_size": 1, "micro": 4, "micro_steps": 2}


def test_out_of_memory_in_backward_drops_what_was_accumulated(run, monkeypatch):
    """The second of two micro-steps fails: the gradients of the first must not count twice."""
    _, expected = run("--batch-size", "4", "--grad-accum", "2")
    backward, calls = torch.Tensor.backward, []

    def limited(self, *args, **kwargs):
        calls.append(self)
        if len(calls) == 4:
            raise torch.OutOfMemoryError("injected")
        return backward(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "backward", limited)
    directory, rows = run("--batch-size", "4", "--grad-accum", "2")
    assert metadata.load(directory / "metadata.yaml")["batch"]["micro"] == 2
    assert column(rows, "train/loss") == pytest.approx(column(expected, "train/loss"), abs=1e-5)
    assert column(rows, "grad_norm") == pytest.approx(column(expected, "grad_norm"), rel=1e-4)


def test_out_of_memory_with_one_sequence_is_a_failure(run, monkeypatch):
    def never(self, tokens, targets=None):
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(GPT, "forward", never)
    with pytest.raises(Failure, match="single example"):
        run()


def test_early_stop(run):
    _, rows = run("--learning-rate", "1e-12", "--eval-interval", "1", "--early-stop", "2")
    assert rows[-1]["step"] < 6


def test_max_time(run):
    _, rows = run("--max-steps", "100000", "--max-time", "1", "--eval-interval", "50000")
    assert 1 <= rows[-1]["final/training_time_s"] < 20
    assert len(column(rows, "val/loss")) == 1, "the end is evaluated"


def test_epochs_count_when_max_steps_is_zero(run):
    directory, rows = run("--max-steps", "0", "--num-epochs", "1", "--batch-size", "64")
    sizes = metadata.load(directory / "metadata.yaml")["dataset"]["sizes"]
    assert rows[-1]["step"] == (sizes["train"] - 1) // 32 // 64


def test_sequential_windows(run):
    _, sequential = run("--windows", "sequential")
    _, random = run()
    assert column(sequential, "train/loss") != column(random, "train/loss")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_other_optimizers(run, optimizer):
    _, rows = run("--optimizer", optimizer)
    assert all(map(math.isfinite, column(rows, "train/loss")))


def test_a_loss_that_is_no_number_ends_the_run(run):
    with pytest.raises(Diverged, match="LEARNING_RATE"):
        run("--optimizer", "sgd", "--learning-rate", "1e30", "--grad-clip", "0")


@pytest.mark.parametrize(
    ("flags", "error", "says"),
    [
        (["--gpt2-n-head", "3"], BadUse, "3 heads do not divide width 32"),
        (["--gpt2-block-size", "100000"], DataError, "no window of block size 100000"),
        (["--gpt2-pretrained", "/nowhere/model.safetensors"], Failure, "cannot read pretrained"),
        (["--data-files", "/nowhere/*.txt"], DataError, "no such file"),
    ],
)
def test_bad_input_is_refused_before_training(run, tmp_path, flags, error, says):
    with pytest.raises(error, match=says):
        run(*flags)
    assert not (tmp_path / "run-1").exists()
