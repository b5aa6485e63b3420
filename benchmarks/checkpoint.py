# SPDX-License-Identifier: MIT
"""What saving checkpoints costs a training: the pause at each, and time taken from its steps.

    make bench-checkpoint
    python -m benchmarks.checkpoint [--rounds 5] [--steps 100] [--dir DIR]

Measures, on the CPU (on a GPU if there is one):

- the pause of Saver.save with weights and Adam state of GPT-2 124M, 1.5 GB, against a copy of the
  same tensors into memory that was used before, and against torch.save into a file;
- how much longer a training of a small GPT-2 takes that saves every 100 steps.

The contenders are timed in turn, round by round, so that other load on the machine affects all of
them; on a busy machine compare the processor time, which is that of all threads together. A time is
the median over the rounds, a ratio the median of the rounds' ratios. Needs 6 GB of memory, and 5 GB
in DIR (default: the directory for temporary files). The last line is JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from lib.train.openmp import spin_briefly

if __name__ == "__main__":
    spin_briefly()  # as gpt2/train.py does

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import Parameter

from benchmarks.gpt2_worker import Case, Ours, batch
from benchmarks.prune import Times, gpt2_shapes, ratio
from lib.train.ranks import full_state
from lib.train.runtime import setup
from lib.train.saver import Saver

SMALL = Case(4, 4, 128, 64, 12, 257, 1e-3, 0.0)
GOALS = {"copy": 1.5, "torch.save": 0.25}


def measured(works: dict[str, Callable[[], object]], device: str, rounds: int) -> Times:
    """Seconds that each of `works` takes in each round, after a first one that does not count.

    Under "NAME, processor" also the processor time, of all threads.
    """
    taken: Times = {}
    for number in range(rounds + 1):
        for name, work in works.items():
            before = time.perf_counter(), time.process_time()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            if number:
                taken.setdefault(name, []).append(time.perf_counter() - before[0])
                processor = time.process_time() - before[1]
                taken.setdefault(f"{name}, processor", []).append(processor)
    return taken


def adam_state(layers: int, device: str) -> dict[str, Any]:
    """Weights and optimizer as after a first step; their values do not matter."""
    weights = {
        name: Parameter(torch.randn(shape, device=device))
        for name, shape in gpt2_shapes(layers).items()
    }
    optimizer = torch.optim.AdamW(weights.values())
    for weight in weights.values():
        optimizer.state[weight] = {
            "step": torch.tensor(1.0),
            "exp_avg": torch.randn_like(weight),
            "exp_avg_sq": torch.rand_like(weight),
        }
    model = {name: weight.detach() for name, weight in weights.items()}
    return {"model_state_dict": model, "optimizer_state_dict": optimizer.state_dict()}


def tensors_of(state: Mapping[str, Any]) -> list[Tensor]:
    kept = state["optimizer_state_dict"]["state"].values()
    return [*state["model_state_dict"].values(), *(t for one in kept for t in one.values())]


def a_saver(folder: Path) -> Saver:
    return Saver(
        folder, is_main=True, keep=1, every=0, compress=False,
        sync_journal=lambda: None, say=print,
    )  # fmt: skip


def measure_pause(state: Mapping[str, Any], folder: Path, device: str, rounds: int) -> Times:
    """Seconds of each contender, and as "write" of what the thread does after the pause."""
    tensors = tensors_of(state)
    copies = [torch.empty_like(tensor, device="cpu") for tensor in tensors]
    saver, steps = a_saver(folder), iter(range(10**6))

    def copy() -> None:
        for kept, tensor in zip(copies, tensors, strict=True):
            kept.copy_(tensor)

    works: dict[str, Callable[[], object]] = {
        "copy": copy,
        "save": lambda: saver.save(state, step=next(steps), metrics={}, best=False),
        "write": saver.wait,
        "torch.save": lambda: torch.save(state, folder / "plain"),
    }
    times = measured(works, device, rounds)
    saver.close()
    return times


class Training:
    """A small GPT-2 that learns random tokens."""

    def __init__(self, device: str) -> None:
        self._trainer, self._device = Ours(SMALL, 0, device), torch.device(device)
        self.step = 0
        self.train(20)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self._trainer.step([batch(SMALL, None, 0, self.step, self._device)])
            self.step += 1

    def state(self) -> dict[str, Any]:
        return full_state(self._trainer.model, self._trainer.optimizer)


def measure_share(training: Training, folder: Path, device: str, steps: int, rounds: int) -> Times:
    """Seconds of a checkpoint, of `steps` steps without one, and with one written meanwhile."""
    saver = a_saver(folder)

    def save() -> None:
        saver.save(training.state(), step=training.step, metrics={}, best=False)

    works: dict[str, Callable[[], object]] = {
        "checkpoint": lambda: (save(), saver.wait()),
        "saving": lambda: (save(), training.train(steps)),
        "not saving": lambda: training.train(steps),
    }
    times = measured(works, device, rounds)
    saver.close()
    return times


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=12, help="of the model (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each timing (%(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="between checkpoints (%(default)s)")
    parser.add_argument("--dir", type=Path, help="where to write")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    setup(0, device, "float32", 0)  # as every training begins: the process keeps freed memory
    console = Console()
    console.print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    state = adam_state(options.layers, device)
    size = sum(tensor.nbytes for tensor in tensors_of(state))
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        pause = measure_pause(state, Path(folder), device, options.rounds)
        console.print(pause_table(size, pause))
        training = Training(device)
        share = measure_share(training, Path(folder), device, options.steps, options.rounds)
        more = ratio(share, "saving", "not saving") - 1
        processor = ratio(share, "checkpoint, processor", "not saving, processor")
        console.print(
            f"small model: {_ms(share['not saving'])} ms for {options.steps} steps, "
            f"{100 * more:+.1f} % with a checkpoint, which takes {100 * processor:.2f} % of their "
            "processor time"
        )
    figures = {
        "device": device,
        "bytes": size,
        "steps": options.steps,
        "median_s": {name: statistics.median(times) for name, times in pause.items()},
        "pause_to_copy": ratio(pause, "save", "copy"),
        "pause_to_torch_save": ratio(pause, "save", "torch.save"),
        "small_step_ms": 1000 * statistics.median(share["not saving"]) / options.steps,
        "share": more,
        "share_of_processor": processor,
    }
    print(json.dumps(figures))
    return 0


def pause_table(size: int, pause: Times) -> Table:
    table = Table(title=f"{size / 1e9:.2f} GB of weights and Adam state")
    for column in ("", "ms", "ratio", "goal"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("pause of a save", _ms(pause["save"]), "", "")
    for name, words in (("copy", "copy into used memory"), ("torch.save", "torch.save")):
        goal = f"≤ {GOALS[name]}"
        table.add_row(words, _ms(pause[name]), f"{ratio(pause, 'save', name):.3f}", goal)
    table.add_row("writing it, in the thread", _ms(pause["write"]), "", "")
    table.add_row("processor time of that", _ms(pause["write, processor"]), "", "")
    return table


def _ms(times: list[float]) -> str:
    return f"{1000 * statistics.median(times):,.0f}"


if __name__ == "__main__":
    run_main(main)
