#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Train LeNet-5 to read handwritten digits.

    make                                                    what .config says
    python lenet5/train.py                                  the same, without make
    python lenet5/train.py --optimizer sgd --num-epochs 5   with changes
    python lenet5/train.py --config PATH                    another .config
    python lenet5/train.py --resume RUN                     go on with a run that was stopped
    torchrun --nproc-per-node 2 lenet5/train.py             on two GPUs, or with two processes

The training step is in `train`, between two rules; what surrounds it is shared by all models
(lib/train/loop.py). Each run writes one directory under OUTPUT_DIR: configuration, metrics,
checkpoints, plots. SIGUSR1 saves, SIGUSR2 saves and stops. Exit codes: 0 done, 1 failure, 2 bad
use, 130 Ctrl-C, 140 SIGUSR2, 143 SIGTERM.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script run by its path

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from lib.config.settings import Settings, load_settings
from lib.errors import BadUse

if __name__ == "__main__":
    # Before PyTorch, whose import takes two seconds: --help and errors in flags come at once.
    settings = load_settings("lenet5")
    os.chdir(Path(__file__).parent.parent)  # relative paths in the settings start here

import torch
from torch.nn import functional as F

from lenet5.model import LeNet5
from lib.data.batches import batch_indices
from lib.data.images.augment import augment
from lib.data.images.datasets import Split
from lib.data.images.from_settings import images_from_settings
from lib.runs.run import NullRun, Run
from lib.train.batch_finding import BatchPlan, find_batch, plan_batch, try_step
from lib.train.evaluation import eval_batches, mean_over_examples
from lib.train.flops import Meter
from lib.train.group import process_group
from lib.train.learner import Learner
from lib.train.loop import Loop
from lib.train.ranks import reduce_gradients, replicate
from lib.train.runtime import Runtime, setup
from lib.train.start import Start
from lib.train.stop import StopRequest
from lib.train.timetable import Timetable

EVAL_BATCH_SIZE = 1024
CLASSES = 10
MISTAKES_SHOWN = 16


def train(settings: Settings, start: Start) -> None:
    """Train from the data to the table of results; one rank's share if there are several."""
    runtime = start.runtime
    data = images_from_settings(settings, runtime.device)
    images, labels = data.train
    model = start.with_weights(LeNet5().to(runtime.device))
    plan = start.plan or fit_batch(settings, runtime, model, data.train)
    timetable = plan_steps(settings, len(labels), plan)
    trained = replicate(model, runtime)
    learner = Learner.from_settings(settings, model, trained, timetable.total_steps)

    def validate(loop: Loop) -> dict[str, float]:
        return evaluate(model, data.val, runtime, loop.stop)

    metrics = ("loss", "accuracy")
    with Loop(
        settings, start, learner, plan, timetable, validate, Meter(runtime), metrics=metrics
    ) as loop:
        loop.announce(
            f"{len(labels):,} training images of {settings.DATASET}",
            model={"parameters": sum(p.numel() for p in model.parameters())},
            dataset=data.info,
        )
        for step in loop:
            # ── one training step ─────────────────────────────────────────────────────────────────
            plan = loop.state.plan
            loss, correct = torch.zeros(2, device=runtime.device)
            batch = batch_indices(settings.SEED, step, len(labels), plan.effective, runtime.device)
            with loop.catch_out_of_memory():
                for micro_step in range(plan.micro_steps):
                    rows = plan.rows(runtime.rank, micro_step)
                    x, y = images[batch[rows]], labels[batch[rows]]
                    if settings.AUGMENT:
                        x = augment(x, settings.SEED, step, rows.start, plan.effective)
                    # Ranks exchange gradients once a step, while the last backward pass runs.
                    with reduce_gradients(trained, micro_step == plan.micro_steps - 1):
                        with runtime.autocast():
                            logits = trained(x)
                            micro_loss = F.cross_entropy(logits, y) / plan.micro_steps
                        micro_loss.backward()
                    loss += micro_loss.detach()
                    correct += (logits.argmax(dim=1) == y).sum()
            if loop.out_of_memory:
                logits = micro_loss = None  # free this attempt's memory before the next
                continue
            lr = learner.lr(step)
            grad_norm = learner.update(lr)  # prunes, clips, steps
            # ──────────────────────────────────────────────────────────────────────────────────────
            loop.end_step(loss, grad_norm, lr, accuracy=correct / (plan.micro_steps * plan.micro))

        # The test images are used only here, with the final weights.
        test = evaluate(model, data.test, runtime, loop.stop)
        loop.finish(**{f"test_{name}": value for name, value in test.items()})
        log_mistakes(loop.run, model, data.test, runtime, loop.state.step)


def fit_batch(settings: Settings, runtime: Runtime, model: LeNet5, split: Split) -> BatchPlan:
    """How the batch of a step is divided. Raises BadUse if it is larger than the training set."""
    plan, n = plan_batch(settings, runtime), len(split.labels)
    if plan.effective > n:
        raise BadUse(
            f"a batch of {plan.effective} images (BATCH_SIZE × GRAD_ACCUM, or "
            "TARGET_EFFECTIVE_BATCH) cannot be larger than the training set, which for "
            f"{settings.DATASET}, without the images for validation and test, has {n} images"
        )

    def attempt(plan: BatchPlan) -> None:
        images, labels = split.images[: plan.micro], split.labels[: plan.micro]
        with runtime.autocast():
            try_step(model, lambda: F.cross_entropy(model(images), labels), runtime.device)

    return find_batch(settings, runtime, plan, attempt, guess=lambda: plan.at_most(plan.effective))


def plan_steps(settings: Settings, n: int, plan: BatchPlan) -> Timetable:
    """What is due when, in a training on `n` images."""
    steps_per_epoch = n // plan.effective
    total_steps = settings.NUM_EPOCHS * steps_per_epoch
    total_steps = min(total_steps, settings.MAX_STEPS or total_steps)
    return Timetable.from_settings(settings, steps_per_epoch, total_steps)


@torch.inference_mode()
def evaluate(model: LeNet5, split: Split, runtime: Runtime, stop: StopRequest) -> dict[str, float]:
    """Mean cross-entropy in nats and accuracy (0 to 1) over all images of `split`."""
    model.eval()
    n = len(split.labels)
    loss, correct = torch.zeros((2,), device=runtime.device)
    for rows, weight in eval_batches(n, EVAL_BATCH_SIZE, runtime, stop):
        images, labels = split.images[rows], split.labels[rows]
        with runtime.autocast():
            logits = model(images)
        if weight:
            loss += F.cross_entropy(logits.float(), labels, reduction="sum")
            correct += (logits.argmax(dim=1) == labels).sum()
    model.train()
    return {"loss": mean_over_examples(loss, n), "accuracy": mean_over_examples(correct, n)}


@torch.inference_mode()
def log_mistakes(
    run: Run | NullRun, model: LeNet5, split: Split, runtime: Runtime, step: int
) -> None:
    """Log the confusion matrix of `split` and some of the images that are misclassified."""
    model.eval()
    with runtime.autocast():
        batches = split.images.split(EVAL_BATCH_SIZE)
        predicted = torch.cat([model(images).argmax(dim=1) for images in batches])
    model.train()
    confusion = torch.bincount(split.labels * CLASSES + predicted, minlength=CLASSES**2)
    run.log_confusion_matrix("test/confusion", confusion.view(CLASSES, CLASSES), step)
    wrong = (predicted != split.labels).nonzero()[:MISTAKES_SHOWN, 0]
    if len(wrong) == 0:
        return
    # One strip of images, side by side; the table has their labels in the same order.
    strip = torch.cat(list(split.images[wrong, 0].float()), dim=1)
    strip = (strip - strip.min()) / (strip.max() - strip.min())
    run.log_image("test/wrong", strip, step, caption="from left to right as in test/wrong_labels")
    pairs = zip(split.labels[wrong].tolist(), predicted[wrong].tolist(), strict=True)
    run.log_table("test/wrong_labels", ["label", "predicted"], list(pairs), step)


def main(settings: Settings) -> None:
    """Train alone, or as a rank of the group that torchrun started."""
    # A network this small spends its time on overhead, which bfloat16 would increase.
    runtime = setup(
        settings.SEED, settings.DEVICE, settings.PRECISION, settings.NUM_THREADS, matmul_bound=False
    )
    with process_group(runtime, timeout=settings.RANK_TIMEOUT, agree_on=settings.as_dict()):
        train(settings, Start.from_settings(settings, runtime))


if __name__ == "__main__":
    run_main(lambda: main(settings))
