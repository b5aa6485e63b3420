# SPDX-License-Identifier: MIT
"""What happens before the first step of a GPT-2 training: from settings to model, data, batches.

Each function is one decision; gpt2/train.py makes them in order and holds the loop.
"""

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import torch

from gpt2.model import GPT
from gpt2.trial import faster_precision, try_step
from lib.config.settings import Settings
from lib.data.prefetch import Batch, prefetch
from lib.data.text.corpora import open_corpus
from lib.data.text.prepare import prepare
from lib.data.text.progress import preparation_progress
from lib.data.text.tokenizers import Tokenizer
from lib.data.text.tokens import Split, TokenSet
from lib.errors import Failure
from lib.runs.run import NullRun, Run
from lib.train import batch_finding
from lib.train.batch_finding import BatchPlan
from lib.train.ranks import any_rank, reduce_gradients, replicate, shard
from lib.train.runtime import Runtime


def load_tokens(settings: Settings, tokenizer: Tokenizer, quiet: bool) -> TokenSet:
    """The tokenised corpus, made first if need be: by one rank while the others wait."""
    corpus = open_corpus(settings.DATASET, settings.DATA_FILES, settings.TEXT_COLUMN)
    progress = nullcontext(lambda state: None)
    if not quiet:
        progress = preparation_progress(settings.DATASET, corpus.size)
    with progress as on_progress:
        directory = prepare(
            Path(settings.DATA_DIR),
            settings.DATASET,
            corpus,
            tokenizer,
            val_fraction=settings.VAL_FRACTION,
            shard_tokens=settings.SHARD_TOKENS,
            workers=settings.NUM_WORKERS,
            on_progress=on_progress,
        )
    return TokenSet.open(directory)


def dataset_info(tokens: TokenSet) -> dict:
    """What metadata.yaml keeps of the corpus."""
    return {
        "name": tokens.meta["recipe"]["dataset"],
        "tokenizer": tokens.meta["recipe"]["tokenizer"],
        "source": tokens.meta["recipe"]["source"],
        "fingerprint": tokens.fingerprint,
        "sizes": {"train": tokens.train.count, "val": tokens.val.count},
    }


def batch_plan(settings: Settings, runtime: Runtime) -> BatchPlan:
    """How many sequences a step has and how they are divided, before any memory is measured."""
    ranks = runtime.world_size
    if settings.HYPER_PARAM_AUTO:
        plan = BatchPlan(settings.TARGET_EFFECTIVE_BATCH, ranks, 1)
        return plan.at_most(settings.BATCH_SIZE)
    effective = settings.BATCH_SIZE * settings.GRAD_ACCUM * ranks
    return BatchPlan(effective, ranks, settings.BATCH_SIZE)


def choose_precision(
    settings: Settings, runtime: Runtime, model: GPT, split: Split, plan: BatchPlan
) -> Runtime:
    """`runtime` with the faster precision, found by trial where units for bfloat16 may not pay."""
    if settings.PRECISION != "auto" or runtime.device.type != "cpu":
        return runtime
    precision = runtime.precision
    if precision == "bfloat16":
        batch = first_batch(settings, runtime, split, plan)
        is_slower = faster_precision(model, *batch) == "float32"
        precision = "float32" if any_rank(is_slower) else "bfloat16"
    return dataclasses.replace(runtime, precision=precision)


def prepare_model(settings: Settings, runtime: Runtime, model: GPT) -> torch.nn.Module:
    """`model` compiled, and spread over the ranks."""
    compile_it = settings.COMPILE and runtime.device.type == "cuda"
    if settings.SHARD:
        if compile_it:
            for block in model.h:
                block.compile()
        return shard(model, model.h, runtime, methods=["generate"])
    if compile_it:
        model.compile()
    return replicate(model, runtime)


def fit_batch(
    settings: Settings, runtime: Runtime, model: torch.nn.Module, split: Split, plan: BatchPlan
) -> BatchPlan:
    """On a GPU, the plan with the micro-batch for which all ranks have memory, found by trial.

    That is the largest one with HYPER_PARAM_AUTO, else BATCH_SIZE or what is left of it. A single
    process with a fixed BATCH_SIZE needs no trial: it halves when a step fails (`smaller_plan`).
    """
    if runtime.device.type != "cuda" or (runtime.world_size == 1 and not settings.HYPER_PARAM_AUTO):
        return plan

    def attempt(plan: BatchPlan) -> None:
        with reduce_gradients(model, False):
            try_step(model, *first_batch(settings, runtime, split, plan), copies=2)

    if settings.HYPER_PARAM_AUTO:
        memory = batch_finding.transformer_memory(
            sum(p.numel() for p in model.parameters()),
            settings.GPT2_N_LAYER,
            settings.GPT2_N_EMBD,
            settings.GPT2_BLOCK_SIZE,
        )
        guess = batch_finding.first_guess(plan, runtime.device, *memory)
        return batch_finding.fit(guess, attempt, runtime.device)
    fitting = batch_finding.fit(plan, attempt, runtime.device, headroom=0.0)
    if fitting != plan and runtime.is_main:
        print(f"out of memory with BATCH_SIZE={plan.micro}: now {fitting}", file=sys.stderr)
    return fitting


def smaller_plan(
    plan: BatchPlan, model: torch.nn.Module, runtime: Runtime, run: Run | NullRun, step: int
) -> BatchPlan:
    """Half the micro-batch and twice the micro-steps, after running out of memory in `step`.

    Drops the gradients of the micro-steps that went well. Raises Failure when nothing smaller is
    left, or other ranks are already waiting for the gradients of this one.
    """
    if runtime.world_size > 1:
        raise Failure(
            f"rank {runtime.rank} ran out of memory in step {step + 1}, in which the other ranks "
            f"wait for it. Restart with a BATCH_SIZE below {plan.micro}, or HYPER_PARAM_AUTO=y"
        )
    model.zero_grad(set_to_none=True)
    smaller = plan.halved()
    batch_finding.release(runtime.device)
    run.say(f"out of memory in step {step + 1}: now {smaller}; the step is done again")
    run.set_info(batch=smaller.as_dict())
    return smaller


def plan_steps(settings: Settings, split: Split, plan: BatchPlan) -> tuple[int, int]:
    """(steps per epoch, steps in all)."""
    windows = split.window_count(settings.GPT2_BLOCK_SIZE)
    steps_per_epoch = max(1, windows // plan.effective)
    return steps_per_epoch, settings.MAX_STEPS or settings.NUM_EPOCHS * steps_per_epoch


def read_batches(
    settings: Settings, runtime: Runtime, split: Split, plan: BatchPlan, first_step: int
) -> Iterator[Batch]:
    """This rank's micro-batches from `first_step` on, without end, read ahead onto the device."""
    read = {"random": split.random_batch, "sequential": split.sequential_batch}
    batches = (
        read[settings.WINDOWS](
            settings.SEED,
            step,
            runtime.rank,
            runtime.world_size,
            plan.effective,
            settings.GPT2_BLOCK_SIZE,
            micro_step,
            plan.micro_steps,
        )
        for step in count(first_step)
        for micro_step in range(plan.micro_steps)
    )
    return prefetch(batches, runtime.device)


def first_batch(settings: Settings, runtime: Runtime, split: Split, plan: BatchPlan) -> Batch:
    """The first micro-batch of the training, for trials."""
    x, y = next(read_batches(settings, runtime, split, plan, 0))
    return x, y
