# SPDX-License-Identifier: MIT
"""What only GPT-2's training does; what every model's does is in tests/test_models.py."""

import math

import pytest
import torch

from gpt2 import prepare
from gpt2 import train as program
from gpt2.model import GPTConfig
from lib.data.text.shards import DataError
from lib.errors import BadUse, Failure
from lib.train import batch_finding
from lib.train.batch_finding import BatchPlan
from lib.train.runtime import Runtime
from lib.train.stop import StopRequest


def test_it_learns_which_letters_there_are_and_keeps_a_sample(gpt2):
    run = gpt2.train("--max-steps", "60", "--learning-rate", "0.01", "--eval-interval", "60")
    train, val = run.rows("train/loss"), run.rows("val/loss")
    assert train[1] == pytest.approx(math.log(257), abs=0.1)
    assert train[60] < 3.2
    assert run.rows("train/perplexity")[1] == pytest.approx(math.exp(train[1]))
    assert run.rows("val/perplexity")[60] == pytest.approx(math.exp(val[60]))
    assert run.rows("lr")[1] == pytest.approx(0.005)
    assert run.rows("perf/tokens_per_s")[1] > 0 and 0 < run.rows("perf/mfu")[1] < 1
    found = run.metadata
    assert found["dataset"]["name"] == "custom" and found["dataset"]["tokenizer"] == "bytes"
    assert "GFLOP/s" in found["mfu_peak"], "the peak that MFU is a share of is stated"
    perplexity = found["final_metrics"]["final/best_val_perplexity"]
    assert perplexity == pytest.approx(math.exp(val[60]))
    assert len((run.dir / "media" / "sample.txt").read_text()) >= 4


def test_dropout_draws_the_same_when_a_step_is_done_again(gpt2, monkeypatch):
    dropout = ("--gpt2-dropout", "0.2")
    expected = gpt2.train(*dropout).rows("train/loss")
    backward, calls = torch.Tensor.backward, []

    def limited(loss, *args, **kwargs):
        calls.append(1)
        backward(loss, *args, **kwargs)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("injected")

    def same(plan, model, runtime, step):
        model.zero_grad(set_to_none=True)
        return plan

    monkeypatch.setattr(torch.Tensor, "backward", limited)
    monkeypatch.setattr("lib.train.loop.smaller_batch", same)
    assert gpt2.train(*dropout).rows("train/loss") == expected
    assert expected != gpt2.train().rows("train/loss")


def test_epochs_count_when_max_steps_is_zero(gpt2):
    run = gpt2.train("--max-steps", "0", "--num-epochs", "1", "--batch-size", "64")
    windows = (run.metadata["dataset"]["sizes"]["train"] - 1) // 32
    assert run.checkpoint()["step"] == windows // 64


def test_sequential_windows(gpt2):
    sequential, random = gpt2.train("--windows", "sequential"), gpt2.train()
    assert sequential.rows("train/loss") != random.rows("train/loss")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_other_optimizers(gpt2, optimizer):
    run = gpt2.train("--optimizer", optimizer)
    assert all(map(math.isfinite, run.rows("train/loss").values()))


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 7])
def test_an_evaluation_counts_each_window_once_whatever_the_ranks(world_size, monkeypatch):
    """512 windows on 3 ranks are 512; the ranks compute equally many batches."""
    n, seen, sums, calls = 10, [], [], []

    class Model(torch.nn.Module):
        def forward(self, x, y):
            seen.append(x.flatten().tolist())
            return x.float().mean()

    windows = (torch.arange(float(n))[:, None], torch.zeros(n, 1))
    monkeypatch.setattr(program, "mean_over_examples", lambda total, n: sums.append(total.item()))
    with StopRequest() as stop:
        for rank in range(world_size):
            runtime = Runtime(torch.device("cpu"), "float32", rank, world_size)
            program.evaluate(Model(), windows, runtime, 3, stop)
            calls.append(len(seen))
            seen.clear()
    assert sum(sums) == pytest.approx(sum(range(n)))
    assert len(set(calls)) == 1, "a sharded model needs every rank in every batch"


@pytest.mark.parametrize(
    ("flags", "error", "says"),
    [
        (["--gpt2-n-head", "3"], BadUse, "3 heads do not divide width 32"),
        (["--gpt2-block-size", "100000"], DataError, "a window of block size 100000"),
        (["--gpt2-pretrained", "/nowhere/model.safetensors"], Failure, "cannot read /nowhere"),
        (["--data-files", "/nowhere/*.txt"], DataError, "no such file"),
    ],
)
def test_bad_input_is_refused_before_training(gpt2, flags, error, says):
    with pytest.raises(error, match=says):
        gpt2.train(*flags)
    assert not gpt2.latest.dir.exists()


def test_a_model_to_be_sharded_is_fitted_by_formula_and_not_by_trial(monkeypatch):
    """A trial would gather weights from other ranks, of which one may have run out of memory."""

    class Settings:
        SHARD = HYPER_PARAM_AUTO = True

    class Model:
        config, checkpoint_every = GPTConfig(50257), 0

        @staticmethod
        def parameter_count() -> int:
            return 124_439_808

    class Device:
        total_memory = 24 * 2**30

    def read(*_):
        raise AssertionError("no trial")

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Device)
    monkeypatch.setattr(batch_finding, "release", lambda device: None)
    monkeypatch.setattr(batch_finding, "_is_tight", lambda device, headroom: False)
    runtime = Runtime(torch.device("cuda:0"), "bfloat16", 0, 4)
    plan = prepare.fit_batch(Settings, runtime, Model, BatchPlan(480, 4, 1), read)
    assert plan.effective == 480 and plan.micro >= 24
