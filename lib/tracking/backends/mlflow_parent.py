# SPDX-License-Identifier: MIT
"""The run that holds the trials of a sweep in MLflow, which shows them below it.

    parent = Parent(client, experiment, "lr-grid")
    parent.open(started)                # found, or made by the first trial
    client.create_run(…, tags=parent.link)

Trials start at the same moment, on several machines, and MLflow has no way to create a run only if
it does not exist. So each trial that finds no parent creates one and looks again: of several, the
one that started first, by its id if need be, counts. Whoever sees more than one moves the trials of
the others to it and deletes them. Since each trial looks again at its end, all are below the same
parent then, whatever the order was.
"""

from collections.abc import Sequence

from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

SWEEP_TAG = "adamwprune.sweep"


class Parent:
    """The parent run of the sweep `name` in `experiment`."""

    def __init__(self, client: MlflowClient, experiment: str, name: str) -> None:
        self._client = client
        self._experiment = experiment
        self._name = name
        self._id = ""

    @property
    def link(self) -> dict[str, str]:
        """The tag that puts a run below it."""
        return {MLFLOW_PARENT_RUN_ID: self._id}

    def open(self, started: float) -> None:
        """Find or create it, shown as running; `started` is when its first trial did."""
        found = self._search(f"tags.`{SWEEP_TAG}` != ''")
        if not self._mine(found):
            self._client.create_run(
                self._experiment,
                start_time=int(started * 1000),
                tags={SWEEP_TAG: self._name},
                run_name=self._name,
            )
        parent = self._settle()
        if parent.info.status != "RUNNING":
            self._client.update_run(self._id, status="RUNNING")

    def close(self, child: str) -> None:
        """After the run `child` has ended: put it below the parent that counts now, and end that
        one with its last trial if none is running.
        """
        self._settle()
        self._client.set_tag(child, MLFLOW_PARENT_RUN_ID, self._id)
        below = self._below(self._id)
        if not self._search(f"{below} and attributes.status = 'RUNNING'", 1):
            last = self._search(below, 1, ["attributes.end_time DESC"])
            self._client.set_terminated(self._id, "FINISHED", last[0].info.end_time)

    def _settle(self) -> Run:
        """The parent that counts; any other one is merged into it."""
        found = self._mine(self._search(f"tags.`{SWEEP_TAG}` != ''"))
        first, *others = sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))
        self._id = first.info.run_id
        for other in others:
            for child in self._search(self._below(other.info.run_id)):
                self._client.set_tag(child.info.run_id, MLFLOW_PARENT_RUN_ID, self._id)
            self._client.delete_run(other.info.run_id)
        return first

    def _mine(self, runs: Sequence[Run]) -> list[Run]:
        """Compared here, since a name may contain what a filter cannot quote."""
        return [run for run in runs if run.data.tags[SWEEP_TAG] == self._name]

    def _below(self, parent: str) -> str:
        return f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'"

    def _search(
        self, condition: str, limit: int = 50_000, order: list[str] | None = None
    ) -> Sequence[Run]:
        experiments = [self._experiment]
        return self._client.search_runs(experiments, condition, max_results=limit, order_by=order)
