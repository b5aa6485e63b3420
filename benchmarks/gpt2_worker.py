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

from benchmarks.reference_gpt2 import ReferenceGPT2, reference_optimizer, reference_update
from benchmarks.worker import OURS, REFERENCE, Worker, seconds_of, serve
from gpt2.implementations import TABLE
from gpt2.kernels import cast_once
from gpt2.model import GPT, GPTConfig
from gpt2.prepare import kernel_trial
from lib.data.prefetch import Batch
from lib.data.text.tokens import TokenSet
from lib.optim import build_optimizer
from lib.optim.update import apply_update
from lib.train.loss_scale import loss_scale_for
from lib.train.precision import (
    faster_precision,
    fastest_kernels,
    kernel_seconds,
    parse_kernels,
)
from lib.train.runtime import Runtime, setup

LOSS_WINDOWS = 64


@dataclass(frozen=True)
class Case:
    """One model and batch; `target` is the ratio to the reference to reach.

    `loop_steps`: steps of the whole program to measure; 0 for none. A step has `grad_accum`
    micro-steps of `batch` sequences. `precision` and `kernels` are those of ours, auto for a trial.
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
    grad_accum: int = 1
    precision: str = "auto"
    kernels: str = "auto"

    @property
    def name(self) -> str:
        micro_steps = f"{self.grad_accum} × " if self.grad_accum > 1 else ""
        return f"{self.layers} × {self.width}, {micro_steps}{self.batch} × {self.block}"

    @property
    def tokens(self) -> int:
        """In a step."""
        return self.grad_accum * self.batch * self.block


class Ours:
    """What gpt2/train.py computes in a step."""

    def __init__(self, case: Case, seed: int, device: str) -> None:
        self.runtime = setup(seed, device, case.precision, 0)
        config = GPTConfig(case.vocab, case.block, case.layers, case.heads, case.width)
        self.model = GPT(config).to(self.runtime.device)
        self.precision, self.kernels = self.runtime.precision, {}
        if self.runtime.device.type == "cpu":
            self._choose(case)
        self.model.arithmetic.use(self.precision, self.kernels)
        if self.runtime.device.type == "cuda":
            self.model.compile()
        self.lr = case.lr
        self.loss_scale = loss_scale_for(self.precision, self.runtime.device)
        self.optimizer = build_optimizer(
            self.model, "adamw", lr=case.lr, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8
        )

    def _choose(self, case: Case) -> None:
        """The kernels, by trial unless they are given, and the precision likewise."""
        x = torch.zeros(case.batch, case.block, dtype=torch.long)
        self.trial = kernel_trial(self.model, case.batch, lambda: (x, x))
        asked = parse_kernels(case.kernels, TABLE)
        self.kernels = self.trial.kernels(asked or {})
        if self.precision == "bfloat16":
            narrow = self.kernels if asked is not None else fastest_kernels(self.trial)
            if case.precision == "auto":
                self.precision = faster_precision(self.trial, narrow, asked)
            self.kernels = narrow if self.precision == "bfloat16" else self.kernels

    def step(self, micro_batches: list[Batch]) -> None:
        with cast_once():
            for x, y in micro_batches:
                loss = self.model(x, y) / len(micro_batches)
                self.loss_scale.scaled(loss).backward()
        scaler = self.loss_scale.scaler
        apply_update(self.optimizer, lr=self.lr, grad_clip=1.0, scaler=scaler)

    def operations(self) -> dict[str, dict[str, float]]:
        """Milliseconds of one block, forward and backward, by each kernel of each operation."""
        found = {}
        for operation in TABLE:
            seconds = kernel_seconds(self.trial, self.kernels, operation)
            found[operation] = {name: round(1000 * min(s), 3) for name, s in seconds.items()}
        self.model.arithmetic.use(self.precision, self.kernels)
        return found

    def loss(self, x: Tensor, y: Tensor) -> float:
        with torch.no_grad():
            return self.model(x, y).item()


class Reference:
    """Plain PyTorch; on a GPU with autocast and torch.compile, as is usual there."""

    def __init__(self, case: Case, seed: int, device: str) -> None:
        torch.manual_seed(seed)
        on_gpu = device == "cuda"
        self.runtime = Runtime(torch.device(device), "bfloat16" if on_gpu else "float32", 0, 1)
        self.precision, self.kernels = self.runtime.precision, {}
        self.model = ReferenceGPT2(case.vocab, case.block, case.layers, case.heads, case.width)
        self.model.to(self.runtime.device)
        if on_gpu:
            torch.backends.cuda.matmul.allow_tf32 = True
            self.model.compile()
        self.optimizer = reference_optimizer(self.model, case.lr, fused=on_gpu)

    def step(self, micro_batches: list[Batch]) -> None:
        for x, y in micro_batches:
            with self.runtime.autocast():
                loss = self.model(x, y) / len(micro_batches)
            loss.backward()
        reference_update(self.model, self.optimizer)

    def loss(self, x: Tensor, y: Tensor) -> float:
        with torch.no_grad(), self.runtime.autocast():
            return self.model(x, y).item()


SIDES = {REFERENCE: Reference, OURS: Ours}


def start(side: str, case: Case, seed: int, device: str, data: str = "") -> Worker:
    """A process for one side. `data` is a folder of tokens; without one they are random."""
    return Worker("benchmarks.gpt2_worker", [side, asdict(case), seed, device, data])


def work(side: str, case: Case, seed: int, device: str, data: str) -> None:
    """A worker: answers "steps N" with the seconds of N steps, "loss" with an evaluation's, and
    "operations" with what Ours.operations returns.
    """
    trainer = SIDES[side](case, seed, device)
    tokens = TokenSet.open(data) if data else None
    counted = itertools.count()

    def steps(n: int) -> list[float]:
        where = trainer.runtime.device

        def micro_batches() -> list[Batch]:
            numbers = itertools.islice(counted, case.grad_accum)
            return [batch(case, tokens, seed, number, where) for number in numbers]

        batches = (micro_batches() for _ in range(n))
        return [seconds_of(functools.partial(trainer.step, each), where) for each in batches]

    def loss() -> float:
        windows = tokens.val.windows(case.block, LOSS_WINDOWS)
        parts = zip(*(part.split(case.batch) for part in windows), strict=True)
        losses = [(trainer.loss(x, y), len(x)) for x, y in parts]
        return sum(loss * n for loss, n in losses) / sum(n for _, n in losses)

    answers = {"steps": steps, "loss": loss}
    if isinstance(trainer, Ours):
        answers["operations"] = trainer.operations
    serve(trainer.precision, answers, trainer.kernels)


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
