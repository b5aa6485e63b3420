# SPDX-License-Identifier: MIT
"""The two sides of benchmarks/gpt2.py, each in a process of its own.

    worker = Worker("ours", case, seed=0, device="cpu")
    seconds = worker.ask("steps 3")
    worker.close()

As a program, `python -m benchmarks.gpt2_worker ARGUMENTS`, it is the other end of a Worker.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.reference_gpt2 import ReferenceGPT2, reference_optimizer, reference_step
from gpt2.model import GPT, GPTConfig
from gpt2.prepare import trial_step
from lib.data.text.tokens import TokenSet
from lib.files import ROOT
from lib.optim import build_optimizer
from lib.optim.update import apply_update
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
        self.model.dtype = getattr(torch, self.precision)
        if self.runtime.device.type == "cuda":
            self.model.compile()
        self.lr = case.lr
        self.optimizer = build_optimizer(
            self.model, "adamw", lr=case.lr, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8
        )

    def step(self, x: Tensor, y: Tensor) -> None:
        self.model(x, y).backward()
        apply_update(self.optimizer, lr=self.lr, grad_clip=1.0)

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


SIDES = {"reference": Reference, "ours": Ours}


def work(side: str, case: Case, seed: int, device: str, data: str) -> None:
    """A worker: for each line `steps N` trains N steps, for `loss` evaluates; answers in JSON."""
    trainer = SIDES[side](case, seed, device)
    tokens = TokenSet.open(data) if data else None
    print(json.dumps({"precision": trainer.precision}), flush=True)
    step = 0
    for line in sys.stdin:
        if line.startswith("loss"):
            windows = tokens.val.windows(case.block, LOSS_WINDOWS)
            parts = zip(*(part.split(case.batch) for part in windows), strict=True)
            losses = [(trainer.loss(x, y), len(x)) for x, y in parts]
            mean = sum(loss * n for loss, n in losses) / sum(n for _, n in losses)
            print(json.dumps(mean), flush=True)
            continue
        seconds = []
        for _ in range(int(line.split()[1])):
            x, y = batch(case, tokens, seed, step, trainer.runtime.device)
            seconds.append(timed(trainer, x, y))
            step += 1
        print(json.dumps(seconds), flush=True)


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


def timed(trainer: Ours | Reference, x: Tensor, y: Tensor) -> float:
    """Seconds of one step."""
    start = time.perf_counter()
    trainer.step(x, y)
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


class Worker:
    """A process that runs `work`: each side gets its own memory allocator."""

    def __init__(self, side: str, case: Case, seed: int, device: str, data: str = "") -> None:
        arguments = json.dumps([side, asdict(case), seed, device, data])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpt2_worker", arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.precision = json.loads(self.process.stdout.readline())["precision"]

    def ask(self, question: str) -> Any:
        """Send a line and wait for the answer."""
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End the worker."""
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    """The program; see the top of the file."""
    side, case, seed, device, data = json.loads(sys.argv[1])
    work(side, Case(**case), seed, device, data)


if __name__ == "__main__":
    run_main(main)
