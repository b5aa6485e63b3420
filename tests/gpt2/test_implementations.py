# SPDX-License-Identifier: MIT
"""Which kernels a training takes, keeps and records; casts of weights that never go stale."""

import copy
import itertools
import shutil
from contextlib import nullcontext

import pytest
import torch

from gpt2 import prepare
from gpt2 import train as program
from gpt2.implementations import TABLE
from gpt2.model import GPT, GPTConfig
from lib.config.settings import load_settings
from lib.errors import BadUse
from lib.train import precision
from lib.train.precision import fastest_kernels, kernel_seconds

BFLOAT16 = ("--precision", "bfloat16")
DEFAULT = {operation: names[0] for operation, names in TABLE.items()}
OTHERS = {operation: names[1] for operation, names in TABLE.items()}
CHOICES = [dict(zip(TABLE, names, strict=True)) for names in itertools.product(*TABLE.values())]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAMWPRUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def batch():
    tokens = torch.randint(99, (4, 33), generator=torch.Generator().manual_seed(0))
    return tokens[:, :-1], tokens[:, 1:].contiguous()


def small(dropout: float = 0.0) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(99, 32, 2, 4, 32, dropout))


def gradients(model: GPT, batch) -> list[torch.Tensor]:
    model.zero_grad()
    model(*batch).backward()
    return [parameter.grad.double() for parameter in model.parameters()]


@pytest.mark.parametrize("kernels", CHOICES, ids=lambda choice: " ".join(choice.values()))
def test_every_choice_computes_the_same_model(kernels, batch):
    model = small()
    exact = gradients(model, batch)
    model.arithmetic.use("bfloat16", kernels)
    for name, (found, wanted) in enumerate(zip(gradients(model, batch), exact, strict=True)):
        assert (found - wanted).norm() < 0.05 * wanted.norm(), name
    model.arithmetic.use("float32", kernels)
    for found, wanted in zip(gradients(model, batch), exact, strict=True):
        assert (found - wanted).norm() < 1e-5 * wanted.norm()


def test_a_float32_stream_is_nearer_to_the_exact_gradients(batch):
    model = small()
    exact, errors = torch.cat([g.flatten() for g in gradients(model, batch)]), []
    for residual in TABLE["residual"]:
        model.arithmetic.use("bfloat16", {"residual": residual})
        found = torch.cat([g.flatten() for g in gradients(model, batch)])
        errors.append((found - exact).norm())
    assert errors[1] < errors[0]


def test_a_copy_of_a_model_has_an_arithmetic_of_its_own():
    model = small()
    other = copy.deepcopy(model)
    other.arithmetic.use("bfloat16", OTHERS)
    assert other.h[1].mlp.how is other.arithmetic and other.h[0].attn.how.gelu == "pytorch"
    assert model.arithmetic.dtype == torch.float32 and model.h[0].attn.how.gelu == "sigmoid"


def test_a_trial_measures_each_kernel_and_leaves_no_trace(batch):
    model = small()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    trial = prepare.kernel_trial(model, 4, lambda: batch)
    for operation, names in TABLE.items():
        times = kernel_seconds(trial, DEFAULT, operation)
        assert tuple(times) == names and all(min(turns) > 0 for turns in times.values())
    assert fastest_kernels(trial).keys() == TABLE.keys()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_training_keeps_what_its_trial_chose(gpt2, monkeypatch, cache):
    tries, used = [], []
    monkeypatch.setattr(precision, "fastest_kernels", lambda trial: tries.append(1) or OTHERS)
    attend = program.GPT.hidden
    monkeypatch.setattr(
        program.GPT, "hidden", lambda model, *a: used.append(model.arithmetic) or attend(model, *a)
    )
    half = ("--max-steps", "3")
    run = gpt2.train(*BFLOAT16, *half)
    assert run.metadata["kernels"] == run.checkpoint()["kernels"] == OTHERS
    assert "kernels: attention=whole gelu=pytorch" in run.log
    assert {op: getattr(used[-1], op) for op in TABLE} == OTHERS
    again = gpt2.train(*BFLOAT16, *half)
    assert len(tries) == 1 and again.rows("train/loss") == run.rows("train/loss")

    shutil.rmtree(cache)  # what the run began with counts, not what is found by now
    monkeypatch.setattr(precision, "fastest_kernels", lambda trial: DEFAULT)
    program.train(load_settings("gpt2", ["--resume", str(run.dir), "--max-steps", "4"]))
    assert len(tries) == 1 and run.metadata["kernels"] == OTHERS
    assert run.checkpoint()["step"] == 4 and run.checkpoint()["kernels"] == OTHERS


def test_kernels_that_are_asked_for_need_no_trial(gpt2, monkeypatch):
    monkeypatch.setattr(precision, "_seconds", lambda step: pytest.fail("a trial"))
    run = gpt2.train(*BFLOAT16, "--kernels", "gelu=pytorch", "--max-steps", "3")
    assert run.metadata["kernels"] == {**DEFAULT, "gelu": "pytorch"}
    with pytest.raises(BadUse, match="did you mean pytorch"):
        gpt2.train("--kernels", "gelu=pytorsh")


STALE = {
    "accumulation": ("--grad-accum", "2", "--batch-size", "2"),
    "average": ("--ema-decay", "0.5"),
    "pruning": ("--optimizer", "adamwprune", "--target-sparsity", "0.5", "--max-steps", "8"),
    "checkpointing": ("--gpt2-activation-checkpointing", "1", "--grad-accum", "2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("flags", STALE.values(), ids=STALE)
def test_casting_once_changes_no_bit(flags, gpt2, monkeypatch):
    """A cast that outlived an update, a mask or a swap of the weights would show in the losses."""
    flags = (*BFLOAT16, "--kernels", "", "--learning-rate", "0.05", *flags, "--eval-interval", "1")
    once = gpt2.train(*flags)
    monkeypatch.setattr(program, "cast_once", nullcontext)
    each_time = gpt2.train(*flags)
    for name in ("train/loss", "val/loss", "grad_norm"):
        assert once.rows(name) == each_time.rows(name)
    assert len(set(once.rows("val/loss").values())) > 3, "the weights change"


@pytest.mark.slow
def test_all_ranks_compute_alike(gpt2):
    two = gpt2.train_on_ranks(2, *BFLOAT16, "--max-steps", "2", "--batch-size", "4")
    assert two.metadata["kernels"].keys() == TABLE.keys()
    kernels = " ".join(f"{op}={name}" for op, name in two.metadata["kernels"].items())
    alone = gpt2.train(*BFLOAT16, "--max-steps", "2", "--batch-size", "4", "--kernels", kernels)
    assert two.rows("train/loss") == pytest.approx(alone.rows("train/loss"), abs=1e-2)
