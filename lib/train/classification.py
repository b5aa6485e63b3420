# SPDX-License-Identifier: MIT
"""What classifiers of images share: all that stands around their steps.

data = images_from_settings(settings, runtime.device, channels=1)
plan = start.plan or fit_batch(settings, runtime, model, data.train)
with classification(settings, start, model, data, plan) as (loop, learner, trained, batches):
    for step in loop:
        …               # one training step: batches.of(step, plan), learner.update(lr)
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.images.datasets import ImageData, Images
from ..data.prefetch import Batch
from ..errors import BadUse
from ..files import write_atomic
from ..runs.run import NullRun, Run
from .batch_finding import BatchPlan, find_batch, plan_batch, try_step
from .evaluation import eval_shares, mean_over_examples
from .flops import Meter
from .learner import Learner
from .loop import Loop
from .micro_batches import MicroBatches
from .ranks import replicate, sum_over_ranks
from .runtime import Runtime
from .start import Start
from .stop import StopRequest
from .timetable import Timetable

TOP5_FROM = 100  # classes, from which on the accuracy of the five best guesses is measured as well
LARGEST_MATRIX = 200  # classes whose confusion matrix can still be looked at
MISTAKES_SHOWN = 16
CLASSES = "classes.json"  # in the run directory: the names, in the order of the outputs


def fit_batch(
    settings: Any,
    runtime: Runtime,
    model: nn.Module,
    images: Images,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> BatchPlan:
    """How the batch of a step is divided.

    Raises BadUse if it is larger than the training set, or divides pairs of MIXUP.
    """
    plan, n = plan_batch(settings, runtime), len(images)
    if settings.MIXUP and plan.micro % 2:
        raise BadUse(
            f"MIXUP={settings.MIXUP} blends images in pairs, and a batch of {plan} would divide "
            "some: choose a BATCH_SIZE that gives each rank an even number of images"
        )
    if plan.effective > n:
        raise BadUse(
            f"a batch of {plan.effective} images (BATCH_SIZE × GRAD_ACCUM, or "
            "TARGET_EFFECTIVE_BATCH) cannot be larger than the training set, which for "
            f"{settings.DATASET}, without the images for validation and test, has {n} images"
        )

    def attempt(plan: BatchPlan) -> None:
        (x, y), *_ = images.in_order([slice(0, plan.micro)])
        with runtime.autocast():
            try_step(model, lambda: loss(model(x), y), runtime.device)

    return find_batch(settings, runtime, plan, attempt, guess=lambda: plan.at_most(plan.effective))


class Classification(NamedTuple):
    """What a step needs; `trained` is the model, spread over the ranks."""

    loop: Loop
    learner: Learner
    trained: nn.Module
    batches: MicroBatches


@contextmanager
def classification(
    settings: Any,
    start: Start,
    model: nn.Module,
    data: ImageData,
    plan: BatchPlan,
    *,
    flops: float = 0.0,
    check: Callable[[BatchPlan], None] = lambda plan: None,
) -> Iterator[Classification]:
    """Before the steps learner, batches and loop; afterwards results, test images and mistakes.

    flops: of a training step for each image; 0 where unknown. check: raises what is wrong with a
    plan, which may have been halved since it was made.
    """
    runtime, classes = start.runtime, len(data.classes)
    timetable = plan_steps(settings, len(data.train), plan)
    trained = replicate(model, runtime)
    learner = Learner.from_settings(settings, runtime, model, trained, timetable.total_steps)
    meter, metrics = Meter(runtime, flops=flops), metrics_of(classes)

    def stream(step: int, plan: BatchPlan) -> Iterator[Batch]:
        check(plan)
        return data.train.training(plan.shares(runtime.rank, step), plan.effective)

    def validate(loop: Loop) -> dict[str, float]:
        return evaluate(model, data.val, loop.state.plan.micro, runtime, loop.stop)

    with Loop(settings, start, learner, plan, timetable, validate, meter, metrics=metrics) as loop:
        loop.announce(
            f"{len(data.train):,} training images of {settings.DATASET}",
            model={"parameters": sum(p.numel() for p in model.parameters()), "classes": classes},
            dataset=data.info,
        )
        write_classes(loop.run, data.classes, runtime)
        yield Classification(loop, learner, trained, MicroBatches(stream))
        finish(loop, learner, model, data, loop.state.plan.micro, runtime)


def write_classes(run: Run | NullRun, classes: list[str], runtime: Runtime) -> None:
    """Keep the names of the classes as classes.json, for whoever uses the network later."""
    if runtime.is_main:
        try:
            write_atomic(run.dir / CLASSES, json.dumps(classes, ensure_ascii=False))
        except OSError as error:
            run.say(f"warning: {CLASSES} was not written: {error.strerror}")


def plan_steps(settings: Any, n: int, plan: BatchPlan) -> Timetable:
    """What is due when, in a training on `n` images."""
    steps_per_epoch = n // plan.effective
    total_steps = settings.NUM_EPOCHS * steps_per_epoch
    total_steps = min(total_steps, settings.MAX_STEPS or total_steps)
    return Timetable.from_settings(settings, steps_per_epoch, total_steps)


def right_guesses(logits: Tensor, y: Tensor) -> Tensor:
    """How many images are classified rightly, 0-d; of blended ones by the largest share of a class.

    y: int64 [m], or float [m, classes] with mixup.
    """
    labels = y if y.ndim == 1 else y.argmax(dim=1)
    return (logits.argmax(dim=1) == labels).sum()


def metrics_of(classes: int) -> tuple[str, ...]:
    """The names of what `evaluate` returns."""
    return ("loss", "accuracy", "accuracy_top5") if classes >= TOP5_FROM else ("loss", "accuracy")


@torch.inference_mode()
def evaluate(
    model: nn.Module, images: Images, batch_size: int, runtime: Runtime, stop: StopRequest
) -> dict[str, float]:
    """Mean cross-entropy in nats and accuracies (0 to 1) over all `images`, shared by the ranks.

    accuracy_top5 is the share of images whose class is among the five best guesses; it is there
    from TOP5_FROM classes on.
    """
    totals: dict[str, Tensor] = {}
    for _, y, logits, weight in _predictions(model, images, batch_size, runtime, stop):
        for name, value in _sums(logits.float(), y).items():
            totals[name] = totals.get(name, 0) + value * bool(weight)
    return {name: mean_over_examples(total, len(images)) for name, total in totals.items()}


def finish(
    loop: Loop,
    learner: Learner,
    model: nn.Module,
    data: ImageData,
    batch_size: int,
    runtime: Runtime,
) -> None:
    """Record the results, with those on the test images, and what `log_mistakes` says of them.

    The test images are used only here, with the final weights (their running mean with EMA_DECAY).
    """
    with learner.averaged():
        test = {}
        if data.test is not None:
            test = evaluate(model, data.test, batch_size, runtime, loop.stop)
        loop.finish(**{f"test_{name}": value for name, value in test.items()})
        log_mistakes(loop.run, model, data, batch_size, runtime, loop.stop, loop.state.step)


@torch.inference_mode()
def log_mistakes(
    run: Run | NullRun,
    model: nn.Module,
    data: ImageData,
    batch_size: int,
    runtime: Runtime,
    stop: StopRequest,
    step: int,
) -> None:
    """Log the confusion matrix of the test images, if there are any, and some of the mistakes.

    The ranks share the images; the mistakes are those that the main rank has seen.
    """
    if data.test is None or len(data.classes) > LARGEST_MATRIX:
        return
    classes = len(data.classes)
    confusion = torch.zeros(classes**2, dtype=torch.int64, device=runtime.device)
    wrong: list[tuple[Tensor, int, int]] = []  # image, label, prediction
    for x, y, logits, weight in _predictions(model, data.test, batch_size, runtime, stop):
        if not weight:
            continue
        predicted = logits.argmax(dim=1)
        confusion += torch.bincount(y * classes + predicted, minlength=classes**2)
        for i in (predicted != y).nonzero()[: MISTAKES_SHOWN - len(wrong), 0].tolist():
            wrong.append((x[i].float().cpu(), int(y[i]), int(predicted[i])))
    matrix = sum_over_ranks(confusion).view(classes, classes)
    run.log_confusion_matrix("test/confusion", matrix, step, labels=data.classes)
    if wrong:
        _log_images(run, wrong, data.classes, step)


def _predictions(
    model: nn.Module, images: Images, batch_size: int, runtime: Runtime, stop: StopRequest
) -> Iterator[tuple[Tensor, Tensor, Tensor, int]]:
    """(images, labels, logits, weight) of this rank's batches; weight 0: another rank has it.

    The model is in its evaluation mode meanwhile.
    """
    shares = [*eval_shares(len(images), batch_size, runtime)]
    batches = images.in_order([rows for rows, _ in shares])
    model.eval()
    for (x, y), (_, weight) in zip(batches, shares, strict=True):
        stop.check()
        with runtime.autocast():
            logits = model(x)
        yield x, y, logits, weight
    model.train()


def _sums(logits: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Over the images of a batch; by the names of `metrics_of`."""
    sums = {
        "loss": F.cross_entropy(logits, y, reduction="sum"),
        "accuracy": right_guesses(logits, y),
    }
    if logits.shape[1] >= TOP5_FROM:
        best = logits.topk(5, dim=1).indices
        sums["accuracy_top5"] = (best == y[:, None]).sum()
    return sums


def _log_images(
    run: Run | NullRun, wrong: list[tuple[Tensor, int, int]], classes: list[str], step: int
) -> None:
    """One strip of images, side by side; the table has their labels in the same order."""
    strip = torch.cat([image for image, _, _ in wrong], dim=2)
    strip = (strip - strip.min()) / (strip.max() - strip.min())
    run.log_image("test/wrong", strip, step, caption="from left to right as in test/wrong_labels")
    pairs = [(classes[label], classes[predicted]) for _, label, predicted in wrong]
    run.log_table("test/wrong_labels", ["label", "predicted"], pairs, step)
