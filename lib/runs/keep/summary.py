# SPDX-License-Identifier: MIT
"""NAME.summary.yaml beside a kept run: its numbers, for where the run itself is not.

git has it, so that `make runs` lists a run that was never pulled here.
"""

from pathlib import Path
from typing import Any

from .. import metadata
from ..best import best_evaluation
from ..stored import StoredRun

SUFFIX = ".summary.yaml"
_TAKEN = (
    "run_id",
    "status",
    "model",
    "optimizer",
    "seed",
    "science_hash",
    "start_time",
    "duration_s",
    "final_metrics",
    "best",
    "device",
    "precision",
    "tags",
    "description",
    "hypothesis",
    "conclusion",
    "dataset",
)
_COMMIT = ("commit", "branch", "dirty")


def path_of(run_dir: Path) -> Path:
    """The summary of a run."""
    return run_dir.with_name(run_dir.name + SUFFIX)


def summary_of(run: StoredRun, message: str) -> dict[str, Any]:
    """Fields of its metadata.yaml, its best step, `message` and the time."""
    best = best_evaluation(run.journal, run.metadata)
    taken = {name: run.metadata[name] for name in _TAKEN if name in run.metadata}
    return {
        "run_name": run.name,
        **taken,
        "git": {name: run.part("git").get(name) for name in _COMMIT},
        "best_step": best.step if best else None,
        "message": message,
        "kept_at": metadata.now(),
    }


def write(path: Path, summary: dict[str, Any]) -> None:
    """Write it atomically, redacted. Raises OSError."""
    metadata.save(path, summary)


def read(path: Path) -> dict[str, Any]:
    """What it says; empty if it is missing or damaged."""
    try:
        return metadata.load(path)
    except (OSError, ValueError):
        return {}
