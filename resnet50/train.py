#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Train a ResNet to classify images.

    make                                                   what .config says, on all GPUs
    python resnet50/train.py                               the same on one, without make
    python resnet50/train.py --dataset cifar10 --resnet-depth 18 --optimizer sgd
    torchrun --nproc-per-node 4 resnet50/train.py          on four GPUs, or with four processes
    python resnet50/train.py --config PATH                 another .config
    python resnet50/train.py --resume RUN                  go on with a run that was stopped

The training step is in `train_from`, between two rules; what surrounds it is shared by all models
(lib/train/loop.py). Each run writes one directory under OUTPUT_DIR: configuration, metrics,
checkpoints, plots. SIGUSR1 saves, SIGUSR2 saves and stops. Exit codes: 0 done, 1 failure, 2 bad
use, 130 Ctrl-C, 140 SIGUSR2, 143 SIGTERM.
"""

import functools
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script run by its path

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from lib.config.settings import Settings, program_settings
from lib.train.openmp import spin_briefly

if __name__ == "__main__":
    # Before PyTorch, whose import takes two seconds: --help and errors in flags come at once.
    settings = program_settings("resnet50")
    os.chdir(Path(__file__).parent.parent)  # relative paths in the settings start here
    spin_briefly()


import torch

from lib.data.images.from_settings import images_from_settings
from lib.runs.stored_run import StoredRun
from lib.train.classification import classification, fit_batch, right_guesses
from lib.train.precision import choose_precision, compile_on_gpu
from lib.train.ranks import reduce_gradients
from lib.train.session import session
from lib.train.start import Start
from resnet50.prepare import (
    build_model,
    flops_per_image,
    is_matmul_bound,
    require_statistics,
    smoothed_loss,
    trial_step,
)
from resnet50.pretrained import load_pretrained


def train(settings: Settings) -> StoredRun | None:
    """Train alone, or as a rank of the group that torchrun started.

    Returns the run; None on all ranks but the first. Raises lib.errors.Failure for what a user can
    act on, and KeyboardInterrupt after Ctrl-C, once the run is saved.
    """
    with session(settings, matmul_bound=is_matmul_bound(settings)) as start:
        train_from(settings, start)
    return start.trained_run()


def train_from(settings: Settings, start: Start) -> None:
    """From the data to the table of results; one rank's share if there are several."""
    device, smoothed = start.runtime.device, smoothed_loss(settings)
    data = images_from_settings(settings, device, channels=3)
    images, classes = data.train, len(data.classes)

    model = build_model(settings, classes).to(device)
    remark = ""
    if settings.RESNET_PRETRAINED and not start.resumes:
        remark = load_pretrained(model, settings.RESNET_PRETRAINED)
    start.with_weights(model)
    trial = trial_step(settings, start.runtime, model, images, smoothed)
    runtime = choose_precision(settings, start, trial)
    compile_on_gpu(settings, runtime, [model])
    plan = start.plan or fit_batch(settings, runtime, model, images, smoothed)
    require_statistics(settings, plan)
    with classification(
        settings,
        start,
        model,
        data,
        plan,
        flops=flops_per_image(settings, classes),
        check=functools.partial(require_statistics, settings),
    ) as (loop, learner, trained, batches):
        if remark:
            loop.run.say(remark)
        for step in loop:
            # ── one training step ─────────────────────────────────────────────────────────────────
            plan = loop.state.plan
            loss, correct = torch.zeros(2, device=device)
            with loop.catch_out_of_memory():
                for micro_step, (x, y) in enumerate(batches.of(step, plan), 1):
                    # Ranks exchange gradients once a step, while the last backward pass runs.
                    with reduce_gradients(trained, micro_step == plan.micro_steps):
                        with runtime.autocast():
                            logits = trained(x)
                            micro_loss = smoothed(logits, y) / plan.micro_steps
                        learner.scaled(micro_loss).backward()
                    loss += micro_loss.detach()
                    correct += right_guesses(logits, y)
            if loop.out_of_memory:
                logits = micro_loss = None  # free this attempt's memory before the next
                continue
            lr = learner.lr(step)
            grad_norm = learner.update(lr)  # prunes, clips, steps
            # ──────────────────────────────────────────────────────────────────────────────────────
            loop.end_step(loss, grad_norm, lr, accuracy=correct / (plan.micro_steps * plan.micro))


if __name__ == "__main__":
    run_main(lambda: train(settings))
