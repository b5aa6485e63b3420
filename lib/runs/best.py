# SPDX-License-Identifier: MIT
"""The best evaluation of a run, from its journal: the one whose weights best.pt holds.

    best = best_evaluation(run_dir / "logs" / "metrics.jsonl", metadata)
    best.step, best.metrics["val/loss"]

The best evaluation is the one with the lowest val/loss, or with the lowest or highest value of
another metric (`checkpoint` in metadata.yaml, from CHECKPOINT_METRIC and CHECKPOINT_MODE). Of a run
that prunes, only evaluations from the last step of the pruning schedule on count (there
`pruning.end_step`): earlier ones measured a denser network.
"""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .journal import current_rows


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one evaluation after `step` updates."""

    step: int
    metrics: dict[str, float]


class BestSoFar:
    """The best evaluation of the rows that were seen: `found`, None before the first that counts.

    `criterion` says by what: (the metric, 1 if lower is better or else -1, the first step whose
    evaluations count).
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.criterion = (*_criterion(metadata), _end_of_pruning(metadata))
        self.found: Evaluation | None = None

    def see(self, step: int, metrics: Mapping[str, float]) -> None:
        """Compare a row with the best one; only finite values count, the first among equals."""
        metric, sign, first_step = self.criterion
        if metric not in metrics or step < first_step:
            return
        value = sign * metrics[metric]
        lowest = sign * self.found.metrics[metric] if self.found else math.inf
        if -math.inf < value < lowest:
            self.found = Evaluation(step, dict(metrics))


def best_evaluation(journal: Path, metadata: Mapping[str, Any]) -> Evaluation | None:
    """The evaluation with the best finite value of the metric; the first among equals.

    None if no evaluation counts or the journal cannot be read.
    """
    best = BestSoFar(metadata)
    quoted = json.dumps(best.criterion[0], ensure_ascii=False).encode("utf-8", "replace")
    with contextlib.suppress(OSError):
        for row, _ in current_rows(journal, containing=quoted, on_damage=_ignore):
            best.see(row.get("step", -1), row.get("metrics", {}))
    return best.found


def with_best(journal: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata` with what the journal says of its best evaluation: `best` and final_metrics.

    What final_metrics has already stays.
    """
    return with_evaluation(best_evaluation(journal, metadata), metadata)


def with_evaluation(best: Evaluation | None, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a `best` evaluation that is known already."""
    final = metadata.get("final_metrics")
    fields = {"final_metrics": {**_final(best), **(final if isinstance(final, dict) else {})}}
    return {**metadata, **fields, **(best_fields(best.step, metadata) if best else {})}


def best_fields(step: int, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The field `best` of metadata.yaml, of a best evaluation after `step` updates."""
    return {"best": {"step": step, "epoch": epoch_of(step, metadata)}}


def _final(best: Evaluation | None) -> dict[str, float]:
    metrics = best.metrics.items() if best else ()
    return {f"final/best_{k.replace('/', '_')}": v for k, v in metrics if k.startswith("val/")}


def epoch_of(step: int | None, metadata: Mapping[str, Any]) -> float | None:
    """How many epochs `step` updates are, rounded; None if `steps_per_epoch` is not known."""
    steps = metadata.get("steps_per_epoch")
    if step is None or type(steps) not in (int, float) or not 0 < steps < math.inf:
        return None
    return round(step / steps, 3)


def _criterion(metadata: Mapping[str, Any]) -> tuple[str, int]:
    """(the metric, 1 if lower is better, else -1)"""
    checkpoint = metadata.get("checkpoint")
    if not isinstance(checkpoint, Mapping):
        return "val/loss", 1
    metric = checkpoint.get("metric")
    name = metric if isinstance(metric, str) else "val/loss"
    return name, -1 if checkpoint.get("mode") == "max" else 1


def _end_of_pruning(metadata: Mapping[str, Any]) -> int:
    pruning = metadata.get("pruning")
    end = pruning.get("end_step", 0) if isinstance(pruning, Mapping) else 0
    return end if isinstance(end, int) else 0


def _ignore(damage: Warning) -> None:
    """A listing is not the place to report a damaged row."""
