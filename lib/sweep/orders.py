# SPDX-License-Identifier: MIT
"""From a claim to the training that it asks for, and to the smaller one after it ran out of memory.

orders = Orders(sweep, output_dir)
order = orders.order(claim)
changes = orders.halved(claim)          # {"BATCH_SIZE": "32", "GRAD_ACCUM": "2"}
"""

from pathlib import Path

from ..config import dotconfig
from ..config.assign import apply
from ..config.dotconfig import Assignment, ConfigError
from ..config.tree import Tree
from ..files import write_atomic
from ..runs.directory import make_private
from .cells import Cell
from .claims import Claim
from .description import Sweep
from .storage import FOLDER
from .training import Order

_KEY_IN_NAME = 8  # hex digits of a cell's key, enough to tell its runs apart


def sweep_folder(output_dir: Path, name: str) -> Path:
    """Where everything of the sweep is kept, apart from its runs and the study."""
    return output_dir / FOLDER / name


class Orders:
    """Makes the orders of one sweep, whose runs go into `output_dir`."""

    def __init__(self, sweep: Sweep, output_dir: Path) -> None:
        self.sweep, self.output_dir = sweep, output_dir
        self.folder = sweep_folder(output_dir, sweep.name)
        self._tree = Tree()
        models = self._tree.choice_options["MODEL"]
        self._models = {symbol.name: name for name, symbol in models.items()}

    def order(self, claim: Claim) -> Order:
        """What to train for `claim`; writes the configuration of its cell. Raises OSError."""
        given = {a.name: a.value for a in _assignments(claim.cell)}
        model = next(name for symbol, name in self._models.items() if given.get(symbol) == "y")
        make_private(self.folder / "cells")
        config = self.folder / "cells" / f"{claim.key}.config"
        write_atomic(config, claim.cell.config_text, sync=False)  # made again if it is lost
        tags = " ".join([*given.get("TRACKER_TAGS", "").replace(",", " ").split(), self._tag()])
        about = {"group": self.sweep.name, "tags": tags, "job-type": "sweep"}
        return Order(
            program=f"{model}/train.py",
            config=config.absolute(),
            launch_id=claim.launch_id,
            run_name=self.run_name(claim),
            output_dir=self.output_dir,
            log=(self.folder / f"log-{claim.key}.txt").absolute(),
            metric=self.sweep.metric.name,
            flags=[text for k, v in about.items() for text in (f"--tracker-{k}", v)],
        )

    def run_name(self, claim: Claim) -> str:
        """What the run of a cell is called, in each attempt: a run keeps its name."""
        return f"{self.sweep.name}_{claim.key[:_KEY_IN_NAME]}"

    def halved(self, claim: Claim) -> dict[str, str] | None:
        """The changes that make the batch, or its largest part, half as large or less.

        A step has as many examples as before where GRAD_ACCUM can make up for it. None if a batch
        has a single example.
        """
        self._tree.unset_values()
        apply(self._tree, [_assignments(claim.cell)])
        values = self._tree.values()
        size, accumulated = values["BATCH_SIZE"], values.get("GRAD_ACCUM")
        assert isinstance(size, int)
        smaller = next((n for n in range(size // 2, 0, -1) if size % n == 0), None)
        if smaller is None:
            return None
        changes = {"BATCH_SIZE": str(smaller)}
        if isinstance(accumulated, int):
            changes["GRAD_ACCUM"] = str(accumulated * (size // smaller))
        return changes

    def _tag(self) -> str:
        return f"sweep:{self.sweep.name}"


def _assignments(cell: Cell) -> list[Assignment]:
    """What the configuration of a cell says."""
    assignments, problems = dotconfig.parse(cell.config_text, f"cell {cell.key}")
    if problems:
        raise ConfigError(problems)
    return assignments
