# SPDX-License-Identifier: MIT
"""MLflow: any tracking server or database, by MLflow's client in batches.

Exactly once, because MLflow keeps a metric by (run, key, step, time, value): a row sent again
after a kill is the row it has. Files go to names made of metric, step and row, so a second upload
replaces the first. The run is found again by its tag, which is set in the call that creates it.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from lib.tracking import media
from lib.tracking.backends import Backend, Refused, Row

RUN_TAG = "adamwprune.run_id"

_SQLITE = "sqlite:///"
_MAX_METRICS = 1000  # of one log_batch, MLflow's own limit
_MAX_PARAMS = 100
_MAX_VALUE = 6000  # characters of a parameter
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # the page shows training, not chats
_STATUS = {"completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


def tracking_uri(settings: Mapping[str, Any]) -> str:
    """Where MLflow keeps its runs; the environment wins over the configuration.

    The path of a database is made absolute: MLflow keeps its connections by address, and a relative
    one would still be the old file after a change of directory.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or settings["MLFLOW_TRACKING_URI"]
    if uri.startswith(_SQLITE):
        return f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).resolve()}"
    return uri


class MLflow(Backend):
    """Metrics, parameters, tags, images, tables and artifacts in MLflow."""

    batch_rows: ClassVar[int] = 250

    def open(self) -> int | None:
        uri = tracking_uri(self.run.settings)
        if uri.startswith(_SQLITE):
            Path(uri.removeprefix(_SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=uri)
        experiment = self._experiment(uri)
        found = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{self.run.id}'")
        self._run_id = found[0].info.run_id if found else self._create(experiment)
        self._params = dict(found[0].data.params) if found else {}
        if found and found[0].info.status != "RUNNING":
            self._client.update_run(self._run_id, status="RUNNING")
        shown = uri if uri.startswith("http") else "make mlflow-ui"
        self.where = f"{shown}, experiment {self.run.project}, run {self.run.name}"
        return None if found else 0

    def _experiment(self, uri: str) -> str:
        name = self.run.project
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        location = None
        if uri.startswith(_SQLITE):  # beside the database, not in the current directory
            folder = Path(uri.removeprefix(_SQLITE)).parent / "mlflow-artifacts"
            location = (folder / name).as_uri()
        try:
            return self._client.create_experiment(name, location, tags=_KIND)
        except MlflowException:  # another run made it meanwhile
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return found.experiment_id

    def _create(self, experiment: str) -> str:
        tags = {RUN_TAG: self.run.id, "mlflow.note.content": self.run.notes}
        tags |= {"group": self.run.group, "job_type": self.run.job_type}
        tags |= {f"tag.{tag}": "true" for tag in self.run.tags}
        run = self._client.create_run(
            experiment,
            start_time=int(self.run.started * 1000),
            tags={key: value for key, value in tags.items() if value},
            run_name=self.run.name,
        )
        return run.info.run_id

    def describe(self, facts: Mapping[str, Any]) -> None:
        texts = {name: str(value)[:_MAX_VALUE] for name, value in facts.items()}
        new = [Param(name, text) for name, text in texts.items() if name not in self._params]
        for start in range(0, len(new), _MAX_PARAMS):
            self._client.log_batch(self._run_id, params=new[start : start + _MAX_PARAMS])
        # A parameter cannot be changed in MLflow; a resumed run's new value becomes a tag.
        changed = [
            RunTag(f"changed.{name}", text)
            for name, text in texts.items()
            if self._params.get(name, text) != text
        ]
        if changed:
            self._client.log_batch(self._run_id, tags=changed[:_MAX_PARAMS])
        self._params = texts | self._params

    def write(self, rows: Sequence[Row]) -> None:
        for metrics in _batches(rows):
            try:
                self._client.log_batch(self._run_id, metrics=metrics)
            except MlflowException as error:
                if error.error_code == "INVALID_PARAMETER_VALUE":
                    raise Refused(str(error)) from error
                raise
        for row in rows:
            for name, item in row.media.items():
                self._medium(row, name, item)

    def finish(self, status: str) -> None:
        self._client.set_terminated(self._run_id, _STATUS.get(status, "KILLED"))

    def _medium(self, row: Row, name: str, item: dict[str, Any]) -> None:
        kind, flat = item["type"], name.replace("/", "~")
        if kind == "image":
            self._image(row, flat, media.file_of(self.run.dir, item).read_bytes())
        elif kind == "figure":
            png = media.file_of(self.run.dir, item).read_bytes()
            self._upload(f"figures/{name}", f"step_{row.step:08d}.png", png)
        elif kind == "confusion_matrix":
            png, _, _ = media.draw_confusion_matrix(item)
            self._upload(f"confusion_matrices/{name}", f"step_{row.step:08d}.png", png)
            self._table(row, name, *media.confusion_rows(item))
        elif kind == "table":
            self._table(row, name, *media.read_table(self.run.dir, item))
        elif kind == "artifact":
            folder = f"artifacts/{item['kind']}"
            path = media.file_of(self.run.dir, item)
            self._client.log_artifact(self._run_id, str(path), folder)
            about = json.dumps({k: v for k, v in item.items() if k != "path"}, indent=1)
            self._client.log_text(self._run_id, about, f"{folder}/{path.name}.json")
        else:
            suffix, text = media.as_file(item)
            file = f"step_{row.step:08d}{suffix}"
            self._client.log_text(self._run_id, text, f"{kind}/{name}/{file}")

    def _image(self, row: Row, flat: str, png: bytes) -> None:
        """Named as MLflow's own log_image does, which its image panel reads, but predictably."""
        stem = f"{flat}+step+{row.step}+timestamp+{_millis(row)}+{self.run.id}-{row.index}"
        self._upload("images", f"{stem}.png", png)
        self._upload("images", f"{stem}+compressed.webp", media.webp(png))
        self._client.set_tag(self._run_id, "mlflow.loggedImages", "true")

    def _table(self, row: Row, name: str, columns: list[str], data: list[list[Any]]) -> None:
        """As MLflow's log_table writes it; that one would append when called again."""
        path = f"tables/{name}/step_{row.step:08d}.json"
        self._client.log_text(self._run_id, json.dumps({"columns": columns, "data": data}), path)
        tags = self._client.get_run(self._run_id).data.tags
        logged = json.loads(tags.get("mlflow.loggedArtifacts", "[]"))
        if (entry := {"path": path, "type": "table"}) not in logged:
            text = json.dumps([*logged, entry])
            self._client.set_tag(self._run_id, "mlflow.loggedArtifacts", text)

    def _upload(self, folder: str, name: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / name
            path.write_bytes(data)
            self._client.log_artifact(self._run_id, str(path), folder)


def _millis(row: Row) -> int:
    return int(row.time * 1000)


def _batches(rows: Sequence[Row]) -> Iterator[list[Metric]]:
    metrics = [
        Metric(name, float(value), _millis(row), row.step)
        for row in rows
        for name, value in row.metrics.items()
    ]
    for start in range(0, len(metrics), _MAX_METRICS):
        yield metrics[start : start + _MAX_METRICS]
