# SPDX-License-Identifier: MIT
"""What only ResNet's training does; what every model's does is in tests/test_models.py."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from lib.config.settings import load_settings
from lib.errors import BadUse, Failure
from lib.pruning.sparse_file import load_sparse
from resnet50.model import ResNet
from resnet50.prepare import flops_per_image
from tests.models import ENVIRONMENT, ROOT
from tests.resnet50.test_model import torchvision_model

STILL = ("--learning-rate", "1e-30", "--optimizer", "sgd")  # the weights do not change


def test_a_run_is_complete(resnet50):
    run = resnet50.train("--max-steps", "25", "--eval-interval", "10")
    found = run.metadata
    parameters = sum(p.numel() for p in ResNet(18, 10, 4, "cifar").parameters())
    assert found["model"] == {"name": "resnet50", "parameters": parameters, "classes": 10}
    assert set(found["final_metrics"]) == {
        "final/best_val_loss",
        "final/best_val_accuracy",
        "final/training_time_s",
        "final/test_loss",
        "final/test_accuracy",
    }
    assert all(0 < value < 2 for value in run.rows("perf/mfu").values())
    assert "MFU is of" in run.log


def test_it_learns(resnet50):
    long = ("--max-steps", "60", "--eval-interval", "60", "--batch-size", "64")
    run = resnet50.train(*long, "--no-augment")
    losses = run.rows("train/loss")
    assert losses[1] == pytest.approx(2.3026, abs=0.2)  # ln 10: random guesses
    assert losses[60] < 1.2
    assert run.rows("train/accuracy")[60] > 0.6
    assert run.metadata["final_metrics"]["final/test_accuracy"] > 0.5


@pytest.mark.slow
def test_the_default_training_reads_98_percent_of_unseen_digits(resnet50, folder):
    resnet50.small = ["--data-dir", str(folder / "digits")]
    run = resnet50.train("--max-steps", "0", "--eval-interval", "0", "--num-epochs", "15")
    assert run.metadata["final_metrics"]["final/test_accuracy"] >= 0.98


def test_flops_depend_on_size_and_width_and_not_on_the_norm(resnet50):
    def flops(*flags):
        settings = load_settings("resnet50", resnet50.flags("none", *flags))
        return flops_per_image(settings, classes=10)

    assert flops("--image-size", "16") == pytest.approx(4 * flops(), rel=0.01)
    assert 3 * flops() < flops("--resnet-width", "8") < 4 * flops()
    assert flops("--resnet-norm", "synced") == flops("--resnet-norm", "frozen") == flops()


class TestLabels:
    def test_smoothing_is_in_the_training_loss_only(self, resnet50):
        plain, smooth = (resnet50.train(*STILL, "--label-smoothing", s) for s in ("0.0", "0.3"))
        assert plain.rows("val/loss") == smooth.rows("val/loss")
        assert plain.rows("train/accuracy") == smooth.rows("train/accuracy")
        assert plain.rows("train/loss") != smooth.rows("train/loss")

    def test_blended_images_count_by_their_larger_share(self, resnet50):
        frozen = (*STILL, "--resnet-norm", "frozen")
        plain, blended = resnet50.train(*frozen), resnet50.train(*frozen, "--mixup", "0.2")
        assert plain.rows("val/loss") == blended.rows("val/loss")
        assert plain.rows("train/loss") != blended.rows("train/loss")
        assert all(0 <= share <= 1 for share in blended.rows("train/accuracy").values())


class TestBatchOfOne:
    @pytest.mark.parametrize("norm", ["batch", "synced"])
    def test_it_is_refused_before_there_is_a_run(self, resnet50, norm):
        one = ("--batch-size", "1", "--grad-accum", "4", "--resnet-norm", norm)
        with pytest.raises(BadUse, match=rf"RESNET_NORM={norm} .* has one image \(4 examples"):
            resnet50.train(*one)
        assert not resnet50.latest.dir.exists()

    def test_frozen_statistics_allow_it(self, resnet50):
        run = resnet50.train("--batch-size", "1", "--resnet-norm", "frozen")
        assert run.metadata["status"] == "completed"

    def test_so_it_is_when_less_memory_than_expected_leads_to_it(self, resnet50, monkeypatch):
        def never(*_, **__):
            raise torch.OutOfMemoryError("injected")

        monkeypatch.setattr(torch.Tensor, "backward", never)
        with pytest.raises(BadUse, match=r"RESNET_NORM=batch .* has one image"):
            resnet50.train()
        assert resnet50.latest.metadata["status"] == "failed"


class TestPretrained:
    @pytest.fixture
    def weights(self, tmp_path):
        torch.manual_seed(5)
        torch.save(ResNet(18, 10, 4, "cifar").state_dict(), tmp_path / "w.pth")
        return tmp_path / "w.pth"

    def test_a_training_starts_from_them_and_says_so(self, resnet50, weights):
        run = resnet50.train(*STILL, "--resnet-pretrained", str(weights))
        for name, value in torch.load(weights).items():
            if value.ndim == 4:
                assert torch.equal(run.weights()[name], value), name
        assert f"pretrained weights from {weights}: a ResNet-18 of width 4" in run.log

    def test_a_resumed_run_does_not_need_the_file_any_more(self, resnet50, weights):
        run = resnet50.train("--resnet-pretrained", str(weights))
        weights.unlink()
        program = resnet50.program
        program.train(load_settings("resnet50", ["--resume", str(run.dir), "--max-steps", "8"]))
        assert run.checkpoint()["step"] == 8

    def test_another_number_of_classes_is_said(self, resnet50, tmp_path):
        torch.save(ResNet(18, 1000, 4, "cifar").state_dict(), tmp_path / "w.pth")
        run = resnet50.train("--resnet-pretrained", str(tmp_path / "w.pth"))
        assert "Its last layer is for 1000 classes, the data have 10" in run.log

    def test_another_depth_is_refused_before_there_is_a_run(self, resnet50, tmp_path):
        torch.save(ResNet(34, 10, 4, "cifar").state_dict(), tmp_path / "w.pth")
        with pytest.raises(Failure, match=r"is a ResNet-34 .*: set RESNET_DEPTH=34"):
            resnet50.train("--resnet-pretrained", str(tmp_path / "w.pth"))
        assert not resnet50.latest.dir.exists()


class TestPruning:
    EARLY = ("--pruning-unit", "steps", "--pruning-start", "2", "--pruning-end", "4")
    EARLY += ("--pruning-frequency", "1", "--pruning-method", "magnitude")

    def test_two_of_four_with_the_first_layer_whole(self, resnet50):
        run = resnet50.train(*self.EARLY, "--pruning-pattern", "2to4", "--target-sparsity", "0.5")
        weights = run.weights()
        assert weights["conv1.weight"].all()
        along_inputs = weights["layer3.0.conv2.weight"].permute(0, 2, 3, 1).reshape(-1, 4)
        assert ((along_inputs != 0).sum(1) <= 2).all()

    def test_the_first_layer_does_not_divide_into_fours(self, resnet50):
        flags = ("--pruning-pattern", "2to4", "--no-pruning-exempt-first")
        with pytest.raises(BadUse, match=r"conv1\.weight: .* not 3 .*exempt the layer"):
            resnet50.train(*self.EARLY, *flags)

    def test_by_a_state_that_is_not_there_yet(self, resnet50):
        """Behind a gain of zero a weight has its first gradient in the second step."""
        state = ("--optimizer", "adamwprune", "--pruning-unit", "steps", "--target-sparsity", "0.9")
        state += ("--pruning-schedule", "one-shot", "--pruning-start")
        with pytest.raises(Failure, match=r"conv\d\.weight: all .* zero.*later PRUNING_START"):
            resnet50.train(*state, "2")
        run = resnet50.train(*state, "3")
        assert run.metadata["final_metrics"]["final/sparsity"] == pytest.approx(0.9, abs=1e-4)

    def test_channels(self, resnet50):
        run = resnet50.train(
            *self.EARLY, "--pruning-pattern", "channel", "--target-sparsity", "0.5"
        )
        weights = run.weights()
        empty = [~w.flatten(1).any(1) for n, w in weights.items() if w.ndim == 4]
        assert sum(int(e.sum()) for e in empty) > 0.4 * sum(len(e) for e in empty)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "read", "rtol"), [("dense", load_file, 1e-4), ("sparse", load_sparse, 0.05)]
)
def test_an_exported_run_is_a_network_of_torchvisions(resnet50, tmp_path, form, read, rtol):
    """At full width and with the first layers for ImageNet, which are what torchvision has."""
    wide = ("--resnet-width", "64", "--resnet-stem", "imagenet", "--image-size", "32")
    run = resnet50.train(*wide, *TestPruning.EARLY, "--target-sparsity", "0.5")
    command = [sys.executable, "-m", "scripts.pruning.export", "--output", str(tmp_path / "out")]
    environment = {**ENVIRONMENT, "FORMAT": form}
    subprocess.run([*command, str(run.dir)], check=True, cwd=ROOT, env=environment)
    theirs, ours = torchvision_model(18), ResNet(18, 10)
    theirs.load_state_dict(read(tmp_path / "out"))
    ours.load_state_dict(run.weights())
    images = torch.randn(2, 3, 64, 64)
    expected = ours.eval()(images)
    found = theirs.eval()(images)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol * expected.abs().max().item())
