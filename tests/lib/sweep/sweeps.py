# SPDX-License-Identifier: MIT
"""What the tests of killed sweeps share: small sweeps, waiting, and the end."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.sweep_checks import End, look, processes
from benchmarks.sweep_kills import sqlite
from benchmarks.sweep_tree import Tree


def write(tree: Tree, name: str, seeds: Sequence[int], **changes: Any) -> None:
    """A sweep with one cell a seed; a training takes 0.2 s and what starting takes."""
    fixed = {"TINY_STEP_MS": 10, **changes.pop("set", {})}
    metric = {"name": "val/loss"}
    tree.write_sweep(
        name,
        {"set": fixed, "axes": {"LEARNING_RATE": [0.01]}, "seeds": [*seeds], "metric": metric}
        | changes,
    )


def trainings(tree: Tree) -> list[int]:
    """The processes that train in the tree now."""
    return [each.pid for each in processes(tree) if each.role == "training"]


def until(holds: Callable[[], Any], limit: float = 30.0) -> Any:
    """Wait until `holds()`; returns what it gives."""
    deadline = time.monotonic() + limit
    while not (found := holds()):
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)
    return found


def ended_well(tree: Tree, name: str, cells: int, storage: str = "") -> End:
    """What there is of a sweep that has ended; nothing of it may be wrong."""
    until(lambda: not processes(tree))
    end = look(tree, name, storage or sqlite(tree), cells)
    assert end.findings == []
    return end
