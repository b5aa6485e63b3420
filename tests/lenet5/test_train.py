# SPDX-License-Identifier: MIT
"""What only LeNet-5's training does; what every model's does is in tests/test_models.py."""

import json
import math
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from lenet5.model import LeNet5
from lib.errors import BadUse, Failure
from lib.runs import metadata
from lib.signals import Terminated
from lib.train import checkpoint
from lib.train.classification import evaluate
from lib.train.runtime import setup
from lib.train.stop import StopRequest
from tests.hub_files import write_hub_set
from tests.images import load_images, whole


def test_a_run_is_complete(lenet5):
    run = lenet5.train("--max-steps", "25", "--eval-interval", "10")
    found = run.metadata
    assert json.loads((run.dir / "classes.json").read_text()) == list("0123456789")
    assert found["model"] == {"name": "lenet5", "parameters": 61_706, "classes": 10}
    assert sum(found["dataset"]["sizes"].values()) == 1797
    assert set(found["final_metrics"]) == {
        "final/best_val_loss",
        "final/best_val_accuracy",
        "final/training_time_s",
        "final/test_loss",
        "final/test_accuracy",
    }


def test_it_learns(lenet5):
    run = lenet5.train("--max-steps", "100", "--eval-interval", "100")
    losses = run.rows("train/loss")
    assert losses[1] == pytest.approx(2.3026, abs=0.1)  # ln 10: random guesses
    assert losses[100] < 1.0
    assert 0.7 < run.rows("train/accuracy")[100] <= 1.0
    assert run.metadata["final_metrics"]["final/test_accuracy"] > 0.8


def test_best_is_the_checkpoint_of_the_lowest_validation_loss(lenet5, data_dir):
    # At this rate the loss soon rises again, so that best.pt and last.pt differ.
    rough = ("--learning-rate", "0.05", "--lr-schedule", "constant")
    run = lenet5.train("--max-steps", "30", *rough)
    losses, best = run.rows("val/loss"), run.checkpoint("best.pt")
    assert best["step"] == min(losses, key=losses.get) < 30
    model = LeNet5()
    model.load_state_dict(best["model_state_dict"])
    data = load_images(data_dir)
    with StopRequest() as stop:
        found = evaluate(model, data.val, 100, setup(0, "cpu", "float32", 1), stop)
    assert found["loss"] == pytest.approx(losses[best["step"]], rel=1e-6)
    # The accuracy of these weights, not the highest of any evaluation.
    accuracy = run.rows("val/accuracy")[best["step"]]
    assert found["accuracy"] == pytest.approx(accuracy)
    assert best["training_state"]["best"]["val/accuracy"] == accuracy
    assert run.metadata["final_metrics"]["final/best_val_accuracy"] == accuracy


def test_without_augmentation_the_batches_are_the_images_themselves(lenet5):
    plain, augmented = lenet5.train("--no-augment"), lenet5.train()
    assert plain.rows("train/loss") != augmented.rows("train/loss")


@pytest.fixture(scope="module")
def cifar(tmp_path_factory) -> dict[str, str]:
    """Small local files of each set in colour."""
    root = tmp_path_factory.mktemp("cifar")
    sizes = {"cifar10": 200, "cifar100": 1000}
    return {n: str(write_hub_set(root / n, n, train, test=50)) for n, train in sizes.items()}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_it_trains_on_grey_versions_of_colour_images(lenet5, cifar, name):
    run = lenet5.train("--dataset", name, "--data-files", cifar[name])
    classes = {"cifar10": 10, "cifar100": 100}[name]
    assert run.rows("train/loss")[1] == pytest.approx(math.log(classes), rel=0.1)
    found = run.metadata
    assert found["model"]["parameters"] == 61_706 + 85 * (classes - 10)
    assert found["dataset"]["name"] == name
    assert len(found["dataset"]["normalization"]["mean"]) == 1
    assert ("final/test_accuracy_top5" in found["final_metrics"]) == (classes == 100)
    assert ("final/best_val_accuracy_top5" in found["final_metrics"]) == (classes == 100)


ALL_AUGMENTATIONS = (
    *("--augment-affine", "--augment-flip", "--augment-pad", "4", "--augment-cutout", "8"),
    *("--augment-min-area", "0.4", "--augment-random-ops", "2", "--augment-magnitude", "7"),
    *("--mixup", "0.4"),
)


def test_with_all_augmentations_micro_steps_add_up_to_the_batch(lenet5):
    whole = lenet5.train(*ALL_AUGMENTATIONS)
    parts = lenet5.train(*ALL_AUGMENTATIONS, "--batch-size", "8", "--grad-accum", "8")
    losses, found = whole.rows("train/loss"), parts.rows("train/loss")
    assert found == pytest.approx(losses, rel=1e-5)
    accuracies = parts.rows("train/accuracy")
    assert accuracies == pytest.approx(whole.rows("train/accuracy"), abs=0.02)
    assert losses != lenet5.train().rows("train/loss")


def test_mixup_of_an_odd_micro_batch_is_refused_before_there_is_a_run(lenet5):
    with pytest.raises(BadUse, match="even number of images"):
        lenet5.train("--mixup", "0.2", "--batch-size", "33")
    assert not lenet5.latest.dir.exists()


def test_a_batch_larger_than_the_set_is_refused_before_there_is_a_run(lenet5):
    with pytest.raises(BadUse, match=r"a batch of 5000 images .*1295 images"):
        lenet5.train("--batch-size", "5000")
    assert not lenet5.latest.dir.exists()


def test_missing_data_is_a_failure_before_there_is_a_run(lenet5, tmp_path):
    with pytest.raises(Failure, match="DATA_FILES"):
        lenet5.train("--dataset", "mnist", "--data-files", str(tmp_path / "none"))
    assert not lenet5.latest.dir.exists()


def test_sigterm_is_noticed_within_an_evaluation(lenet5, monkeypatch):
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
        lenet5.train("--max-steps", "9", "--eval-interval", "3", "--batch-size", "8")
    assert len(batches) == 5
    assert lenet5.latest.metadata["status"] == "interrupted"
    assert lenet5.latest.checkpoint()["step"] == 3


def wait_for(path: Path, text: bytes, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and text in path.read_bytes()):
        assert process.poll() is None and time.monotonic() < deadline, "it did not get that far"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_whole_run(lenet5, tmp_path, number, code):
    endless = lenet5.command(1, "r", "--max-steps", "100000", "--num-epochs", "10000")
    process = subprocess.Popen(endless, stderr=subprocess.PIPE, text=True)
    directory = tmp_path / "r"
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
def test_the_default_training_reads_97_percent_of_unseen_digits(lenet5):
    run = lenet5.train("--max-steps", "0", "--eval-interval", "0")
    assert run.metadata["final_metrics"]["final/test_accuracy"] >= 0.97


def test_evaluate_is_exact_in_whatever_batches(data_dir):
    torch.manual_seed(0)
    model = LeNet5()
    data = load_images(data_dir)
    runtime = setup(0, "cpu", "float32", 1)
    with StopRequest() as stop, torch.no_grad():
        logits = model(whole(data.val))
        loss = torch.nn.functional.cross_entropy(logits, data.val.labels).item()
        accuracy = (logits.argmax(1) == data.val.labels).double().mean().item()
        for size in (1, 7, 1000):
            found = evaluate(model, data.val, size, runtime, stop)
            assert found == pytest.approx({"loss": loss, "accuracy": accuracy}, rel=1e-5)
    assert model.training
