# SPDX-License-Identifier: MIT
"""AdamWPrune with Accelerate: prepare, accumulate, clip, save_state, load_state.

    pip install -e . accelerate scikit-learn
    python examples/accelerate_loop.py

A small network learns handwritten digits; its state is saved halfway, and a second one goes on from
there: both end with the same bits, 90 % of the weights zero. `accelerate launch` works as well.
"""

import tempfile
from itertools import chain, repeat

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from adamwprune import AdamWPrune, Pruner, Schedule, prunable
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

STEPS = 56  # one epoch with 32 images a batch is 57 batches, 28.5 steps of two batches


class Training:
    def __init__(self) -> None:
        set_seed(0)
        self.accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        plan = Schedule(0.9, total_steps=STEPS, start=5, end=40, frequency=5)
        self.pruner = Pruner(prunable(model), plan)
        optimizer = AdamWPrune(model.parameters(), self.pruner, lr=0.01, fused=True)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        images, labels = load_digits(return_X_y=True)
        data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
        self.model, self.optimizer, self.batches, self.scheduler = self.accelerator.prepare(
            model, optimizer, DataLoader(data, batch_size=32, shuffle=True), scheduler
        )

    def steps(self, n: int) -> None:
        """`n` steps of the optimizer, beginning with a new epoch."""
        for images, labels in chain.from_iterable(repeat(self.batches)):
            with self.accelerator.accumulate(self.model):
                loss = nn.functional.cross_entropy(self.model(images), labels)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
            n -= self.accelerator.sync_gradients
            if n == 0:
                return


def main() -> None:
    first = Training()
    first.steps(STEPS // 2)
    with tempfile.TemporaryDirectory() as folder:
        first.accelerator.save_state(folder)
        first.steps(STEPS - STEPS // 2)
        second = Training()
        second.accelerator.load_state(folder)
        second.steps(STEPS - STEPS // 2)
    pruner = second.pruner
    pruner.verify()  # raises unless what is pruned is zero
    same = all(map(torch.equal, first.model.parameters(), second.model.parameters()))
    print(f"sparsity {pruner.sparsity:.4f}: {pruner.pruned:,} of {pruner.total:,} weights")
    print(f"resumed as if it had not been stopped: {same}")


if __name__ == "__main__":
    main()
