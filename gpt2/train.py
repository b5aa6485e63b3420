#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Train GPT-2 to continue text.

    make                                                     what .config says, on all GPUs
    python gpt2/train.py                                     the same on one, without make
    python gpt2/train.py --dataset shakespeare --max-steps 500
    torchrun --nproc-per-node 4 gpt2/train.py                on four GPUs, or with four processes
    python gpt2/train.py --config PATH                       another .config
    python gpt2/train.py --resume RUN                        go on with a run that was stopped

The training step is in `train_from`, between two rules; what surrounds it is shared by all models
(lib/train/loop.py). The corpus is tokenised first if `make data` has not done it. Each run writes
one directory under OUTPUT_DIR: configuration, metrics, checkpoints, plots, a sample. MAX_STEPS
counts updates; with MAX_STEPS=0 training ends after NUM_EPOCHS times as many windows as fit side by
side into the corpus. SIGUSR1 saves, SIGUSR2 saves and stops. Exit codes: 0 done, 1 failure, 2 bad
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
from lib.train.openmp import spin_briefly

if __name__ == "__main__":
    # Before PyTorch, whose import takes two seconds: --help and errors in flags come at once.
    settings = program_settings("gpt2")
    os.chdir(Path(__file__).parent.parent)  # relative paths in the settings start here
    spin_briefly()

import functools

import torch

from gpt2.kernels import cast_once
from gpt2.model import GPT
from gpt2.perplexity import perplexity
from gpt2.prepare import (
    dataset_info,
    fit_batch,
    flops_per_window,
    kernel_trial,
    load_tokens,
    plan_steps,
    read_ahead,
    read_batch,
    spread,
)
from gpt2.pretrained import load_pretrained
from gpt2.sample import write_sample
from gpt2.trained import model_config
from lib.data.prefetch import Batch
from lib.data.text.tokenizers import load_tokenizer
from lib.runs.stored_run import StoredRun
from lib.train.batch_finding import plan_batch
from lib.train.evaluation import eval_batches, mean_over_examples
from lib.train.flops import Meter
from lib.train.learner import Learner
from lib.train.loop import Loop
from lib.train.micro_batches import MicroBatches
from lib.train.precision import choose_precision, compile_on_gpu
from lib.train.ranks import reduce_gradients
from lib.train.runtime import Runtime
from lib.train.session import session
from lib.train.start import Start
from lib.train.stop import StopRequest


def train(settings: Settings) -> StoredRun | None:
    """Train alone, or as a rank of the group that torchrun started.

    Returns the run; None on all ranks but the first. Raises lib.errors.Failure for what a user can
    act on, and KeyboardInterrupt after Ctrl-C, once the run is saved.
    """
    with session(settings, always=settings.SHARD) as start:
        train_from(settings, start)
    return start.trained_run()


def train_from(settings: Settings, start: Start) -> None:
    """From the data to the table of results; one rank's share if there are several."""
    tokenizer = load_tokenizer(settings.TOKENIZER)
    config = model_config(settings, tokenizer.vocab_size)
    tokens = load_tokens(settings, tokenizer, quiet=not start.runtime.is_main)
    tokens.check(config.block_size, config.vocab_size)
    read = functools.partial(read_batch, settings, start.runtime, tokens.train)

    model = GPT(config).to(start.runtime.device)
    model.checkpoint_every = settings.GPT2_ACTIVATION_CHECKPOINTING
    if settings.GPT2_PRETRAINED and not start.resumes:
        load_pretrained(model, settings.GPT2_PRETRAINED)
    start.with_weights(model)
    plan = start.plan or plan_batch(settings, start.runtime)
    trial = kernel_trial(model, plan.micro, lambda: read(plan, 0, 0))
    runtime = choose_precision(settings, start, trial)
    model.arithmetic.use(runtime.precision, runtime.kernels)
    compile_on_gpu(settings, runtime, model.h if settings.SHARD else [model])
    plan = start.plan or fit_batch(settings, runtime, model, plan, read)
    trained = spread(settings, runtime, model)
    timetable = plan_steps(settings, tokens.train, plan)
    learner = Learner.from_settings(settings, runtime, model, trained, timetable.total_steps)
    batches = MicroBatches(functools.partial(read_ahead, read, runtime.device))
    windows = tokens.val.windows(config.block_size, settings.EVAL_WINDOWS)
    meter = Meter(runtime, unit="tokens", units=config.block_size, flops=flops_per_window(model))

    def validate(loop: Loop) -> dict[str, float]:
        return evaluate(trained, windows, runtime, loop.state.plan.micro, loop.stop)

    of_loss = {"perplexity": perplexity}
    with Loop(settings, start, learner, plan, timetable, validate, meter, of_loss=of_loss) as loop:
        loop.announce(
            f"{tokens.train.count:,} training tokens of {settings.DATASET}",
            model={"parameters": model.parameter_count(), "vocab_size": config.vocab_size},
            dataset=dataset_info(tokens),
        )
        for step in loop:
            # ── one training step ─────────────────────────────────────────────────────────────────
            loss, plan = torch.zeros((), device=runtime.device), loop.state.plan
            with loop.catch_out_of_memory(), cast_once():
                for micro_step, (x, y) in enumerate(batches.of(step, plan), 1):
                    # Ranks exchange gradients once a step, while the last backward pass runs.
                    with reduce_gradients(trained, micro_step == plan.micro_steps):
                        micro_loss = trained(x, y) / plan.micro_steps
                        learner.scaled(micro_loss).backward()
                    loss += micro_loss.detach()
            if loop.out_of_memory:
                micro_loss = None  # free this attempt's memory before the next
                continue
            lr = learner.lr(step)
            grad_norm = learner.update(lr)  # prunes, clips, steps
            # ──────────────────────────────────────────────────────────────────────────────────────
            loop.end_step(loss, grad_norm, lr)

        loop.finish()
        if settings.SAMPLE_TOKENS:
            with learner.averaged(), cast_once():
                write_sample(settings, loop.run, model, tokenizer, runtime, loop.state.step)


@torch.no_grad()
def evaluate(
    model: torch.nn.Module, windows: Batch, runtime: Runtime, batch_size: int, stop: StopRequest
) -> dict[str, float]:
    """Mean cross-entropy in nats over fixed windows, which the ranks share."""
    model.eval()
    n = len(windows[0])
    total = torch.zeros((), device=runtime.device)
    with cast_once():
        for rows, weight in eval_batches(n, batch_size, runtime, stop):
            x, y = (tensor[rows].to(runtime.device) for tensor in windows)
            total += model(x, y) * weight
    model.train()
    return {"loss": mean_over_examples(total, n)}


if __name__ == "__main__":
    run_main(lambda: train(settings))
