# SPDX-License-Identifier: MIT
"""Completed runs that stand for a cell without being trained again (REUSE=y).

    reusable = Reusable(output_dir, sweep)
    run = reusable.run_of(key)          # None if there is none

Two runs with the same science_hash differ in no setting that changes their numbers.
"""

from pathlib import Path

from ..errors import Failure
from ..runs import open_runs
from ..runs.stored import StoredRun
from .description import Sweep
from .results import measured


class Reusable:
    """The completed runs in `output_dir` when it was made, by the hash of their science."""

    def __init__(self, output_dir: Path, sweep: Sweep) -> None:
        runs = open_runs(output_dir, where="status=completed")
        self._runs = {str(run.field("science_hash")): run for run in runs}  # the newest of equals
        self._metrics = sweep.metrics

    def run_of(self, key: str) -> StoredRun | None:
        """The newest run with the science of the cell `key` that has values of the metrics."""
        run = self._runs.get(key)
        if run is None:
            return None
        try:
            measured(run, self._metrics)
        except Failure:  # unmeasured, or removed meanwhile
            return None
        return run
