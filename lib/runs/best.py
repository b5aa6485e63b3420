# SPDX-License-Identifier: MIT
"""The best evaluation of a run, from its journal: the one whose weights best.pt holds.

    best = best_evaluation(run_dir / "logs" / "metrics.jsonl", metadata)
    best.step, best.metrics["val/loss"]

The best evaluation is the one with the lowest val/loss. Of a run that prunes, only evaluations from
the last step of the pruning schedule on count (`pruning.end_step` in metadata.yaml): earlier
ones measured a denser network.
"""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.runs.journal import read_rows


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one evaluation, val/loss among them, after `step` updates."""

    step: int
    metrics: dict[str, float]


def best_evaluation(journal: Path, metadata: Mapping[str, Any]) -> Evaluation | None:
    """The evaluation with the lowest finite val/loss; the first among equals.

    None if no evaluation counts or the journal cannot be read.
    """
    best, lowest, first_step = None, math.inf, _end_of_pruning(metadata)
    with contextlib.suppress(OSError):
        for row, _ in read_rows(journal, containing=b'"val/loss"', on_damage=_ignore):
            loss = row.get("metrics", {}).get("val/loss", math.inf)
            if -math.inf < loss < lowest and row.get("step", -1) >= first_step:
                best, lowest = Evaluation(row["step"], row["metrics"]), loss
    return best


def best_metrics(journal: Path, metadata: Mapping[str, Any]) -> dict[str, float]:
    """`best_evaluation` under the names of final_metrics: final/best_val_loss, …"""
    best = best_evaluation(journal, metadata)
    metrics = best.metrics.items() if best else ()
    return {f"final/best_{k.replace('/', '_')}": v for k, v in metrics if k.startswith("val/")}


def _end_of_pruning(metadata: Mapping[str, Any]) -> int:
    pruning = metadata.get("pruning")
    end = pruning.get("end_step", 0) if isinstance(pruning, Mapping) else 0
    return end if isinstance(end, int) else 0


def _ignore(damage: Warning) -> None:
    """A listing is not the place to report a damaged row."""
