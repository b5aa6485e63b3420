# SPDX-License-Identifier: MIT
"""AdamWPrune under torch.compile: a compiled model, and an optimizer with a fused kernel.

    pip install -e . scikit-learn
    python examples/torch_compile.py

A small network learns handwritten digits. It is compiled by inductor, which needs a C++ compiler on
a CPU; without one: python examples/torch_compile.py eager.

The step of the optimizer is one fused kernel already. It may be compiled, too: in place of
optimizer.step(), call step = torch.compile(optimizer.step). What the pruner does stays outside the
compiled graph.
"""

import sys

import torch
from adamwprune import AdamWPrune, Pruner, Schedule, prunable
from sklearn.datasets import load_digits
from torch import nn

STEPS = 60


def main() -> None:
    backend = sys.argv[1] if len(sys.argv) > 1 else "inductor"
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    pruner = Pruner(
        prunable(model),  # of the model itself: names in the compiled one begin with _orig_mod
        Schedule(0.9, total_steps=STEPS, start=5, end=45, frequency=5),
    )
    optimizer = AdamWPrune(model.parameters(), pruner, lr=0.01, fused=True)
    compiled = torch.compile(model, backend=backend)

    for i in range(STEPS):
        batch = slice(i * 28, i * 28 + 64)
        loss = nn.functional.cross_entropy(compiled(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    pruner.verify()  # raises unless what is pruned is zero
    print(f"sparsity {pruner.sparsity:.4f}: {pruner.pruned:,} of {pruner.total:,} weights")
    correct = (model(images).argmax(1) == labels).float().mean()
    print(f"accuracy {correct:.3f}")


if __name__ == "__main__":
    main()
