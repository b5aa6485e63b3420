# SPDX-License-Identifier: MIT
"""AdamWPrune in Lightning: from configure_optimizers, saved and resumed by its checkpoints.

    pip install -e . lightning scikit-learn
    python examples/lightning_trainer.py

A small network learns handwritten digits for two epochs, and a second one goes on from the
checkpoint of the first epoch: 90 % of the weights end as zeros. The gradients are clipped by
Lightning. `python examples/lightning_trainer.py bf16-mixed` tries another precision.
"""

import sys
import tempfile

import lightning
import torch
from adamwprune import AdamWPrune, Pruner, Schedule, prunable
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

STEPS = 58  # two epochs


class Digits(lightning.LightningModule):
    def __init__(self, fused: bool):
        super().__init__()
        self.fused = fused
        self.network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, index):
        images, labels = batch
        return nn.functional.cross_entropy(self.network(images), labels)

    def on_train_start(self):
        print(f"from step {self.pruner.step}, sparsity {self.pruner.sparsity:.4f}")

    def configure_optimizers(self):
        plan = Schedule(0.9, total_steps=STEPS, start=5, end=45, frequency=5)
        self.pruner = Pruner(prunable(self), plan)
        optimizer = AdamWPrune(self.parameters(), self.pruner, lr=0.01, fused=self.fused)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def batches() -> DataLoader:
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
    return DataLoader(data, batch_size=64, shuffle=True)


def train(folder: str, precision: str, resume: str | None = None) -> Digits:
    torch.manual_seed(0)
    # With mixed precision Lightning clips the gradients of optimizers that are not fused.
    model = Digits(fused="mixed" not in precision)
    lightning.Trainer(
        max_steps=STEPS, accelerator="cpu", precision=precision, gradient_clip_val=0.5,
        callbacks=[ModelCheckpoint(folder, "{epoch}", every_n_epochs=1, save_top_k=-1)],
        logger=False, enable_progress_bar=False, enable_model_summary=False,
    ).fit(model, batches(), ckpt_path=resume, weights_only=True)  # fmt: skip
    model.pruner.verify()  # raises unless what is pruned is zero
    return model


def main() -> None:
    precision = sys.argv[1] if len(sys.argv) > 1 else "32-true"
    with tempfile.TemporaryDirectory() as folder:
        train(f"{folder}/first", precision)
        pruner = train(f"{folder}/second", precision, f"{folder}/first/epoch=0.ckpt").pruner
    print(f"sparsity {pruner.sparsity:.4f}: {pruner.pruned:,} of {pruner.total:,} weights")


if __name__ == "__main__":
    main()
