# SPDX-License-Identifier: MIT
"""Registering: from a checkpoint of a run to a version in the registry.

    facts = facts_of(run, checkpoint, "best")
    version, is_new = register(client, facts, name="digits", mlflow_run=…, make=…)

The version is created last, with all its tags, in one request. What is killed before has uploaded
files of a model that has no version; the next attempt finds it by its tags and goes on with it.
Repeating the command adds no second version of the same weights.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadUse, Failure
from ..runs.stored import StoredRun
from ..tracking.describe import describe, timestamp
from ..train.checkpoint import CheckpointError, manifest
from ..train.checkpoint.digest import verify
from ..train.checkpoint.find import listed
from .kept import dvc_md5
from .versions import Version, names, versions

_EVALUATED = "val/"  # the metrics of weights; others are of a step
IN_WANDB = "wandb_artifact"  # tag of a version: the artifact that W&B has of it
_TO_REGISTER = "registered_model"  # tag of a stored model: the name that it is for


@dataclass(frozen=True)
class Facts:
    """What a version says about itself: `tags`, and the `metrics` of its `step`."""

    run: StoredRun
    tags: dict[str, str]
    metrics: dict[str, float]
    step: int
    written: float  # seconds since the epoch


def facts_of(run: StoredRun, checkpoint: Path, which: str) -> Facts:
    """Of `checkpoint`, called best or last, whose bytes are compared with its digest.

    Raises BadUse for a run in progress, and Failure for one that is damaged or has no checkpoint.
    """
    if run.status == "running":
        raise BadUse(f"{run.name} is in progress: its checkpoints still change. Wait for its end")
    try:
        digest = manifest.verify(checkpoint) if checkpoint.is_dir() else verify(checkpoint)
    except FileNotFoundError as error:
        there = ", ".join(e.file for e in listed(run.dir / "checkpoints")) or "none"
        raise Failure(f"{run.name} has no {which} checkpoint; there are: {there}") from error
    except (OSError, CheckpointError) as error:
        raise Failure(f"{error}. `make verify RUN={run.name}` says what can be used") from error
    entry = next((e for e in listed(run.dir / "checkpoints") if e.sha256 == digest), None)
    logged = entry.metrics.items() if entry else ()
    metrics = {name: float(value) for name, value in logged if name.startswith(_EVALUATED)}
    about = run.metadata
    tags = {
        "run_id": about.get("run_id"),
        "run_name": run.name,
        "git_commit": run.part("git").get("commit"),
        "dvc_md5": dvc_md5(run.dir.parent, run.name),
        "checkpoint": which,
        "checkpoint_sha256": digest,
        "science_hash": about.get("science_hash"),
        "model": run.part("model").get("name"),
        "dataset": run.part("dataset").get("name"),
        "seed": about.get("seed"),
        "step": entry.step if entry else None,
        **metrics,
    }
    texts = {name: str(value) for name, value in tags.items() if value not in (None, "")}
    step, written = (entry.step, timestamp(entry.time)) if entry else (0, None)
    return Facts(run, texts, metrics, step, written or 0.0)


def find_mlflow_run(client: Any, run_dir: Path) -> str:
    """MLflow's id of a run, by the tag that the forwarder sets; "" if it was never sent there."""
    from ..tracking.backends.mlflow import RUN_TAG

    about = describe(run_dir)
    experiment = client.get_experiment_by_name(about.project)
    if experiment is None:
        return ""
    found = client.search_runs([experiment.experiment_id], f"tags.`{RUN_TAG}` = '{about.id}'")
    return found[0].info.run_id if found else ""


def existing(client: Any, facts: Facts, name: str) -> Version | None:
    """The version of `name` that was made of these weights."""
    found = names(client, name)
    same = [
        version
        for version in versions(client, found)
        if version.tags.get("checkpoint_sha256") == facts.tags["checkpoint_sha256"]
        and version.tags.get("run_id") == facts.tags.get("run_id")
    ]
    return same[-1] if same else None


def bring_up_to_date(client: Any, version: Version, facts: Facts) -> list[str]:
    """Set what has changed, such as dvc_md5 of a run that was kept meanwhile; returns the names.

    Whether the weights are called best or last stays: they may be both.
    """
    changed = {k: v for k, v in facts.tags.items() if version.tags.get(k) != v}
    changed.pop("checkpoint", None)
    for key, value in changed.items():
        client.set_model_version_tag(version.name, str(version.number), key, value)
    return sorted(changed)


def register(
    client: Any, facts: Facts, name: str, mlflow_run: str, make: Callable[[Path], None]
) -> int:
    """Create a version of `name` and return its number; `make` writes the MLflow model to a folder.

    The caller holds the run's lock for registering, so that no other process does the same.
    """
    with tempfile.TemporaryDirectory(prefix="adamwprune-model-") as scratch:
        folder = Path(scratch) / "model"
        make(folder)
        model_id = _stored_model(client, facts, name, mlflow_run)
        client.log_model_artifacts(model_id, str(folder))
    _log_metrics(client, facts, mlflow_run, model_id)
    client.finalize_logged_model(model_id, "READY")
    if not names(client, name):
        _create_name(client, name)
    made = client.create_model_version(
        name,
        f"models:/{model_id}",
        run_id=mlflow_run,
        tags=facts.tags,
        description=str(facts.run.metadata.get("description") or "") or None,
        model_id=model_id,
    )
    return int(made.version)


def _stored_model(client: Any, facts: Facts, name: str, mlflow_run: str) -> str:
    """The id of a model in MLflow's experiment: one that was left unfinished, or a new one."""
    experiment = client.get_run(mlflow_run).info.experiment_id
    digest = facts.tags["checkpoint_sha256"]
    wanted = f"tags.{_TO_REGISTER} = '{name}' AND tags.checkpoint_sha256 = '{digest}'"
    used = {version.source for version in versions(client, names(client, name))}
    for model in client.search_logged_models([experiment], wanted):
        if model.source_run_id == mlflow_run and f"models:/{model.model_id}" not in used:
            return model.model_id
    tags = {**facts.tags, _TO_REGISTER: name}
    return client.create_logged_model(experiment, name, mlflow_run, tags).model_id


def _log_metrics(client: Any, facts: Facts, mlflow_run: str, model_id: str) -> None:
    """The metrics of the checkpoint as those of the model.

    With the time of the value that the run has in MLflow: MLflow logs them to the run as well,
    where an equal value adds nothing.
    """
    from mlflow.entities import Metric

    metrics = []
    for name, value in facts.metrics.items():
        points = client.get_metric_history(mlflow_run, name)
        same = [p for p in points if p.step == facts.step and p.value == value]
        if same:
            moment = same[-1].timestamp
            metrics.append(
                Metric(name, value, moment, facts.step, model_id=model_id, run_id=mlflow_run)
            )
    if metrics:
        client.log_batch(mlflow_run, metrics=metrics)


def _create_name(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
            raise
