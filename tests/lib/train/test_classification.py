# SPDX-License-Identifier: MIT
"""What classifiers of images share: exact evaluations, mistakes, batches that are refused."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib.data.images.augment import Augmentation
from lib.data.images.datasets import ImageData
from lib.data.images.in_memory import InMemory, canvas
from lib.data.images.normalization import Normalization
from lib.errors import BadUse
from lib.signals import Terminated
from lib.train import classification
from lib.train.classification import evaluate, fit_batch, log_mistakes, metrics_of, right_guesses
from lib.train.runtime import Runtime
from tests.images import whole

CPU = torch.device("cpu")
ALONE = Runtime(CPU, "float32", rank=0, world_size=1)
NO_STOP = SimpleNamespace(check=lambda: None)


def images(n: int, classes: int, seed: int = 0) -> InMemory:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, 3, 4, 4), generator=random, dtype=torch.uint8)
    labels = torch.randint(classes, (n,), generator=random)
    augment = Augmentation(Normalization((0.5,) * 3, (0.3,) * 3))
    return InMemory(pixels, labels, lambda x: canvas(x, 4, 3), augment, seed)


def network(classes: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, classes))


class Recorded:
    """A run that keeps what is logged."""

    def __init__(self) -> None:
        self.logged = {}

    def __getattr__(self, kind):
        return lambda name, *values, **more: self.logged.update({name: (kind, values, more)})


@pytest.mark.parametrize("classes", [2, 10, 99, 100, 150])
def test_loss_and_accuracies_are_those_of_the_whole_set(classes):
    split, model = images(57, classes), network(classes)
    with torch.no_grad():
        logits = model.eval()(whole(split))
    best = logits.argsort(dim=1, descending=True)
    expected = {
        "loss": F.cross_entropy(logits, split.labels).item(),
        "accuracy": (best[:, 0] == split.labels).float().mean().item(),
    }
    if classes >= 100:
        among_five = (best[:, :5] == split.labels[:, None]).any(dim=1)
        expected["accuracy_top5"] = among_five.float().mean().item()
    for size in (1, 10, 57, 100):
        found = evaluate(model, split, size, ALONE, NO_STOP)
        assert found == pytest.approx(expected, rel=1e-5)
        assert tuple(found) == metrics_of(classes)
    assert model.training


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_the_ranks_share_the_images(monkeypatch, ranks):
    split, model = images(25, 10), network(10)
    alone = evaluate(model, split, 10, ALONE, NO_STOP)
    shares = [
        evaluate(model, split, 10, Runtime(CPU, "float32", rank, ranks), NO_STOP)
        for rank in range(ranks)
    ]
    total = {name: sum(share[name] for share in shares) for name in alone}
    assert total == pytest.approx(alone, rel=1e-6)


def test_a_stop_request_is_noticed_between_batches():
    seen = []

    def check():
        seen.append(1)
        if len(seen) == 3:
            raise Terminated

    with pytest.raises(Terminated):
        evaluate(network(10), images(20, 10), 4, ALONE, SimpleNamespace(check=check))
    assert len(seen) == 3


def test_mistakes_are_counted_and_shown():
    split, model, run = images(60, 3), network(3), Recorded()
    data = ImageData(split, split, split, ["cat", "dog", "owl"], {})
    log_mistakes(run, model, data, 16, ALONE, NO_STOP, step=9)
    with torch.no_grad():
        predicted = model.eval()(whole(split)).argmax(1)
    kind, (matrix, step), more = run.logged["test/confusion"]
    assert (kind, step, more) == ("log_confusion_matrix", 9, {"labels": data.classes})
    expected = torch.zeros(3, 3, dtype=torch.int64)
    for label, guess in zip(split.labels, predicted, strict=True):
        expected[label, guess] += 1
    assert torch.equal(matrix, expected)
    wrong = (predicted != split.labels).nonzero()[:16, 0]
    _, (columns, pairs, _), _ = run.logged["test/wrong_labels"]
    names = [(data.classes[split.labels[i]], data.classes[predicted[i]]) for i in wrong]
    assert columns == ["label", "predicted"] and pairs == names
    _, (strip, _), _ = run.logged["test/wrong"]
    x = torch.cat([*whole(split)[wrong]], dim=2)
    assert torch.equal(strip, (x - x.min()) / (x.max() - x.min()))


def test_without_test_images_there_are_no_mistakes():
    run, split = Recorded(), images(4, 2)
    data = ImageData(split, split, None, ["a", "b"], {})
    log_mistakes(run, network(2), data, 4, ALONE, NO_STOP, step=1)
    assert run.logged == {}


def test_without_a_mistake_there_is_only_the_matrix():
    run, split = Recorded(), images(4, 2)
    labels = iter(split.labels)

    class Perfect(nn.Module):
        def forward(self, x):
            return F.one_hot(torch.stack([next(labels) for _ in x]), 2).float()

    data = ImageData(split, split, split, ["a", "b"], {})
    log_mistakes(run, Perfect(), data, 4, ALONE, NO_STOP, step=1)
    assert [*run.logged] == ["test/confusion"]


def test_a_blended_image_is_guessed_rightly_by_its_larger_share():
    logits = torch.eye(3)
    blended = torch.tensor([[0.7, 0.3, 0.0], [0.6, 0.4, 0.0], [0.0, 0.0, 1.0]])
    assert right_guesses(logits, blended) == 2
    assert right_guesses(logits, torch.tensor([0, 1, 1])) == 2


def batch_settings(**changes):
    values = {"HYPER_PARAM_AUTO": False, "BATCH_SIZE": 8, "GRAD_ACCUM": 1, "MIXUP": None}
    return SimpleNamespace(**values | {"DATASET": "digits"} | changes)


def test_a_batch_larger_than_the_set_is_refused():
    with pytest.raises(BadUse, match=r"a batch of 16 images .*digits.* 10 images"):
        fit_batch(batch_settings(GRAD_ACCUM=2), ALONE, network(2), images(10, 2))


def test_mixup_needs_even_micro_batches():
    odd = batch_settings(BATCH_SIZE=6, MIXUP=0.2)
    two = Runtime(CPU, "float32", rank=1, world_size=2)
    assert fit_batch(odd, ALONE, network(2), images(10, 2)).micro == 6
    with pytest.raises(BadUse, match="even number of images"):
        fit_batch(odd, two, network(2), images(10, 2))


def test_a_trial_takes_a_micro_batch(monkeypatch):
    """What is found on a GPU: here every attempt succeeds."""
    tried = []

    def find_batch(settings, runtime, plan, attempt, guess):
        attempt(guess())
        return guess()

    monkeypatch.setattr(classification, "find_batch", find_batch)
    model = network(2)
    model.register_forward_hook(lambda module, args, out: tried.append(len(args[0])))
    plan = fit_batch(batch_settings(), ALONE, model, images(10, 2))
    assert tried == [8] == [plan.micro]
    assert all(p.grad is None for p in model.parameters())
