# SPDX-License-Identifier: MIT
"""Trainings that are killed with SIGKILL in a child process, and comparisons of what they leave."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lib.runs.journal import current_rows
from lib.train import checkpoint
from lib.train.checkpoint.find import named


def in_first_evaluation(monkeypatch: pytest.MonkeyPatch, do: Callable[[], Any]) -> None:
    """Call `do` when a model is first put into evaluation mode."""
    evaluate, calls = torch.nn.Module.eval, []

    def interrupted(module: torch.nn.Module) -> torch.nn.Module:
        calls.append(module)
        if len(calls) == 1:
            do()
        return evaluate(module)

    monkeypatch.setattr(torch.nn.Module, "eval", interrupted)


def edited(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A function that replaces `old`, which must be there, by `new` in the file `name` of a run."""

    def edit(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new, 1))

    return edit


def science(run_dir: Path) -> dict[str, Any]:
    """What two equal trainings have in common: the last checkpoint and the journal, without times.

    Everything that is measured in seconds is left out, and what names the run.
    """
    last = checkpoint.load(named(run_dir / "checkpoints", "last"))
    last["training_state"].pop("elapsed_s")
    for key in ("journal", "versions"):
        del last[key]
    rows = [_timeless(row) for row, _ in current_rows(run_dir / "logs" / "metrics.jsonl")]
    return {"checkpoint": last, "journal": [row for row in rows if "event" not in row]}


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    row = {name: value for name, value in row.items() if name != "time"}
    if "metrics" in row:
        timed = ("perf/", "system/", "final/training_time_s")
        row["metrics"] = {k: v for k, v in row["metrics"].items() if not k.startswith(timed)}
    return row


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two nested values differ, tensors in any bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and _bits(a).equal(_bits(b))
        return [] if same else [where]
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [d for key in a for d in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        both = enumerate(zip(a, b, strict=True))
        return [d for i, (x, y) in both for d in differences(x, y, f"{where}/{i}")]
    return [] if type(a) is type(b) and (a == b or (a != a and b != b)) else [f"{where}: {a} ≠ {b}"]


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor: NaN is not equal to itself, and -0.0 is equal to 0.0."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
