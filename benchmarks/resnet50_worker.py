# SPDX-License-Identifier: MIT
"""The sides of benchmarks/resnet50.py, each in a process of its own.

    worker = start("ours", case)
    seconds = worker.ask("steps 6")
    worker.close()

As a program it is the other end of a Worker (benchmarks/worker.py). Both sides train on as many
images as CIFAR-10 has, of its size, with random pixels, which take the same time.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import functools
import itertools
import json
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from benchmarks.flags import as_argv
from benchmarks.reference_resnet50 import (
    LOADERS,
    MEAN,
    READ_AHEAD,
    STD,
    batches,
    reference_resnet,
    reference_step,
)
from benchmarks.worker import OURS, REFERENCE, Worker, seconds_of, serve
from lib.config.settings import Settings, load_settings
from lib.data.images.augment import Augmentation
from lib.data.images.in_memory import InMemory, canvas
from lib.data.images.normalization import Normalization
from lib.train.batch_finding import BatchPlan
from lib.train.learner import Learner
from lib.train.micro_batches import MicroBatches
from lib.train.precision import compile_on_gpu, faster_precision
from lib.train.runtime import runtime_from_settings
from resnet50.prepare import build_model, is_matmul_bound, smoothed_loss, trial_step

IMAGES, CLASSES = 50_000, 10
OTHER = {"float32": "ours, bfloat16", "bfloat16": "ours, float32"}  # the side that was not chosen


@dataclass(frozen=True)
class Case:
    """One network and batch. `loop_steps`: steps of the whole program to measure; 0 for none."""

    depth: int
    width: int
    batch: int
    loop_steps: int = 0

    @property
    def name(self) -> str:
        return f"ResNet-{self.depth}, width {self.width}, batch {self.batch}"

    def settings(self, precision: str = "auto") -> Settings:
        """Those of a training on CIFAR-10 by AdamW."""
        flags = {
            "dataset": "cifar10",
            "optimizer": "adamw",
            "resnet-depth": self.depth,
            "resnet-width": self.width,
            "batch-size": self.batch,
            "precision": precision,
        }
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "config"
            config.write_text("CONFIG_MODEL_RESNET50=y\n")
            return load_settings("resnet50", ["--config", str(config), *as_argv(flags)])


class Ours:
    """What resnet50/train.py computes in a step of one micro-batch."""

    def __init__(self, case: Case, precision: str) -> None:
        settings = case.settings(precision)
        runtime = runtime_from_settings(settings, matmul_bound=is_matmul_bound(settings))
        self.device = runtime.device
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=generator)
        labels = torch.randint(CLASSES, (IMAGES,), generator=generator)
        augment = Augmentation.from_settings(settings, Normalization(MEAN, STD), CLASSES)
        to_canvas = functools.partial(canvas, size=32, channels=3)
        images = InMemory(pixels.to(self.device), labels, to_canvas, augment, settings.SEED)
        self.model = build_model(settings, CLASSES).to(self.device)
        self.loss = smoothed_loss(settings)
        if settings.PRECISION == "auto" and runtime.precision != "float32" and not self.on_gpu:
            trial = trial_step(settings, runtime, self.model, images, self.loss)
            runtime = replace(runtime, precision=faster_precision(trial, {}))
        self.runtime, self.precision = runtime, runtime.precision
        compile_on_gpu(settings, runtime, [self.model])
        self.learner = Learner.from_settings(
            settings, runtime, self.model, self.model, total_steps=10_000
        )
        self.plan = BatchPlan(case.batch, 1, case.batch)
        self.batches = MicroBatches(
            lambda step, plan: images.training(plan.shares(0, step), plan.effective)
        )
        self.steps = itertools.count()

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def step(self) -> None:
        step = next(self.steps)
        for x, y in self.batches.of(step, self.plan):
            with self.runtime.autocast():
                loss = self.loss(self.model(x), y)
            self.learner.scaled(loss).backward()
        self.learner.update(self.learner.lr(step))


class Reference:
    """The plain program (benchmarks/reference_resnet50.py)."""

    def __init__(self, case: Case, precision: str) -> None:
        torch.manual_seed(0)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        on_gpu = self.device.type == "cuda"
        self.precision = "bfloat16" if on_gpu else precision
        self.model = reference_resnet(case.depth, case.width, CLASSES).to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.batches = batches(IMAGES, CLASSES, case.batch, on_gpu)

    def step(self) -> None:
        x, y = (tensor.to(self.device, non_blocking=True) for tensor in next(self.batches))
        reference_step(self.model, self.optimizer, x, y)


SIDES = {
    REFERENCE: functools.partial(Reference, precision="float32"),
    OURS: functools.partial(Ours, precision="auto"),
    **{side: functools.partial(Ours, precision=side.split()[-1]) for side in OTHER.values()},
}


def start(side: str, case: Case) -> Worker:
    """A process for one side, on a GPU if there is one."""
    return Worker("benchmarks.resnet50_worker", [side, asdict(case)])


def work(side: str, case: Case) -> None:
    """A worker: answers "steps N" with the seconds of a step, means over LOADERS steps each."""
    trainer = SIDES[side](case)

    def several(n: int) -> None:
        for _ in range(n):
            trainer.step()

    def steps(n: int) -> list[float]:
        # What the processes of a DataLoader read ahead, while another side had its turn, does not
        # count, and each of them has to deliver a batch in what is timed.
        several(READ_AHEAD * LOADERS)
        parts = -(-n // LOADERS)
        several_at_once = functools.partial(several, LOADERS)
        return [seconds_of(several_at_once, trainer.device) / LOADERS for _ in range(parts)]

    serve(trainer.precision, {"steps": steps})


def main() -> None:
    """The program; see the top of the file."""
    side, case = json.loads(sys.argv[1])
    work(side, Case(**case))


if __name__ == "__main__":
    run_main(main)
