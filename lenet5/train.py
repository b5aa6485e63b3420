#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Train LeNet-5 to read handwritten digits.

    make                                                    what .config says
    python lenet5/train.py                                  the same, without make
    python lenet5/train.py --optimizer sgd --num-epochs 5   with changes
    python lenet5/train.py --config PATH                    another .config

Everything is in this file from top to bottom; `train` is the loop. Each run writes one directory
under OUTPUT_DIR: configuration, metrics, checkpoints, plots. Exit codes: 0 done, 1 failure, 2 bad
use, 130 Ctrl-C, 143 SIGTERM.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script run by its path

from lib.cli import run_main
from lib.config.settings import Settings, load_settings
from lib.errors import BadUse

if __name__ == "__main__":
    # Before PyTorch, which takes two seconds to import: --help and a wrong flag answer at once.
    settings = load_settings("lenet5")
    os.chdir(Path(__file__).parent.parent)  # where relative paths in the settings start

import math
import time

import torch
from torch.nn import functional as F

from lenet5.model import LeNet5
from lib.data.batches import batch_indices
from lib.data.images.augment import augment
from lib.data.images.datasets import ImageData, Split, load_images
from lib.optim import describe_decay
from lib.optim.from_settings import optimizer_from_settings, schedule_from_settings
from lib.optim.update import apply_update
from lib.runs.run import NullRun, Run
from lib.train import checkpoint
from lib.train.guard import LossGuard
from lib.train.progress import open_progress
from lib.train.pruning_report import finish_pruning, log_scores, pruning_info
from lib.train.runtime import Runtime, setup
from lib.train.stop import StopRequest

EVAL_BATCH_SIZE = 1024
CLASSES = 10
MISTAKES_SHOWN = 16


def train(settings: Settings) -> None:
    """One training, from the data to the table of results.

    Long on purpose: whoever wants to know what a step does reads on, and looks nowhere else.
    """
    # A network this small spends its time on overhead, which bfloat16 would only add to.
    runtime = setup(
        settings.SEED, settings.DEVICE, settings.PRECISION, settings.NUM_THREADS, matmul_bound=False
    )
    data = load_data(settings, runtime)
    steps_per_epoch, total_steps = plan(settings, len(data.train.labels))
    eval_interval = settings.EVAL_INTERVAL or steps_per_epoch
    save_interval = settings.CHECKPOINT_INTERVAL or eval_interval

    model = LeNet5().to(runtime.device)
    optimizer, pruner = optimizer_from_settings(settings, model, total_steps)
    learning_rate = schedule_from_settings(settings, total_steps)

    step = 0  # updates done
    best_val_loss, best_val_accuracy = math.inf, 0.0
    guard = LossGuard()

    def save(name: str) -> None:
        if runtime.is_main:
            state = {
                "model_state_dict": model.state_dict(),
                "optimizer_state_dict": optimizer.state_dict(),
                "epoch": step // steps_per_epoch,
                "step": step,
                "best_val_loss": best_val_loss,
                "settings_hash": settings.hash,
            }
            checkpoint.save(run.dir / "checkpoints" / name, state)

    with (
        Run.from_settings(settings, model="lenet5") as run,
        open_progress(total_steps, steps_per_epoch, say=run.say) as progress,
        StopRequest() as stop,
    ):
        parameters = sum(p.numel() for p in model.parameters())
        run.set_info(
            dataset=data.info, model={"parameters": parameters}, pruning=pruning_info(pruner)
        )
        run.say(
            f"{run.name}: {parameters:,} parameters, {len(data.train.labels):,} training images of "
            f"{settings.DATASET}, {total_steps:,} steps in {runtime.precision} on {runtime.device}"
        )
        run.say(describe_decay(optimizer))
        started = time.perf_counter()
        since, since_step = started, step  # from where perf/* are measured
        try:
            while step < total_steps:
                stop.check()

                # ── one training step ─────────────────────────────────────────────────────────────
                batch = batch_indices(
                    settings.SEED, step, len(data.train.labels), settings.BATCH_SIZE, runtime.device
                )
                images, labels = data.train.images[batch], data.train.labels[batch]
                if settings.AUGMENT:
                    images = augment(images, settings.SEED, step)
                with runtime.autocast():
                    logits = model(images)
                    loss = F.cross_entropy(logits, labels)
                loss.backward()
                lr = learning_rate(step)
                grad_norm = apply_update(
                    optimizer, lr=lr, grad_clip=settings.GRAD_CLIP, pruner=pruner
                )
                step += 1
                # ──────────────────────────────────────────────────────────────────────────────────

                is_last = step == total_steps
                logs = step % settings.LOG_INTERVAL == 0 or step == 1 or is_last
                evaluates = step % eval_interval == 0 or is_last
                saves = step % save_interval == 0 or is_last
                metrics = {}
                # To read a number back makes a GPU wait: there, only when it is needed.
                if logs or saves or runtime.device.type == "cpu":
                    guard.check("training loss", loss.item(), step)
                    guard.check("norm of the gradient", grad_norm.item(), step)
                if logs:
                    step_s = (time.perf_counter() - since) / (step - since_step)
                    since, since_step = time.perf_counter(), step
                    metrics = {
                        "train/loss": loss.item(),
                        "train/accuracy": (logits.argmax(dim=1) == labels).float().mean().item(),
                        "lr": lr,
                        "grad_norm": grad_norm.item(),
                        "perf/step_ms": 1000 * step_s,
                        "perf/samples_per_s": settings.BATCH_SIZE / step_s,
                        **pruner.metrics(),
                    }
                    run.log(metrics, step)
                    log_scores(run, pruner, step)

                paused = time.perf_counter()
                if evaluates:
                    val_loss, val_accuracy = evaluate(model, data.val, runtime, stop)
                    val_metrics = {"val/loss": val_loss, "val/accuracy": val_accuracy}
                    run.log(val_metrics, step)
                    guard.check("validation loss", val_loss, step)
                    metrics |= val_metrics
                    # A network that is not pruned to the end yet is another one, and no rival.
                    if pruner.done:
                        best_val_accuracy = max(best_val_accuracy, val_accuracy)
                    if pruner.done and val_loss < best_val_loss:
                        best_val_loss = val_loss
                        save("best.pt")
                    every = settings.HISTOGRAM_INTERVAL
                    if every and step // eval_interval % every == 0:
                        for name, parameter in model.named_parameters():
                            run.log_histogram(f"weights/{name}", parameter, step)
                if saves:
                    save("last.pt")
                if metrics:
                    progress.update(step, metrics)
                since += time.perf_counter() - paused  # perf/* are about training alone

        except KeyboardInterrupt:  # from stop.check: no step is half done
            save("last.pt")
            run.say(f"interrupted after step {step}; its state is in {run.dir}/checkpoints/last.pt")
            raise

        final_metrics = {
            "final/best_val_loss": best_val_loss,
            "final/best_val_accuracy": best_val_accuracy,
            "final/training_time_s": time.perf_counter() - started,
        }
        # The only look at the test images, with the weights that training ended with.
        test_loss, test_accuracy = evaluate(model, data.test, runtime, stop)
        final_metrics |= {"final/test_loss": test_loss, "final/test_accuracy": test_accuracy}
        final_metrics |= finish_pruning(run, pruner, step)
        run.log(final_metrics, step)
        run.summary(final_metrics)
        log_mistakes(run, model, data.test, runtime, step)
        if settings.LOG_CHECKPOINTS:
            best = {"val/loss": best_val_loss, "val/accuracy": best_val_accuracy}
            run.log_artifact(
                run.dir / "checkpoints" / "best.pt", "model", best, name="lenet5", step=step
            )
        if settings.PLOTS:
            run.plot()
    run.print_summary()


def load_data(settings: Settings, runtime: Runtime) -> ImageData:
    """The images, whole, in the memory of the device."""
    return load_images(
        settings.DATASET,
        seed=settings.SEED,
        val_fraction=settings.VAL_FRACTION,
        data_dir=settings.DATA_DIR,
        files=settings.DATA_FILES,
        workers=settings.NUM_WORKERS,
        device=runtime.device,
    )


def plan(settings: Settings, n: int) -> tuple[int, int]:
    """(steps per epoch, steps in all) with `n` training images. Raises BadUse if n is too small."""
    batch_size = settings.BATCH_SIZE
    if batch_size > n:
        raise BadUse(
            f"BATCH_SIZE={batch_size}: a batch cannot be larger than the training set, which for "
            f"{settings.DATASET}, without the images for validation and test, has {n} images"
        )
    steps_per_epoch = n // batch_size
    total_steps = settings.NUM_EPOCHS * steps_per_epoch
    return steps_per_epoch, min(total_steps, settings.MAX_STEPS or total_steps)


@torch.inference_mode()
def evaluate(
    model: LeNet5, split: Split, runtime: Runtime, stop: StopRequest
) -> tuple[float, float]:
    """(mean cross-entropy in nats, share of correct answers) over all images of `split`."""
    model.eval()
    loss, correct = torch.zeros((2,), device=runtime.device)
    for start in range(0, len(split.labels), EVAL_BATCH_SIZE):
        stop.check()
        batch = slice(start, start + EVAL_BATCH_SIZE)
        images, labels = split.images[batch], split.labels[batch]
        with runtime.autocast():
            logits = model(images)
        loss += F.cross_entropy(logits.float(), labels, reduction="sum")
        correct += (logits.argmax(dim=1) == labels).sum()
    model.train()
    n = len(split.labels)
    return loss.item() / n, correct.item() / n


@torch.inference_mode()
def log_mistakes(
    run: Run | NullRun, model: LeNet5, split: Split, runtime: Runtime, step: int
) -> None:
    """Log the confusion matrix over `split` and pictures of images that are read wrongly."""
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


if __name__ == "__main__":
    run_main(lambda: train(settings))
