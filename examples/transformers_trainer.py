# SPDX-License-Identifier: MIT
"""AdamWPrune in the Trainer of transformers: prune, stop, resume from the Trainer's checkpoint.

    pip install -e . transformers accelerate
    python examples/transformers_trainer.py

A small GPT-2 learns the bytes of a module of Python's standard library, once without a break and
once stopped halfway and resumed; both end with the same bits, 90 % of the weights zero.
"""

import tempfile
import textwrap
from pathlib import Path

import adamwprune
import torch
from adamwprune import AdamWPrune, Pruner, Schedule, prunable
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_cosine_schedule_with_warmup,
)
from transformers.pytorch_utils import Conv1D  # GPT-2 has it in place of nn.Linear

STEPS = 40
BLOCK = 64  # bytes


class Journal(TrainerCallback):
    """What the Trainer logs goes to a run, and from there to its trackers."""

    def __init__(self, run, pruner):
        self.run, self.pruner = run, pruner

    def on_log(self, args, state, control, logs=None, **kwargs):
        numbers = {f"train/{k}": float(v) for k, v in logs.items() if k in ("loss", "grad_norm")}
        if numbers:
            self.run.log({**numbers, "sparsity": self.pruner.sparsity}, step=state.global_step)


class StopAt(TrainerCallback):
    """In place of Ctrl-C."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop |= state.global_step == self.step


def train(folder: Path, *, stop_at: int | None = None, resume: bool = False):
    torch.manual_seed(0)
    sizes = {"vocab_size": 256, "n_positions": BLOCK, "n_embd": 64, "n_layer": 2, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    plan = Schedule(0.9, total_steps=STEPS, start=5, end=30, frequency=5)
    pruner = Pruner(prunable(model, layers=(Conv1D,)), plan)
    optimizer = AdamWPrune(model.parameters(), pruner, lr=0.003, fused=True)
    scheduler = get_cosine_schedule_with_warmup(optimizer, 5, STEPS)

    text = torch.tensor(list(Path(textwrap.__file__).read_bytes()))
    blocks = text[: len(text) // BLOCK * BLOCK].view(-1, BLOCK)
    arguments = TrainingArguments(
        folder, max_steps=STEPS, per_device_train_batch_size=8, save_steps=20, logging_steps=10,
        report_to="none", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    with adamwprune.run(output_dir=folder / "runs", config={"lr": 0.003, "steps": STEPS}) as run:
        Trainer(
            model,
            arguments,
            train_dataset=[{"input_ids": block, "labels": block} for block in blocks],
            optimizers=(optimizer, scheduler),
            callbacks=[Journal(run, pruner), StopAt(stop_at)],
        ).train(resume_from_checkpoint=resume)
    pruner.verify()  # raises unless what is pruned is zero
    return model, pruner


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, _ = train(Path(folder, "whole"))
        train(Path(folder, "parts"), stop_at=20)
        resumed, pruner = train(Path(folder, "parts"), resume=True)
        saved = GPT2LMHeadModel.from_pretrained(Path(folder, "parts", f"checkpoint-{STEPS}"))
    same = all(map(torch.equal, whole.parameters(), resumed.parameters()))
    zeros = sum(int((saved.get_parameter(name) == 0).sum()) for name in pruner.weights)
    print(f"sparsity {pruner.sparsity:.4f}: {pruner.pruned:,} of {pruner.total:,} weights")
    print(f"zeros in the saved model: {zeros:,}")
    print(f"resumed as if it had not been stopped: {same}")


if __name__ == "__main__":
    main()
