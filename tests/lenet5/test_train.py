# SPDX-License-Identifier: MIT
"""The training program of LeNet-5: what it computes, writes, refuses, and how it stops."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lenet5 import train as program
from lenet5.model import LeNet5
from lib.data.cache import fingerprint
from lib.data.images.datasets import load_images
from lib.errors import BadUse, Failure
from lib.runs import metadata
from lib.signals import Terminated
from lib.train import checkpoint
from lib.train.guard import Diverged
from lib.train.runtime import setup
from lib.train.stop import StopRequest

ROOT = Path(__file__).resolve().parents[2]
TRAIN = [sys.executable, str(ROOT / "lenet5" / "train.py")]


def test_a_run_is_complete(train):
    run = train("--max-steps", "25", "--eval-interval", "10", "--log-interval", "5")
    found = run.metadata
    assert found["status"] == "completed"
    assert found["model"] == {"name": "lenet5", "parameters": 61_706}
    assert sum(found["dataset"]["sizes"].values()) == 1797
    assert set(found["final_metrics"]) == {
        "final/best_val_loss",
        "final/best_val_accuracy",
        "final/training_time_s",
        "final/test_loss",
        "final/test_accuracy",
    }
    for name in ("train/loss", "train/accuracy", "lr", "perf/step_ms", "perf/samples_per_s"):
        assert list(run.rows(name)) == [1, 5, 10, 15, 20, 25]
    assert all(norm > 0 for norm in run.rows("grad_norm").values())
    assert list(run.rows("val/loss")) == list(run.rows("val/accuracy")) == [10, 20, 25]
    assert list(run.rows("final/test_accuracy")) == [25]
    last = run.checkpoint("last.pt")
    state = last["training_state"]
    assert last["step"] == state["step"] == 25 and state["examples"] == 25 * 64
    assert last["settings_hash"] == found["science_hash"]
    assert state["best"]["val/loss"] == min(run.rows("val/loss").values())


def test_it_learns(train):
    run = train("--max-steps", "100")
    losses = run.rows("train/loss")
    assert losses[1] == pytest.approx(2.3026, abs=0.1)  # ln 10: it knows nothing yet
    assert losses[100] < 1.0
    assert run.metadata["final_metrics"]["final/test_accuracy"] > 0.8


def test_best_is_the_checkpoint_of_the_lowest_validation_loss(train, data_dir):
    # At this rate the loss soon rises again, so that best.pt and last.pt differ.
    rough = ("--learning-rate", "0.05", "--lr-schedule", "constant")
    run = train("--max-steps", "30", "--eval-interval", "3", *rough)
    losses = run.rows("val/loss")
    best = run.checkpoint("best.pt")
    assert best["step"] == min(losses, key=losses.get) < 30
    model = LeNet5()
    model.load_state_dict(best["model_state_dict"])
    data = load_images("digits", seed=0, val_fraction=0.1, data_dir=data_dir)
    with StopRequest() as stop:
        found = program.evaluate(model, data.val, setup(0, "cpu", "float32", 1), stop)
    state = best["training_state"]
    assert found["loss"] == pytest.approx(losses[best["step"]], rel=1e-6)
    # The accuracy of these weights, and not the highest of any evaluation.
    accuracy = run.rows("val/accuracy")[best["step"]]
    assert found["accuracy"] == pytest.approx(accuracy) == state["best"]["val/accuracy"]
    assert run.metadata["final_metrics"]["final/best_val_accuracy"] == accuracy


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_two_runs_end_bit_for_bit_equal(train, optimizer):
    same = ("--optimizer", optimizer, "--max-steps", "8", "--eval-interval", "3")
    first, second = train(*same), train(*same)
    other = train(*same, "--seed", "1")
    weights = [r.checkpoint("last.pt")["model_state_dict"] for r in (first, second, other)]
    digests = [fingerprint(w) for w in weights]
    assert digests[0] == digests[1] != digests[2]
    assert first.rows("val/loss") == second.rows("val/loss")


def test_logging_and_evaluating_do_not_change_the_training(train):
    silent = train("--max-steps", "8")
    talkative = train("--max-steps", "8", "--log-interval", "1", "--eval-interval", "2")
    one, two = (r.checkpoint("last.pt")["model_state_dict"] for r in (silent, talkative))
    assert fingerprint(one) == fingerprint(two)


def test_without_augmentation_the_batches_are_the_images_themselves(train):
    assert train("--no-augment").rows("train/loss") != train().rows("train/loss")


def test_bfloat16_is_close_to_float32(train):
    full, half = train("--precision", "float32"), train("--precision", "bfloat16")
    assert half.rows("train/loss")[1] != full.rows("train/loss")[1]
    assert half.rows("train/loss")[4] == pytest.approx(full.rows("train/loss")[4], rel=0.02)


def test_checkpoints_at_their_own_interval(train, monkeypatch):
    saved = []
    save = checkpoint.save

    def noting(path, state):
        saved.append((path.name, state["step"]))
        save(path, state)

    monkeypatch.setattr(checkpoint, "save", noting)
    train("--max-steps", "10", "--checkpoint-interval", "4", "--eval-interval", "100")
    assert saved == [("last.pt", 4), ("last.pt", 8), ("best.pt", 10), ("last.pt", 10)]


def test_a_loss_that_is_no_number_stops_the_run(train, runs):
    with pytest.raises(Diverged, match=r"loss is (nan|inf) at step \d+; last it was .*Try a lower"):
        train("--optimizer", "sgd", "--learning-rate", "1e30", "--max-steps", "50")
    (run,) = runs()
    assert run.metadata["status"] == "failed"
    assert "loss is" in run.metadata["error"]


def test_no_checkpoint_is_of_a_step_whose_gradient_was_no_number(train, runs, monkeypatch):
    """The loss of that step is still finite; only the next would show what happened."""
    update, steps = program.apply_update, []

    def spoilt(optimizer, **options):
        steps.append(1)
        if len(steps) == 3:
            optimizer.param_groups[0]["params"][0].grad.fill_(float("inf"))
        return update(optimizer, **options)

    monkeypatch.setattr(program, "apply_update", spoilt)
    with pytest.raises(Diverged, match="norm of the gradient is inf at step 3"):
        train("--checkpoint-interval", "1")
    (run,) = runs()
    assert run.checkpoint("last.pt")["step"] == 2


def test_a_batch_larger_than_the_set_is_refused_before_there_is_a_run(train, runs):
    with pytest.raises(BadUse, match=r"a batch of 5000 images .*1295 images"):
        train("--batch-size", "5000")
    assert runs() == []


def test_missing_data_is_a_failure_before_there_is_a_run(train, runs, tmp_path):
    with pytest.raises(Failure, match="DATA_FILES"):
        train("--dataset", "mnist", "--data-files", str(tmp_path))
    assert runs() == []


def test_sigterm_is_noticed_within_an_evaluation(train, runs, monkeypatch):
    monkeypatch.setattr(program, "EVAL_BATCH_SIZE", 1)
    batches = []
    forward = LeNet5.forward

    def forward_and_signal(self, images):
        if not self.training:
            batches.append(1)
            if len(batches) == 5:
                os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, images)

    monkeypatch.setattr(LeNet5, "forward", forward_and_signal)
    with pytest.raises(Terminated):
        train("--max-steps", "9", "--eval-interval", "3")
    assert len(batches) == 5
    (run,) = runs()
    assert run.metadata["status"] == "interrupted"
    assert run.checkpoint("last.pt")["step"] == 3


def wait_for(path: Path, text: bytes, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and text in path.read_bytes()):
        assert process.poll() is None and time.monotonic() < deadline, "it did not get that far"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_whole_run(flags, tmp_path, number, code):
    endless = flags("--max-steps", "100000", "--num-epochs", "10000", "--tracker-run-name", "r")
    process = subprocess.Popen([*TRAIN, *endless], stderr=subprocess.PIPE, text=True)
    directory = tmp_path / "runs" / "r"
    wait_for(directory / "logs" / "metrics.jsonl", b'"val/loss"', process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert metadata.load(directory / "metadata.yaml")["status"] == "interrupted"
    last = checkpoint.load(directory / "checkpoints" / "last.pt")
    counts = {int(s["step"]) for s in last["optimizer_state_dict"]["state"].values()}
    assert counts == {last["step"]}  # every tensor has had the same updates
    assert not list(directory.rglob("*.tmp"))


@pytest.mark.slow
def test_exit_codes_and_working_directory(flags, tmp_path):
    """Run by its path from elsewhere; a diverging training fails with one line and no traceback."""
    elsewhere = {"cwd": tmp_path, "capture_output": True, "text": True, "check": False}
    done = subprocess.run([*TRAIN, *flags()], **elsewhere)
    assert done.returncode == 0 and "test accuracy" in done.stdout
    rates = ("--optimizer", "sgd", "--learning-rate", "1e30", "--max-steps", "50")
    failed = subprocess.run([*TRAIN, *flags(*rates)], **elsewhere)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: the training loss is")
    assert len(failed.stderr.splitlines()) == 1


@pytest.mark.parametrize(("flag", "code"), [("--help", 0), ("--learning-rate=fast", 2)])
def test_help_and_bad_flags_do_not_wait_for_pytorch(flag, code):
    command = [sys.executable, "-X", "importtime", TRAIN[1], flag]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "lib.config.settings" in done.stderr
    assert " torch\n" not in done.stderr


@pytest.mark.slow
def test_the_default_training_reads_97_percent_of_unseen_digits(train):
    run = train("--max-steps", "0")
    assert run.metadata["final_metrics"]["final/test_accuracy"] >= 0.97


def test_evaluate_is_exact_in_whatever_batches(monkeypatch, data_dir):
    torch.manual_seed(0)
    model = LeNet5()
    data = load_images("digits", seed=0, val_fraction=0.1, data_dir=data_dir)
    runtime = setup(0, "cpu", "float32", 1)
    with StopRequest() as stop, torch.no_grad():
        logits = model(data.val.images)
        loss = torch.nn.functional.cross_entropy(logits, data.val.labels).item()
        accuracy = (logits.argmax(1) == data.val.labels).double().mean().item()
        for size in (1, 7, 1000):
            monkeypatch.setattr(program, "EVAL_BATCH_SIZE", size)
            found = program.evaluate(model, data.val, runtime, stop)
            assert found == pytest.approx({"loss": loss, "accuracy": accuracy}, rel=1e-5)
    assert model.training
