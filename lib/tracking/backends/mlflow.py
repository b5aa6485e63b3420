# SPDX-License-Identifier: MIT
"""MLflow: any tracking server or database, by MLflow's client in batches.

Exactly once, because MLflow identifies a value by (run, key, step, time, value): a row that is sent
again after a kill adds nothing. Files get names made of metric, step and row, so a second upload
replaces the first. The run is found again by its tag, which is set in the call that creates it.
"""

import errno
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ...advice import typed
from .. import media
from ..describe import Description
from . import Backend, Row, brief
from .mlflow_database import create_database
from .mlflow_parent import Parent

RUN_TAG = "adamwprune.run_id"

_SQLITE = "sqlite:///"
_MAX_METRICS = 1000  # of one log_batch, MLflow's own limit
_MAX_FACTS = 100  # parameters or tags of one log_batch
_MAX_PARAM, _MAX_TAG = 6000, 8000  # characters of a value
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # the page shows training, not chats
_BAD_IN_NAMES = re.compile(r"[^\w.\- :/]")
_STATUS = {"completed": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


def tracking_uri(settings: Mapping[str, Any]) -> str:
    """Where MLflow keeps its runs; the environment wins over the configuration.

    The path of a database is made absolute: MLflow caches connections by address, and a relative
    one would mean the old file after a change of directory.
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
            create_database(Path(uri.removeprefix(_SQLITE)))
        self._client = MlflowClient(tracking_uri=uri)
        experiment = self._experiment(uri)
        self._parent = self._open_parent(experiment)
        found = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{self.run.id}'")
        self._run_id = found[0].info.run_id if found else self._create(experiment)
        self._params = dict(found[0].data.params) if found else {}
        self._run_tags = {t for t in found[0].data.tags if t.startswith("tag.")} if found else set()
        self._bad_names: dict[str, str] = {}
        if found and found[0].info.status != "RUNNING":
            self._client.update_run(self._run_id, status="RUNNING")
        shown = (
            uri
            if uri.startswith("http")
            else typed("make mlflow-ui", f"mlflow ui --backend-store-uri {uri}")
        )
        self.where = f"{shown}, experiment {self.run.project}, run {self.run.name}"
        return None if found else 0

    def _experiment(self, uri: str) -> str:
        name = self.run.project
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        location = None
        if uri.startswith(_SQLITE):  # beside the database, not in the current directory
            folder = Path(uri.removeprefix(_SQLITE)).parent / "mlartifacts"
            location = (folder / re.sub(r"[^A-Za-z0-9_-]", "_", name)).as_uri()
        try:
            return self._client.create_experiment(name, location, tags=_KIND)
        except MlflowException:  # another run made it meanwhile
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return found.experiment_id

    def _open_parent(self, experiment: str) -> Parent | None:
        """Trials of a sweep are below one run, which has its name."""
        if not (self.run.job_type == "sweep" and self.run.group):
            return None
        parent = Parent(self._client, experiment, self.run.group)
        parent.open(self.run.started)
        return parent

    def _create(self, experiment: str) -> str:
        run = self._client.create_run(
            experiment,
            start_time=int(self.run.started * 1000),
            tags={RUN_TAG: self.run.id, **(self._parent.link if self._parent else {})},
            run_name=self.run.name,
        )
        return run.info.run_id

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Facts become parameters, which cannot be changed in MLflow; a new value becomes a tag."""
        texts = {name: self._fitting(name, str(value), _MAX_PARAM) for name, value in facts.items()}
        new = [Param(name, text) for name, text in texts.items() if name not in self._params]
        tags = self._tags()
        for name, text in texts.items():
            if self._params.get(name, text) != text:
                tags[f"changed.{name}"] = text
        fitting = [RunTag(n, self._fitting(n, t, _MAX_TAG)) for n, t in tags.items() if t]
        for group, name in ((new, "params"), (fitting, "tags")):
            for start in range(0, len(group), _MAX_FACTS):
                self._log_facts(name, group[start : start + _MAX_FACTS])
        self._params = texts | self._params
        self._remove_tags(tags)

    def _remove_tags(self, wanted: Mapping[str, str]) -> None:
        """Those of the run's tags that it has no longer."""
        for name in self._run_tags - wanted.keys():
            with suppress(MlflowException):  # somebody else has
                self._client.delete_tag(self._run_id, name)
        self._run_tags = {name for name in wanted if name.startswith("tag.")}

    def _tags(self) -> dict[str, str]:
        run, git = self.run, self.run.metadata.get("git")
        commit = git.get("commit") if isinstance(git, Mapping) else None
        about = {"mlflow.note.content": run.notes, "group": run.group, "job_type": run.job_type}
        about |= {"mlflow.source.name": str(run.metadata.get("command") or "")}
        about |= {"mlflow.source.git.commit": str(commit or "")}
        about |= {f"conclusion.{name}": text for name, text in run.conclusion.items()}
        for tag in run.tags:
            name = _BAD_IN_NAMES.sub("_", tag)
            about[f"tag.{name}"] = "true" if name == tag else tag
        return about

    def _fitting(self, name: str, text: str, limit: int) -> str:
        if len(text) > limit:
            self.cut[name] = f"{limit:,} of {len(text):,} characters, the most that MLflow takes"
        return text[:limit]

    def _log_facts(self, kind: str, facts: Sequence[Param | RunTag]) -> None:
        """Log parameters or tags; what the server refuses is left out, found by halving."""
        try:
            self._client.log_batch(self._run_id, **{kind: facts})
        except MlflowException as error:
            self._check_refusal(error)
            if len(facts) > 1:
                self._log_facts(kind, facts[: len(facts) // 2])
                self._log_facts(kind, facts[len(facts) // 2 :])
            else:
                self.cut[facts[0].key] = brief(error)

    def write(self, rows: Sequence[Row]) -> None:
        points = [
            Point(row, name, Metric(name, float(value), int(row.time * 1000), row.step))
            for row in rows
            for name, value in row.metrics.items()
        ]
        for start in range(0, len(points), _MAX_METRICS):
            self._log_points(points[start : start + _MAX_METRICS])
        for row in rows:
            for name, item in row.media.items():
                self._medium(row, name, item)

    def _log_points(self, points: Sequence["Point"]) -> None:
        """Log metrics; names that the server refuses are found by halving and left out.

        Steps, times and values are known to be valid, so a refusal concerns a name; nothing more is
        sent under it.
        """
        for point in points:
            if (reason := self._bad_names.get(point.name)) is not None:
                self.refuse(point.row, point.name, reason)
        points = [point for point in points if point.name not in self._bad_names]
        if not points:
            return
        try:
            self._client.log_batch(self._run_id, metrics=[point.metric for point in points])
        except MlflowException as error:
            self._check_refusal(error)
            names = list(dict.fromkeys(point.name for point in points))
            if len(names) == 1:
                self._bad_names[names[0]] = brief(error)
                self._log_points(points)
                return
            first = set(names[: len(names) // 2])
            self._log_points([point for point in points if point.name in first])
            self._log_points([point for point in points if point.name not in first])

    def _check_refusal(self, error: MlflowException) -> None:
        """Raise `error` unless it concerns what was sent; a deleted run is an error."""
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise error
        if self._client.get_run(self._run_id).info.lifecycle_stage != "active":
            raise error

    def finish(self, status: str, ended: float | None) -> None:
        end_time = None if ended is None else int(ended * 1000)
        self._client.set_terminated(self._run_id, _STATUS.get(status, "KILLED"), end_time)
        if self._parent:
            self._parent.close(self._run_id)

    def _medium(self, row: Row, name: str, item: dict[str, Any]) -> None:
        """Make all files before the first one is sent."""
        files: list[File] = []
        with self.encoding(row, name):
            files = _files(self.run, row, name, item)
        try:
            for file in files:
                self._upload(file)
            if files and item["type"] == "image":
                self._client.set_tag(self._run_id, "mlflow.loggedImages", "true")
            elif files and item["type"] in ("table", "confusion_matrix"):
                self._list_table(f"{files[-1].folder}/{files[-1].name}")
        except MlflowException as error:
            self._check_refusal(error)
            self.refuse(row, name, error)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            self.refuse(row, name, error.strerror)

    def _list_table(self, path: str) -> None:
        """As MLflow's log_table does, which would append rows when called again."""
        tags = self._client.get_run(self._run_id).data.tags
        logged = json.loads(tags.get("mlflow.loggedArtifacts", "[]"))
        if (entry := {"path": path, "type": "table"}) not in logged:
            text = json.dumps([*logged, entry])
            self._client.set_tag(self._run_id, "mlflow.loggedArtifacts", text)

    def _upload(self, file: "File") -> None:
        if isinstance(file.content, Path):
            self._client.log_artifact(self._run_id, str(file.content), file.folder)
            return
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / file.name
            path.write_bytes(file.content)
            self._client.log_artifact(self._run_id, str(path), file.folder)


class Point(NamedTuple):
    """A value on its way, and the row it is of."""

    row: Row
    name: str
    metric: Metric


class File(NamedTuple):
    """A file for MLflow's artifacts: a path, or bytes that get `name` there."""

    folder: str
    name: str
    content: bytes | Path


def _files(run: Description, row: Row, name: str, item: dict[str, Any]) -> list[File]:
    """The files that show a medium in MLflow. For an image they are named as by MLflow's own
    log_image, whose names its image panel parses, but predictably.
    """
    kind, step = item["type"], f"step_{row.step:08d}"
    if kind == "image":
        png = media.file_of(run.dir, item).read_bytes()
        when = f"+step+{row.step}+timestamp+{int(row.time * 1000)}+{run.id}-{row.index}"
        stem = name.replace("/", "~") + when
        preview = File("images", f"{stem}+compressed.webp", media.webp(png))
        return [File("images", f"{stem}.png", png), preview]
    if kind == "figure":
        png = media.file_of(run.dir, item).read_bytes()
        return [File(f"figures/{name}", f"{step}.png", png)]
    if kind in ("table", "confusion_matrix"):
        columns, rows = media.read_table(run.dir, item)
        data = json.dumps({"columns": columns, "data": rows}).encode()
        table = File(f"tables/{name}", f"{step}.json", data)
        if kind == "table":
            return [table]
        png, _, _ = media.draw_confusion_matrix(item)
        return [File(f"confusion_matrices/{name}", f"{step}.png", png), table]
    if kind == "artifact":
        path, folder = media.file_of(run.dir, item), f"artifacts/{item['kind']}"
        about = json.dumps({k: v for k, v in item.items() if k != "path"}, indent=1)
        return [File(folder, path.name, path), File(folder, f"{path.name}.json", about.encode())]
    suffix, text = media.as_file(item)
    return [File(f"{kind}/{name}", f"{step}{suffix}", text.encode())]
