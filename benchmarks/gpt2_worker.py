# SPDX-License-Identifier: MIT
"""The two sides of benchmarks/gpt2.py, each in a process of its own.

    worker = start("ours", case, seed=0, device="cpu")
    seconds = worker.ask("steps 3")
    loss = worker.ask("loss")
    worker.close()

As a program it is the other end of a Worker (benchmarks/worker.py).
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import functools
import itertools
import json
import sys
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from benchmarks.reference_gpt2 import ReferenceGPT2, reference_optimizer, reference_step
from benchmarks.worker import OURS, REFERENCE, Worker, seconds_of, serve
from gpt2.model import GPT, GPTConfig
from gpt2.prepare import trial_step
from lib.data.text.tokens import TokenSet
from lib.optim import build_optimizer
from lib.optim.update import apply_update
from lib.train.loss_scale import loss_scale_for
from lib.train.precision import faster_precision
from lib.train.runtime import Runtime, setup

LOSS_WINDOWS = 64


@dataclass(frozen=True)
class Case:
    """One model and batch; `target` is the ratio to the reference to reach.

    `loop_steps`: steps of the whole program to measure; 0 for none.
    """

    layers: int
    heads: int
    width: int
    block: int
    batch: int
    vocab: int
    lr: float
    target: float
    loop_steps: int = 0

    @property
    def name(self) -> str:
        return f"{self.layers} × {self.width}, {self.batch} × {self.block}"

    @property
    def tokens(self) -> int:
        return self.batch * self.block


class Ours:
    """What gpt2/train.py computes in a step of one micro-batch."""

    def __init__(self, case: Case, seed: int, device: str) -> None:
        self.runtime = setup(seed, device, "auto", 0)
        config = GPTConfig(case.vocab, case.block, case.layers, case.heads, case.width)
        self.model = GPT(config).to(self.runtime.device)
        self.precision = self.runtime.precision
        if self.precision == "bfloat16" and self.runtime.device.type == "cpu":
            x = torch.zeros(case.batch, case.block, dtype=torch.long)
            self.precision = faster_precision(trial_step(self.model, lambda: (x, x)))
        self.model.arithmetic.dtype = getattr(torch, self.precision)
        if self.runtime.device.type == "cuda":
            self.model.compile()
        self.lr = case.lr
        self.loss_scale = loss_scale_for(self.precision, self.runtime.device)
        self.optimizer = build_optimizer(
            self.model, "adamw", lr=case.lr, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8
        )

    def step(self, x: Tensor, y: Tensor) -> None:
        self.loss_scale.scaled(self.model(x, y)).backward()
        scaler = self.loss_scale.scaler
        apply_update(self.optimizer, lr=self.lr, grad_clip=1.0, scaler=scaler)

    def loss(self, x: Tensor, y: Tensor) -> float:
        with torch.no_grad():
            return self.model(x, y).item()


class Reference:
    """Plain PyTorch; on a GPU with autocast and torch.compile, as is usual there."""

    def __init__(self, case: Case, seed: int, device: str) -> None:
        torch.manual_seed(seed)
        on_gpu = device == "cuda"
        self.runtime = Runtime(torch.device(device), "bfloat16" if on_gpu else "float32", 0, 1)
        self.precision = self.runtime.precision
        self.model = ReferenceGPT2(case.vocab, case.block, case.layers, case.heads, case.width)
        self.model.to(self.runtime.device)
        if on_gpu:
            torch.backends.cuda.matmul.allow_tf32 = True
            self.model.compile()
        self.optimizer = reference_optimizer(self.model, case.lr, fused=on_gpu)

    def step(self, x: Tensor, y: Tensor) -> None:
        with self.runtime.autocast():
            loss = self.model(x, y)
        reference_step(self.model, self.optimizer, loss)

    def loss(self, x: Tensor, y: Tensor) -> float:
        with torch.no_grad(), self.runtime.autocast():
            return self.model(x, y).item()


SIDES = {REFERENCE: Reference, OURS: Ours}


def start(side: str, case: Case, seed: int, device: str, data: str = "") -> Worker:
    """A process for one side. `data` is a folder of tokens; without one they are random."""
    return Worker("benchmarks.gpt2_worker", [side, asdict(case), seed, device, data])


def work(side: str, case: Case, seed: int, device: str, data: str) -> None:
    """A worker: answers "steps N" with the seconds of N steps, and "loss" with an evaluation's."""
    trainer = SIDES[side](case, seed, device)
    tokens = TokenSet.open(data) if data else None
    counted = itertools.count()

    def steps(n: int) -> list[float]:
        where = trainer.runtime.device
        batches = (batch(case, tokens, seed, next(counted), where) for _ in range(n))
        return [seconds_of(functools.partial(trainer.step, x, y), where) for x, y in batches]

    def loss() -> float:
        windows = tokens.val.windows(case.block, LOSS_WINDOWS)
        parts = zip(*(part.split(case.batch) for part in windows), strict=True)
        losses = [(trainer.loss(x, y), len(x)) for x, y in parts]
        return sum(loss * n for loss, n in losses) / sum(n for _, n in losses)

    serve(trainer.precision, {"steps": steps, "loss": loss})


def batch(
    case: Case, tokens: TokenSet | None, seed: int, step: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """A batch of real text, or of random tokens, which take the same time."""
    if tokens is not None:
        return tokens.train.random_batch(
            seed=seed, step=step, global_batch=case.batch, block_size=case.block
        )
    generator = torch.Generator().manual_seed(step)
    noise = torch.randint(case.vocab, (case.batch, case.block + 1), generator=generator)
    return noise[:, :-1].to(device), noise[:, 1:].contiguous().to(device)


def main() -> None:
    """The program; see the top of the file."""
    side, case, seed, device, data = json.loads(sys.argv[1])
    work(side, Case(**case), seed, device, data)


if __name__ == "__main__":
    run_main(main)
