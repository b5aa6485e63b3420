# SPDX-License-Identifier: MIT
"""The running mean of the weights in the training of every model (EMA_DECAY)."""

import os
import signal

import pytest
import torch

from lib.pruning.sparse_file import load_sparse
from lib.train.checkpoint.weights import IS_AVERAGE
from scripts.pruning import export, payoff, sparsity
from tests.killed import differences, in_first_evaluation
from tests.models import MODELS, SmallModel, restored_torch

AVERAGED = ("--ema-decay", "0.9", "--learning-rate", "0.01")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A directory in which the data of each model are prepared once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(params=MODELS)
def model(request, folders, tmp_path):
    """Each model in turn; restores PyTorch's settings afterwards."""
    with restored_torch():
        yield SmallModel(request.param, folders / request.param, tmp_path)


def test_the_mean_is_what_is_evaluated_kept_as_best_and_begun_from(model):
    parent = model.train(*AVERAGED)
    best = parent.checkpoint("best.pt")
    mean = best["ema_state_dict"]
    assert list(mean) == list(best["model_state_dict"])
    assert not all(t.equal(best["model_state_dict"][name]) for name, t in mean.items())
    child = model.train("--init-from", "run-1", "--learning-rate", "1e-30", "--warmup-steps", "0")
    floats = {name: t for name, t in mean.items() if t.is_floating_point()}
    parameters = [name for name in floats if "running" not in name]
    weights = child.weights()
    assert all(weights[name].equal(floats[name]) for name in parameters)
    if len(parameters) == len(floats):  # no batch norm, whose statistics were trained meanwhile
        val = child.rows("val/loss")[6]
        assert parent.rows("val/loss")[best["step"]] == pytest.approx(val, rel=1e-6)
    assert child.metadata["parent"]["average"] is True
    assert IS_AVERAGE in child.log and IS_AVERAGE not in parent.log


def test_it_changes_neither_training_nor_what_is_saved_without_it(model):
    """The same weights, whether a mean is kept or not, and however often it is evaluated."""
    plain = model.train("--learning-rate", "0.01").checkpoint()
    seldom = model.train(*AVERAGED).checkpoint()
    often = model.train(*AVERAGED, "--eval-interval", "1").checkpoint()
    assert "ema_state_dict" not in plain
    assert plain.keys() == seldom.keys() - {"ema_state_dict"}
    for part in ("model_state_dict", "optimizer_state_dict"):
        assert differences(plain[part], seldom[part]) == []
        assert differences(seldom[part], often[part]) == []
    assert differences(seldom["ema_state_dict"], often["ema_state_dict"]) == []


def test_programs_use_the_mean_and_say_so(model, tmp_path, monkeypatch, capsys):
    run = model.train(*AVERAGED, "--pruning-method", "magnitude")
    monkeypatch.setenv("FORMAT", "sparse")
    monkeypatch.setattr(payoff, "BATCH_SIZES", (1,))
    for program in (export, sparsity, payoff):
        out = ["--output", str(tmp_path / "out")] if program is export else []
        monkeypatch.setattr("sys.argv", ["program", *out, str(run.dir)])
        program.main()
        assert IS_AVERAGE in capsys.readouterr().err, program
    mean = run.checkpoint()["ema_state_dict"]
    exported = load_sparse(tmp_path / "out")
    for name, tensor in mean.items():
        assert exported[name].equal(tensor.bfloat16() if tensor.is_floating_point() else tensor)


def test_a_stop_request_in_an_evaluation_saves_the_weights_in_training(model, monkeypatch):
    whole = model.train(*AVERAGED, "--checkpoint-interval", "3", "--checkpoint-keep", "9")
    in_first_evaluation(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        model.train(*AVERAGED)
    saved = model.latest.checkpoint()
    path = whole.dir / "checkpoints" / "step_00000003.pt"
    expected = torch.load(path, weights_only=True)
    assert saved["step"] == 3
    for part in ("model_state_dict", "ema_state_dict"):
        assert differences(saved[part], expected[part]) == []


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lenet5", "resnet50"], indirect=True)  # without and with buffers
def test_two_ranks_have_the_mean_of_one(model):
    flags = ("--ema-decay", "0.9", *model.in_parts)
    alone, two = model.train(*flags), model.train_on_ranks(2, *flags)
    ours, theirs = (run.checkpoint()["ema_state_dict"] for run in (two, alone))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert two.rows("val/loss") == pytest.approx(alone.rows("val/loss"), abs=1e-5)
