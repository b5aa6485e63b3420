# SPDX-License-Identifier: MIT
"""Read a run back from its trackers, through their own clients and readers.

    stored = read("mlflow", run_dir)
    stored.metrics                        # {"train/loss": [(0, 2.3), …], …}
    stored.media                          # {"val/samples", …}

`make tracker-test`, the tests and the benchmarks compare it with the journal.
"""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.tracking.describe import Description, describe


@dataclass
class Stored:
    """What a tracker holds of a run; points are (step, value) in the tracker's order."""

    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    media: set[str] = field(default_factory=set)
    config: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, step: int, value: Any) -> None:
        """One value, scalar or medium."""
        if isinstance(value, (int, float)):
            self.metrics.setdefault(name, []).append((step, float(value)))
        else:
            self.media.add(name)


def read(tracker: str, run_dir: Path) -> Stored:
    """What `tracker` holds of the run in `run_dir`."""
    return _READERS[tracker](describe(run_dir))


def _read_trackio(run: Description) -> Stored:
    """From its own storage, which is what the dashboard reads."""
    from trackio.sqlite_storage import SQLiteStorage

    stored = Stored(config=SQLiteStorage.get_run_config(run.project, run.name) or {})
    with closing(sqlite3.connect(SQLiteStorage.get_project_db_path(run.project))) as database:
        rows = database.execute(
            "SELECT step, metrics FROM metrics WHERE run_id = :run UNION ALL "
            "SELECT 0, metrics FROM system_metrics WHERE run_id = :run",
            {"run": run.id},
        )
        for step, metrics in rows:
            for name, value in json.loads(metrics).items():
                stored.add(name, step, _number(value))
    return stored


def _read_mlflow(run: Description) -> Stored:
    """Through its client: each metric, and the list of files."""
    from lib.tracking.backends.mlflow import RUN_TAG, MlflowClient, tracking_uri

    client = MlflowClient(tracking_uri=tracking_uri(run.settings))
    experiment = client.get_experiment_by_name(run.project)
    (found,) = client.search_runs([experiment.experiment_id], f"tags.`{RUN_TAG}` = '{run.id}'")
    stored = Stored(config={**found.data.params, "status": found.info.status})
    for name in found.data.metrics:
        for point in client.get_metric_history(found.info.run_id, name):
            stored.add(name, point.step, point.value)
    folders = [""]
    while folders:
        for item in client.list_artifacts(found.info.run_id, folders.pop()):
            if item.is_dir:
                folders.append(item.path)
            else:
                stored.media.add(item.path)
    return stored


def _read_tensorboard(run: Description) -> Stored:
    """With TensorBoard's own event reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from lib.tracking.backends.tensorboard import hparams

    events = EventAccumulator(
        str(run.dir / "logs" / "tensorboard"),
        size_guidance={"scalars": 0, "images": 0, "histograms": 0, "tensors": 0},
    )
    events.Reload()
    tags = events.Tags()
    stored = Stored(media={*tags["images"], *tags["histograms"], *tags["tensors"]})
    for name in tags["scalars"]:
        for point in events.Scalars(name):
            stored.add(name, point.step, point.value)
    session = events.summary_metadata[hparams.SESSION_START_INFO_TAG].plugin_data.content
    start = hparams.parse_session_start_info_plugin_data(session)
    stored.config = {name: str(value) for name, value in start.hparams.items()}
    return stored


def _read_wandb(run: Description) -> Stored:
    """From the local .wandb files, which hold what was, or will be, sent."""
    from lib.tracking.backends.wandb_files import Record, history, records

    stored = Stored()
    folder = Path(os.environ.get("WANDB_DIR") or ".")
    for path in sorted(folder.glob(f"wandb/*run-*-{run.id}/run-{run.id}.wandb")):
        for row in history(path):
            step = next(int(i.value_json) for i in row.item if list(i.nested_key) == ["step"])
            for item in row.item:
                name, *inner = item.nested_key or [item.key]
                if inner:  # a part of an image, a histogram, a table …
                    stored.media.add(name)
                elif name not in ("step", "_step", "_timestamp", "_runtime"):
                    stored.add(name, step, _number(json.loads(item.value_json)))
        for data in records(path):
            for item in Record.FromString(data).run.config.update:
                stored.config[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return stored


def _number(value: Any) -> Any:
    """Trackers that store JSON have NaN and the infinities as texts."""
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    return value


_READERS: dict[str, Callable[[Description], Stored]] = {
    "trackio": _read_trackio,
    "wandb": _read_wandb,
    "mlflow": _read_mlflow,
    "tensorboard": _read_tensorboard,
}
