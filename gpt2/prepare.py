# SPDX-License-Identifier: MIT
"""What a GPT-2 training decides before its first step: data, precision, ranks, batch, timetable.

Each function is one decision; gpt2/train.py calls them in order.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import count

import torch

from gpt2.implementations import TABLE, WITH_MATRIX_UNITS
from gpt2.kernels import LOGITS_AT_ONCE
from gpt2.model import GPT, GPTConfig
from lib.config.settings import Settings
from lib.data.prefetch import Batch, prefetch
from lib.data.text.from_settings import corpus_from_settings
from lib.data.text.tokenizers import Tokenizer
from lib.data.text.tokens import Split, TokenSet
from lib.train import batch_finding
from lib.train.batch_finding import BatchPlan
from lib.train.flops import transformer_flops_per_token
from lib.train.precision import Kernels, Trial, has_matrix_units
from lib.train.ranks import replicate, shard
from lib.train.runtime import Runtime
from lib.train.timetable import Timetable


def load_tokens(settings: Settings, tokenizer: Tokenizer, quiet: bool) -> TokenSet:
    """The tokenised corpus; if it is not prepared yet, one rank does so while the others wait."""
    return TokenSet.open(corpus_from_settings(settings, tokenizer, quiet))


def dataset_info(tokens: TokenSet) -> dict:
    """What metadata.yaml records about the corpus."""
    return {
        "name": tokens.meta["recipe"]["dataset"],
        "tokenizer": tokens.meta["recipe"]["tokenizer"],
        "source": tokens.meta["recipe"]["source"],
        "fingerprint": tokens.fingerprint,
        "sizes": {"train": tokens.train.count, "val": tokens.val.count},
    }


def kernel_trial(model: GPT, batch: int, read: Callable[[], Batch]) -> Trial:
    """What may be tried: a step with the batch that `read` gives, and one block of it."""
    first_batch = functools.cache(read)  # not read where no trial is needed
    config, block, how = model.config, model.h[0], model.arithmetic
    shape = (batch, config.block_size, config.n_embd)

    def step(precision: str, kernels: Kernels) -> None:
        how.use(precision, kernels)
        x, y = first_batch()
        batch_finding.try_step(model, lambda: model(x, y), x.device, copies=0)

    @functools.cache
    def stream(dtype: torch.dtype) -> torch.Tensor:
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return noise.to(dtype).requires_grad_()

    def part(kernels: Kernels) -> None:
        how.use("bfloat16", kernels)
        x = stream(how.residual_dtype)
        batch_finding.try_step(block, lambda: block(x).square().mean(), x.device, copies=0)
        x.grad = None

    default = WITH_MATRIX_UNITS if has_matrix_units() else {}
    about = {"model": asdict(config), "batch": batch}
    return Trial(step, about, TABLE, default, part)


def spread(settings: Settings, runtime: Runtime, model: GPT) -> torch.nn.Module:
    """`model`, replicated or sharded over the ranks."""
    if settings.SHARD:
        return shard(model, model.h, runtime, methods=["next_logits"])
    return replicate(model, runtime)


def fit_batch(
    settings: Settings,
    runtime: Runtime,
    model: GPT,
    plan: BatchPlan,
    read: Callable[[BatchPlan, int, int], Batch],
) -> BatchPlan:
    """The plan with a micro-batch for which all ranks have memory (lib/train/batch_finding.py).

    A model to be sharded is too large for a trial step on one GPU, and a trial on all of them would
    hang if one ran out of memory: for it, HYPER_PARAM_AUTO decides by formula.
    """
    device, ranks = runtime.device, runtime.world_size if settings.SHARD else 1

    def guess() -> BatchPlan:
        state, loss, per_window = training_memory(
            model.config, model.parameter_count(), runtime.precision, model.checkpoint_every
        )
        return batch_finding.first_guess(plan, device, state // ranks + loss, per_window)

    def by_formula(plan: BatchPlan) -> None:
        if plan.micro > guess().micro:
            raise torch.OutOfMemoryError

    def attempt(plan: BatchPlan) -> None:
        x, y = (tensor.to(device) for tensor in read(plan, 0, 0))
        batch_finding.try_step(model, lambda: model(x, y), device)

    if not settings.SHARD:
        return batch_finding.find_batch(settings, runtime, plan, attempt, guess)
    if device.type != "cuda" or not settings.HYPER_PARAM_AUTO:
        return plan
    return batch_finding.fit(guess(), by_formula, device)


def training_memory(
    config: GPTConfig, parameters: int, precision: str, checkpoint_every: int
) -> tuple[int, int, int]:
    """Bytes of a training on a GPU: of weights and optimizer, of the loss, of each sequence.

    The loss takes the logits of as many rows as are computed at once, twice in float32 and once in
    the precision of the products.
    """
    state, per_window = batch_finding.transformer_memory(
        parameters,
        config.n_layer,
        config.n_embd,
        config.block_size,
        outputs=config.padded_vocab_size,
        precision=precision,
        checkpoint_every=checkpoint_every,
    )
    logit = 8 + (4 if precision == "float32" else 2)
    return state, logit * LOGITS_AT_ONCE["cuda"], per_window


def plan_steps(settings: Settings, split: Split, plan: BatchPlan) -> Timetable:
    """What is due when, in a training on the windows of `split`."""
    windows = split.window_count(settings.GPT2_BLOCK_SIZE)
    steps_per_epoch = max(1, windows // plan.effective)
    total_steps = settings.MAX_STEPS or settings.NUM_EPOCHS * steps_per_epoch
    return Timetable.from_settings(settings, steps_per_epoch, total_steps)


def read_batch(
    settings: Settings, runtime: Runtime, split: Split, plan: BatchPlan, step: int, micro_step: int
) -> Batch:
    """This rank's micro-batch `micro_step` of update number `step`, on the CPU."""
    read = {"random": split.random_batch, "sequential": split.sequential_batch}
    return read[settings.WINDOWS](
        seed=settings.SEED,
        step=step,
        rank=runtime.rank,
        world_size=runtime.world_size,
        global_batch=plan.effective,
        block_size=settings.GPT2_BLOCK_SIZE,
        micro_step=micro_step,
        micro_steps=plan.micro_steps,
    )


def read_ahead(
    read: Callable[[BatchPlan, int, int], Batch],
    device: torch.device,
    step: int,
    plan: BatchPlan,
) -> Iterator[Batch]:
    """The micro-batches that `read` returns from `step` on, copied to `device` by a thread."""
    turns = ((s, micro_step) for s in count(step) for micro_step in range(plan.micro_steps))
    return prefetch((read(plan, s, micro_step) for s, micro_step in turns), device)


def flops_per_window(model: GPT) -> float:
    """Flops of a training step for each sequence (lib/train/flops.py)."""
    config = model.config
    # Position embeddings are looked up; the token embedding is a product, at the output.
    parameters = model.parameter_count() - config.block_size * config.n_embd
    per_token = transformer_flops_per_token(
        parameters, config.n_layer, config.n_embd, config.block_size
    )
    return config.block_size * per_token
