# SPDX-License-Identifier: MIT
"""Short trainings of any model for tests, in this process or by torchrun.

A model is a folder with a train.py. Its tests/<model>/small.py is all that these tests know of it:

flags(folder)   for a short training: what makes it small, and its data local, in `folder`
IN_PARTS        flags with which a batch in parts gives what it gives in one go
DEFCONFIG       flags that make a training by any of its defconfigs small
LOCAL_DATA      data set → function from a folder to flags that replace a download; none for others
FIXED_DATA      data set → function from a folder to flags; its defconfigs have golden losses, for
                which the data must be the same on every machine
RESUMED         name → flags: what only this model has and a resumed training must get right
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lib.config.settings import load_settings
from lib.runs import metadata
from lib.runs.journal import read_rows
from lib.train import checkpoint

ROOT = Path(__file__).resolve().parent.parent
MODELS = sorted(path.parent.name for path in ROOT.glob("*/train.py"))


def traits(model: str) -> Any:
    """The module tests/<model>/small.py."""
    return importlib.import_module(f"tests.{model}.small")


class Finished(NamedTuple):
    """A run directory after training."""

    dir: Path

    @property
    def metadata(self) -> dict:
        return metadata.load(self.dir / "metadata.yaml")

    @property
    def log(self) -> str:
        return (self.dir / "logs" / "train.log").read_text()

    def rows(self, metric: str) -> dict[int, float]:
        """The values of `metric` in the journal, by step."""
        rows = (row for row, _ in read_rows(self.dir / "logs" / "metrics.jsonl"))
        return {r["step"]: r["metrics"][metric] for r in rows if metric in r.get("metrics", {})}

    def checkpoint(self, name: str = "last.pt") -> dict:
        return checkpoint.load(self.dir / "checkpoints" / name)

    def weights(self, name: str = "last.pt") -> dict:
        return self.checkpoint(name)["model_state_dict"]


class SmallModel:
    """Short trainings of `model`, with data in `folder` and runs in `output`."""

    def __init__(self, model: str, folder: Path, output: Path) -> None:
        self.name, self.output = model, output
        folder.mkdir(exist_ok=True)
        self.small = traits(model).flags(folder)
        self.in_parts: list[str] = traits(model).IN_PARTS
        self.program: Any = importlib.import_module(f"{model}.train")
        self._count = 0

    def flags(self, run: str, *more: str) -> list[str]:
        """Six steps on the CPU in float32, metrics logged at each; `more` overrides."""
        config = self.output / "config"
        config.write_text(f"CONFIG_MODEL_{self.name.upper()}=y\n")
        return [
            *("--config", str(config), "--output-dir", str(self.output), "--tracker-run-name", run),
            *("--device", "cpu", "--precision", "float32", "--tracker", "none", "--no-plots"),
            *("--max-steps", "6", "--log-interval", "1", "--eval-interval", "3"),
            *(*self.small, *more),
        ]

    def train(self, *more: str) -> Finished:
        """Train in this process; errors are raised. The run is `latest` in any case."""
        self._count += 1
        self.program.train(load_settings(self.name, self.flags(f"run-{self._count}", *more)))
        return self.latest

    @property
    def latest(self) -> Finished:
        return Finished(self.output / f"run-{self._count}")

    def command(self, ranks: int, run: str, *more: str) -> list[str]:
        """The program with its flags, started by torchrun if there are several ranks."""
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        program = str(ROOT / self.name / "train.py")
        start = [*torchrun, program] if ranks > 1 else [program]
        return [sys.executable, *start, *self.flags(run, *more)]

    def train_on_ranks(self, ranks: int, *more: str) -> Finished:
        """Train with `ranks` processes."""
        subprocess.run(
            self.command(ranks, "ranks", *more), check=True, timeout=300, env=ENVIRONMENT
        )
        return Finished(self.output / "ranks")


@contextmanager
def restored_torch() -> Iterator[None]:
    """Undo what a training in this process sets for all of PyTorch."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
