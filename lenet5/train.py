#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Train LeNet-5 to read handwritten digits.

    make                                                    what .config says
    python lenet5/train.py                                  the same, without make
    python lenet5/train.py --optimizer sgd --num-epochs 5   with changes
    python lenet5/train.py --config PATH                    another .config
    python lenet5/train.py --resume RUN                     go on with a run that was stopped
    torchrun --nproc-per-node 2 lenet5/train.py             on two GPUs, or with two processes

The training step is in `train_from`, between two rules; what surrounds it is shared by all models
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

from lib.config.settings import Settings, program_settings

if __name__ == "__main__":
    # Before PyTorch, whose import takes two seconds: --help and errors in flags come at once.
    settings = program_settings("lenet5")
    os.chdir(Path(__file__).parent.parent)  # relative paths in the settings start here

import torch
from torch.nn import functional as F

from lenet5.model import LeNet5
from lib.data.images.from_settings import images_from_settings
from lib.runs.stored_run import StoredRun
from lib.train.classification import classification, fit_batch, right_guesses
from lib.train.ranks import reduce_gradients
from lib.train.session import session
from lib.train.start import Start


def train(settings: Settings) -> StoredRun | None:
    """Train alone, or as a rank of the group that torchrun started.

    Returns the run; None on all ranks but the first. Raises lib.errors.Failure for what a user can
    act on, and KeyboardInterrupt after Ctrl-C, once the run is saved.
    """
    # A network this small spends its time on overhead, which bfloat16 would increase.
    with session(settings, matmul_bound=False) as start:
        train_from(settings, start)
    return start.trained_run()


def train_from(settings: Settings, start: Start) -> None:
    """From the data to the table of results; one rank's share if there are several."""
    runtime = start.runtime
    data = images_from_settings(settings, runtime.device, channels=1)
    model = start.with_weights(LeNet5(len(data.classes)).to(runtime.device))
    plan = start.plan or fit_batch(settings, runtime, model, data.train)
    with classification(settings, start, model, data, plan) as (loop, learner, trained, batches):
        for step in loop:
            # ── one training step ─────────────────────────────────────────────────────────────────
            plan = loop.state.plan
            loss, correct = torch.zeros(2, device=runtime.device)
            with loop.catch_out_of_memory():
                for micro_step, (x, y) in enumerate(batches.of(step, plan), 1):
                    # Ranks exchange gradients once a step, while the last backward pass runs.
                    with reduce_gradients(trained, micro_step == plan.micro_steps):
                        with runtime.autocast():
                            logits = trained(x)
                            micro_loss = F.cross_entropy(logits, y) / plan.micro_steps
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
