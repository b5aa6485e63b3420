# SPDX-License-Identifier: MIT
"""What pruning costs a training step.

    make bench-prune
    python -m benchmarks.prune [--layers 12] [--rounds 9]

Measures, with the shapes of GPT-2 124M in float32 (on a GPU if there is one):

- the tail of a step (clip + step) with AdamWPrune at half sparsity, between updates of the masks,
  against the same tail with torch.optim.AdamW(fused=True);
- an update of the masks (score, exact selection, zeroing), against one step of fused AdamW and
  against finding the threshold with torch.kthvalue over all scores;
- how an update scales with the number of weights;
- the memory that pruning keeps, in bytes per prunable weight.

The contenders are timed in turn, round by round, so that other load on the machine affects all of
them. A time is the median over the rounds, a ratio the median of the rounds' ratios. The last line
is JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import Parameter

from lib.optim.adamwprune import AdamWPrune
from lib.optim.update import apply_update
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule
from lib.pruning.scores import SCORES, State
from lib.train.runtime import setup

WIDTH = 768
SPARSITY = 0.5
KTHVALUE_ROUNDS = 3  # it is slow

Works = dict[str, Callable[[], object]]
Times = dict[str, list[float]]  # name → seconds in each round


def gpt2_shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Parameters of GPT-2 with `layers` blocks; the matrices in `block…` are the prunable ones."""
    shapes: dict[str, tuple[int, ...]] = {"wte": (50257 * layers // 12, WIDTH)}
    shapes["wpe"] = (1024, WIDTH)
    for i in range(layers):
        for name, out, into in (("qkv", 3, 1), ("proj", 1, 1), ("fc", 4, 1), ("out", 1, 4)):
            shapes[f"block{i}.{name}.weight"] = (out * WIDTH, into * WIDTH)
            shapes[f"block{i}.{name}.bias"] = (out * WIDTH,)
        shapes |= {f"block{i}.norm{j}": (WIDTH,) for j in range(4)}
    return shapes


class Setting:
    """Parameters with gradients, one fused AdamW and one AdamWPrune on them."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], device: str, embeddings: bool = False):
        torch.manual_seed(0)
        self.parameters = {
            name: Parameter(torch.randn(shape, device=device).mul_(0.02))
            for name, shape in shapes.items()
        }
        self.gradients = [torch.randn_like(p).mul_(1e-4) for p in self.parameters.values()]
        weights = {
            name: p
            for name, p in self.parameters.items()
            if p.ndim == 2 and (embeddings or name.startswith("block"))
        }
        # No update happens on schedule: `update_to` sets the step.
        self.schedule = Schedule(0.9, 10_000, start=1, end=9_000, frequency=9_000, ramp="linear")
        self.pruner = Pruner(weights, self.schedule)
        options = {"lr": 1e-4, "betas": (0.9, 0.95), "fused": True}
        self.pruned = AdamWPrune(self.parameters.values(), self.pruner, **options)
        self.dense = torch.optim.AdamW(self.parameters.values(), **options)
        for optimizer in (self.dense, self.pruned):
            self.tail(optimizer, None)

    def tail(self, optimizer: torch.optim.Optimizer, pruner: Pruner | None) -> None:
        for p, gradient in zip(self.parameters.values(), self.gradients, strict=True):
            p.grad = gradient
        apply_update(optimizer, lr=1e-4, grad_clip=1.0, pruner=pruner)

    def dense_step(self) -> None:
        for p, gradient in zip(self.parameters.values(), self.gradients, strict=True):
            p.grad = gradient
        self.dense.step()

    def update_to(self, sparsity: float) -> None:
        self.pruner.step = 1 + round(sparsity / self.schedule.target * 8_999)
        self.pruner.update()

    def kthvalue(self) -> Tensor:
        """The alternative to the selection: all scores in one tensor, and its k-th value."""
        formula = SCORES["bitter7"].formula
        scores = torch.cat(
            [
                formula(w.detach(), State(v=self.pruned.state[w]["exp_avg_sq"])).flatten()
                for w in self.pruner.weights.values()
            ]
        )
        return torch.kthvalue(scores, scores.numel() // 2).values


def seconds(works: Works, device: str, rounds: int) -> Times:
    """Seconds that each of `works` takes in each round, after a warm-up round."""
    taken: Times = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            if device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            taken[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in taken.items()}


def ratio(times: Times, a: str, b: str) -> float:
    """Median over the rounds of the time of `a` over that of `b`."""
    return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))


def measure_tail(setting: Setting, device: str, rounds: int) -> Times:
    setting.update_to(SPARSITY)
    return seconds(
        {
            "dense tail": lambda: setting.tail(setting.dense, None),
            "pruned tail": lambda: setting.tail(setting.pruned, setting.pruner),
            "step": setting.dense_step,
        },
        device,
        rounds,
    )


def measure_update(setting: Setting, device: str, rounds: int, *, kthvalue: bool = False) -> Times:
    """Updates to ever higher sparsity, starting above `SPARSITY`."""
    start = max(setting.pruner.sparsity, SPARSITY)
    targets = iter([start + 0.1 * i / (rounds + 1) for i in range(1, rounds + 2)])
    works: Works = {
        "step": setting.dense_step,
        "update": lambda: setting.update_to(next(targets)),
    }
    if kthvalue:
        works["kthvalue"] = setting.kthvalue
    return seconds(works, device, rounds)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=12, help="of the model (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="of each timing (%(default)s)")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    setup(0, device, "float32", 0)  # as every training begins: the process keeps freed memory
    console = Console()
    console.print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    setting = Setting(gpt2_shapes(options.layers), device)
    total = sum(p.numel() for p in setting.parameters.values())
    pruner = setting.pruner
    tail = measure_tail(setting, device, options.rounds)
    update = measure_update(setting, device, options.rounds)
    slow = measure_update(setting, device, KTHVALUE_ROUNDS, kthvalue=True)

    limits = {"cpu": (1.25, 5.0, 8.0), "cuda": (1.05, 3.0, 0.0)}[device]
    rows = [
        ("tail, AdamWPrune / AdamW fused", tail, "pruned tail", "dense tail", "≤", limits[0]),
        ("update of the masks / step", update, "update", "step", "≤", limits[1]),
        ("kthvalue / update of the masks", slow, "kthvalue", "update", "≥", limits[2]),
    ]
    table = Table(title=f"{total / 1e6:.1f}M parameters, {pruner.total / 1e6:.1f}M prunable")
    for column in ("", "ms", "ms", "ratio", "goal"):
        table.add_column(column, justify="left" if not column else "right")
    for name, times, a, b, sign, limit in rows:
        goal = f"{sign} {limit}" if limit else ""
        table.add_row(name, _ms(times[a]), _ms(times[b]), f"{ratio(times, a, b):.2f}", goal)
    console.print(table)

    kept = sum(m.numel() * m.element_size() for m in pruner.masks.values()) / pruner.total
    console.print(f"memory kept: {kept:g} bytes per prunable weight")
    del setting, pruner
    growth = measure_growth(options, device, console)
    figures = {
        "device": device,
        "parameters": total,
        "tail_ratio": ratio(tail, "pruned tail", "dense tail"),
        "update_steps": ratio(update, "update", "step"),
        "kthvalue_ratio": ratio(slow, "kthvalue", "update"),
        "bytes_per_weight": kept,
        "ns_per_weight": growth,
    }
    print(json.dumps(figures))
    return 0


def _ms(times: list[float]) -> str:
    return f"{1e3 * statistics.median(times):.1f}"


def measure_growth(options: argparse.Namespace, device: str, console: Console) -> dict[str, float]:
    """Nanoseconds per weight of an update, for about 1M, 10M and 124M weights (with embeddings)."""
    table = Table(title="time of an update")
    for column in ("prunable weights", "ms", "ns per weight"):
        table.add_column(column, justify="right")
    figures = {}
    for shapes in (
        {"block.weight": (1024, 1024)},
        {f"block{i}.weight": (1024, 1024) for i in range(10)},
        gpt2_shapes(options.layers),
    ):
        setting = Setting(shapes, device, embeddings=True)
        took = statistics.median(measure_update(setting, device, options.rounds)["update"])
        n = setting.pruner.total
        figures[f"{n / 1e6:.0f}M"] = took / n * 1e9
        table.add_row(f"{n / 1e6:.1f}M", f"{took * 1e3:.1f}", f"{took / n * 1e9:.2f}")
        del setting
    console.print(table)
    return figures


if __name__ == "__main__":
    run_main(main)
