#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Train GPT-2 to continue text.

    make                                                     what .config says, on all GPUs
    python gpt2/train.py                                     the same on one, without make
    python gpt2/train.py --dataset shakespeare --max-steps 500
    torchrun --nproc-per-node 4 gpt2/train.py                on four GPUs, or with four processes
    python gpt2/train.py --config PATH                       another .config

Everything is in this file from top to bottom; `train` is the loop. The corpus is tokenised first
if `make data` has not done it. Each run writes one directory under OUTPUT_DIR: configuration,
metrics, checkpoints, plots, a sample. MAX_STEPS counts updates; with MAX_STEPS=0 training ends
after NUM_EPOCHS times as many windows as lie side by side in the corpus. Exit codes: 0 done,
1 failure, 2 bad use, 130 Ctrl-C, 143 SIGTERM.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script run by its path

from lib.cli import run_main
from lib.config.settings import Settings, load_settings
from lib.train.openmp import spin_briefly

if __name__ == "__main__":
    # Before PyTorch, which takes two seconds to import: --help and a wrong flag answer at once.
    settings = load_settings("gpt2")
    os.chdir(Path(__file__).parent.parent)  # where relative paths in the settings start
    spin_briefly()

import io
import math
import time

import torch

from gpt2.model import GPT
from gpt2.prepare import (
    batch_plan,
    choose_precision,
    dataset_info,
    fit_batch,
    load_tokens,
    plan_steps,
    prepare_model,
    read_batches,
    smaller_plan,
)
from gpt2.pretrained import load_pretrained
from gpt2.sample import model_config, write_sample
from lib.data.prefetch import Batch
from lib.data.text.tokenizers import load_tokenizer
from lib.optim.from_settings import optimizer_from_settings, schedule_from_settings
from lib.optim.update import apply_update
from lib.runs.run import Run
from lib.train import checkpoint
from lib.train.flops import peak_flops, transformer_flops_per_token
from lib.train.guard import LossGuard
from lib.train.progress import open_progress
from lib.train.pruning_report import finish_pruning, log_scores, pruning_info
from lib.train.ranks import (
    any_rank,
    full_state,
    mean_over_ranks,
    process_group,
    reduce_gradients,
    whole,
)
from lib.train.runtime import Runtime, setup
from lib.train.stop import StopRequest


def train(settings: Settings, runtime: Runtime) -> None:
    """One training, from data to table of results; one rank's part of it if there are several.

    Long on purpose: whoever wants to know what a step does reads on, and looks nowhere else.
    """
    tokenizer = load_tokenizer(settings.TOKENIZER)
    config = model_config(settings, tokenizer)
    tokens = load_tokens(settings, tokenizer, quiet=not runtime.is_main)
    tokens.check(config.block_size, config.vocab_size)

    plan = batch_plan(settings, runtime)
    model = GPT(config).to(runtime.device)
    if settings.GPT2_PRETRAINED:
        load_pretrained(model, settings.GPT2_PRETRAINED)
    runtime = choose_precision(settings, runtime, model, tokens.train, plan)
    model.dtype = getattr(torch, runtime.precision)
    trained = prepare_model(settings, runtime, model)  # `model`, compiled and spread over ranks
    plan = fit_batch(settings, runtime, trained, tokens.train, plan)
    steps_per_epoch, total_steps = plan_steps(settings, tokens.train, plan)
    optimizer, pruner = optimizer_from_settings(settings, model, total_steps)
    learning_rate = schedule_from_settings(settings, total_steps)
    eval_interval = settings.EVAL_INTERVAL or steps_per_epoch
    save_interval = settings.CHECKPOINT_INTERVAL or eval_interval

    step = 0  # updates done
    best_val_loss, evaluations_since_best = math.inf, 0
    val_windows = tokens.val.windows(config.block_size, settings.EVAL_WINDOWS)
    guard = LossGuard()
    meter = Meter(model, runtime)
    torch.manual_seed(settings.SEED + runtime.rank)  # dropout differs between ranks
    batches = read_batches(settings, runtime, tokens.train, plan, step)

    def save(name: str) -> None:
        state = full_state(trained, optimizer)  # on all ranks: a sharded model is collected
        if runtime.is_main:
            state |= {
                "epoch": step // steps_per_epoch,
                "step": step,
                "best_val_loss": best_val_loss,
                "settings_hash": settings.hash,
            }
            checkpoint.save(run.dir / "checkpoints" / name, state)

    with (
        Run.from_settings(settings, model="gpt2") as run,
        open_progress(
            total_steps,
            steps_per_epoch,
            say=run.say,
            stream=sys.stdout if runtime.is_main else io.StringIO(),
        ) as progress,
        StopRequest(agree=any_rank) as stop,
    ):
        parameters = model.parameter_count()
        run.set_info(
            dataset=dataset_info(tokens),
            model={"parameters": parameters, "vocab_size": config.vocab_size},
            batch=plan.as_dict(),
            mfu_peak=meter.peak_source,
            pruning=pruning_info(pruner),
        )
        run.say(
            f"{run.name}: {parameters:,} parameters, {tokens.train.count:,} training tokens of "
            f"{settings.DATASET}, {total_steps:,} steps in {runtime.precision} on {runtime.device}"
        )
        run.say(f"{plan} of {config.block_size} tokens; MFU is of {meter.peak_source}")
        started = time.perf_counter()
        since, since_step = started, step  # from where perf/* are measured
        is_last = False
        try:
            while not is_last:
                stop.check()

                # ── one training step ─────────────────────────────────────────────────────────────
                try:
                    loss = torch.zeros((), device=runtime.device)
                    for micro_step in range(plan.micro_steps):
                        x, y = next(batches)
                        # Ranks exchange gradients once a step, while the last backward pass runs.
                        with reduce_gradients(trained, micro_step == plan.micro_steps - 1):
                            micro_loss = trained(x, y) / plan.micro_steps
                            micro_loss.backward()
                        loss += micro_loss.detach()
                except torch.OutOfMemoryError:
                    plan = smaller_plan(plan, trained, runtime, run, step)
                    batches = read_batches(settings, runtime, tokens.train, plan, step)
                    continue  # the same step again: the batches are a function of its number
                lr = learning_rate(step)
                grad_norm = apply_update(
                    optimizer, lr=lr, grad_clip=settings.GRAD_CLIP, pruner=pruner
                )
                step += 1
                # ──────────────────────────────────────────────────────────────────────────────────

                is_last = step == total_steps or (
                    settings.MAX_TIME > 0
                    and any_rank(time.perf_counter() - started >= settings.MAX_TIME)
                )
                logs = step % settings.LOG_INTERVAL == 0 or step == 1 or is_last
                evaluates = step % eval_interval == 0 or is_last
                metrics = {}
                # To read a number back makes a GPU wait, and ranks wait for each other.
                if logs:
                    train_loss = mean_over_ranks(loss).item()
                    gradient = whole(grad_norm).item()
                    guard.check("training loss", train_loss, step)
                    guard.check("norm of the gradient", gradient, step)
                    step_s = (time.perf_counter() - since) / (step - since_step)
                    since, since_step = time.perf_counter(), step
                    tokens_per_s = plan.effective * config.block_size / step_s
                    metrics = {
                        "train/loss": train_loss,
                        "train/perplexity": perplexity(train_loss),
                        "lr": lr,
                        "grad_norm": gradient,
                        "perf/step_ms": 1000 * step_s,
                        "perf/tokens_per_s": tokens_per_s,
                        **meter.mfu(tokens_per_s),
                        **pruner.metrics(),
                    }
                    run.log(metrics, step)
                    log_scores(run, pruner, step)

                paused = time.perf_counter()
                if evaluates:
                    val_loss = evaluate(trained, val_windows, runtime, plan.micro, stop)
                    val_metrics = {"val/loss": val_loss, "val/perplexity": perplexity(val_loss)}
                    run.log(val_metrics, step)
                    guard.check("validation loss", val_loss, step)
                    metrics |= val_metrics
                    # A network that is not pruned to the end yet is another one, and no rival.
                    evaluations_since_best += pruner.done
                    if pruner.done and val_loss < best_val_loss:
                        best_val_loss, evaluations_since_best = val_loss, 0
                        save("best.pt")
                    every = settings.HISTOGRAM_INTERVAL
                    if every and step // eval_interval % every == 0:
                        for name, parameter in model.named_parameters():
                            run.log_histogram(f"weights/{name}", whole(parameter.detach()), step)
                    if settings.EARLY_STOP and evaluations_since_best >= settings.EARLY_STOP:
                        run.say(f"no better val loss in {settings.EARLY_STOP} evaluations: the end")
                        is_last = True
                if step % save_interval == 0 or is_last:
                    save("last.pt")
                if metrics:
                    progress.update(step, metrics)
                since += time.perf_counter() - paused  # perf/* are about training alone

        except KeyboardInterrupt:  # from stop.check, on all ranks: no step is half done
            save("last.pt")
            run.say(f"interrupted after step {step}; its state is in {run.dir}/checkpoints/last.pt")
            raise

        final_metrics = {
            "final/best_val_loss": best_val_loss,
            "final/best_val_perplexity": perplexity(best_val_loss),
            "final/training_time_s": time.perf_counter() - started,
        }
        final_metrics |= finish_pruning(run, pruner, step)
        run.log(final_metrics, step)
        run.summary(final_metrics)
        if settings.SAMPLE_TOKENS:
            write_sample(settings, run, model, tokenizer, runtime, step)
        if settings.LOG_CHECKPOINTS and best_val_loss < math.inf:
            best = run.dir / "checkpoints" / "best.pt"
            run.log_artifact(best, "model", {"val/loss": best_val_loss}, name="gpt2", step=step)
        if settings.PLOTS:
            run.plot()
    run.print_summary()


@torch.no_grad()
def evaluate(
    model: torch.nn.Module, windows: Batch, runtime: Runtime, batch_size: int, stop: StopRequest
) -> float:
    """Mean cross-entropy in nats over fixed windows, which the ranks divide among them."""
    model.eval()
    share = max(1, len(windows[0]) // runtime.world_size)  # the same for each rank
    first = runtime.rank * share % len(windows[0])
    x, y = (tensor[first : first + share] for tensor in windows)
    total = torch.zeros((), device=runtime.device)
    for start in range(0, share, batch_size):
        stop.check()
        batch = slice(start, start + batch_size)
        inputs, targets = x[batch].to(runtime.device), y[batch].to(runtime.device)
        total += model(inputs, targets) * len(inputs)
    model.train()
    return mean_over_ranks(total).item() / share


def perplexity(loss: float) -> float:
    """exp(loss), infinite where a float cannot hold it."""
    return math.exp(loss) if loss < 700 else math.inf


class Meter:
    """Model flops utilisation of this training (lib/train/flops.py)."""

    def __init__(self, model: GPT, runtime: Runtime) -> None:
        config = model.config
        # Position embeddings are looked up; the token embedding is a product, at the output.
        parameters = model.parameter_count() - model.wpe.weight.numel()
        self.flops_per_token = transformer_flops_per_token(
            parameters, config.n_layer, config.n_embd, config.block_size
        )
        self.peak = peak_flops(runtime.device, runtime.precision)
        self.devices = runtime.world_size
        self.peak_source = self.peak.source if self.peak else "an unknown peak, so not reported"

    def mfu(self, tokens_per_s: float) -> dict[str, float]:
        """{"perf/mfu": share of the peak of all devices}, or {} where the peak is not known."""
        if self.peak is None:
            return {}
        return {"perf/mfu": tokens_per_s * self.flops_per_token / (self.peak.flops * self.devices)}


def main(settings: Settings) -> None:
    """Train alone, or as the rank of a group that torchrun says this process is."""
    runtime = setup(settings.SEED, settings.DEVICE, settings.PRECISION, settings.NUM_THREADS)
    with process_group(runtime, always=settings.SHARD):
        train(settings, runtime)


if __name__ == "__main__":
    run_main(lambda: main(settings))
