# SPDX-License-Identifier: MIT
"""Weights & Biases: online, or offline in a local folder for `make wandb-sync`.

The SDK hands rows to a process of its own and does not say which of them are safe. So each row is
logged with its index as W&B's internal `_step`, and `open` asks what is there: offline the .wandb
files of the run, online the server. The training step is the metric `step`, against which all
others are drawn; rows may therefore come with any step and none is dropped.
"""

import html
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

for _name in ("WANDB_SILENT", "WANDB_DISABLE_GIT", "WANDB_DISABLE_CODE"):
    os.environ.setdefault(_name, "true")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import psutil  # noqa: E402
import wandb  # noqa: E402
from wandb.proto.wandb_internal_pb2 import Record  # noqa: E402

from lib.tracking import media  # noqa: E402
from lib.tracking.backends import Backend, Row  # noqa: E402
from lib.tracking.wandb_login import wandb_mode  # noqa: E402

_EXIT_CODE = {"completed": 0, "failed": 1, "interrupted": 255}
_LAST_WORDS_S = 15.0  # for the service of a killed forwarder to write what it still has
_BLOCK = 32 * 1024  # of the LevelDB log format
_HEADER = 7  # bytes: checksum 4, length 2, type 1; and the file starts with as many


class Wandb(Backend):
    """Scalars, media and artifacts in W&B's native types."""

    batch_rows: ClassVar[int] = 500
    _run: Any = None

    def open(self) -> int | None:
        _wait_for_exit(self.state.get("service"))
        mode, _ = wandb_mode(bool(self.run.settings.get("WANDB_OFFLINE")))
        folder = Path(os.environ.get("WANDB_DIR") or ".")
        held = rows_in_files(folder, self.run.id) if mode == "offline" else None
        self._run = wandb.init(
            mode=mode,
            id=self.run.id,
            resume="allow" if mode == "online" else None,
            project=self._chosen("WANDB_PROJECT") or self.run.project,
            entity=self._chosen("WANDB_ENTITY"),
            name=self.run.name,
            group=self.run.group or None,
            job_type=self.run.job_type or None,
            tags=self.run.tags or None,
            notes=self.run.notes or None,
            config=dict(self.run.facts),
            dir=str(folder),
            settings=_settings(),
        )
        self.state["service"] = _service()
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        self.where = self._run.url or f"wandb sync {Path(self._run.dir).parent}"
        return self._run.starting_step if held is None else held

    def _chosen(self, name: str) -> str | None:
        """From the environment, else from the configuration."""
        return os.environ.get(name) or self.run.settings.get(name) or None

    def describe(self, facts: Mapping[str, Any]) -> None:
        self._run.config.update(dict(facts), allow_val_change=True)

    def write(self, rows: Sequence[Row]) -> None:
        prepared = [self._values(row) for row in rows]  # all, before the first one is logged
        for row, values in zip(rows, prepared, strict=True):
            for name, value in values.items():
                if isinstance(value, wandb.Artifact):
                    self._run.log_artifact(value)
                    values[name] = f"{value.name} sha256:{row.media[name]['sha256']}"
            self._run.log(values, step=row.index, commit=True)
        _ = self._run.step  # a round trip: the service has received all that was logged before

    def finish(self, status: str) -> None:
        self._run.summary["status"] = status
        self._run.finish(exit_code=_EXIT_CODE.get(status, 1))

    def abandon(self) -> None:
        """Its service is ended first: what it has not written by then, it will not write later."""
        service = _process(self.state.get("service"))
        if service is not None:
            with suppress(psutil.Error):
                service.kill()
                service.wait(5)
        with suppress(Exception):
            wandb.teardown(exit_code=1)

    def _values(self, row: Row) -> dict[str, Any]:
        values = {name: self._medium(name, item) for name, item in row.media.items()}
        return {**row.metrics, **values, "step": row.step, "_timestamp": row.time}

    def _medium(self, name: str, item: dict[str, Any]) -> Any:
        kind = item["type"]
        if kind in ("image", "figure"):
            path = media.file_of(self.run.dir, item)
            return wandb.Image(str(path), caption=item.get("caption") or None)
        if kind == "histogram":
            return wandb.Histogram(np_histogram=(item["counts"], item["edges"]))
        if kind == "table":
            columns, rows = media.read_table(self.run.dir, item)
            return wandb.Table(columns=columns, data=rows, allow_mixed_types=True)
        if kind == "confusion_matrix":
            return _confusion_matrix(name, item)
        if kind == "text":
            return wandb.Html(f"<pre>{html.escape(item['text'])}</pre>", inject=False)
        artifact = wandb.Artifact(item["name"], type=item["kind"], metadata=item["metadata"])
        artifact.add_file(str(media.file_of(self.run.dir, item)), policy="immutable")
        return artifact


def _settings() -> wandb.Settings:
    """Nothing that watches, patches or prints: metrics are all that W&B is given."""
    return wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        save_code=False,
        init_timeout=60,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        x_transaction_log_flush_interval=1.0,
    )


def _confusion_matrix(name: str, item: dict[str, Any]) -> Any:
    """What wandb.plot.confusion_matrix makes, from counts instead of a list of predictions."""
    labels = item["labels"]
    cells = [
        [actual, predicted, count]
        for actual, counts in zip(labels, item["matrix"], strict=True)
        for predicted, count in zip(labels, counts, strict=True)
    ]
    fields = ["Actual", "Predicted", "nPredictions"]
    return wandb.plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",
        data_table=wandb.Table(columns=fields, data=cells),
        fields={field: field for field in fields},
        string_fields={"title": name},
    )


def _service() -> list[float] | None:
    """[pid, start time] of the SDK's service process."""
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if "wandb-core" in child.name():
                return [child.pid, child.create_time()]
    return None


def _process(service: Sequence[float] | None) -> psutil.Process | None:
    if service is None:
        return None
    with suppress(psutil.Error):
        process = psutil.Process(int(service[0]))
        if process.create_time() == service[1] and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def _wait_for_exit(service: Sequence[float] | None) -> None:
    """Let the service of a killed forwarder end, by force if need be; its file is then final."""
    process = _process(service)
    if process is not None:
        try:
            process.wait(_LAST_WORDS_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(5)


def rows_in_files(folder: Path, run_id: str) -> int:
    """How many rows the local folders of a run hold: one more than the highest `_step`."""
    last = -1
    for path in folder.glob(f"wandb/*run-*-{run_id}/run-{run_id}.wandb"):
        for row in history(path):
            last = max(last, int(row.step.num))
    return last + 1


def history(path: Path) -> Iterator[Any]:
    """The HistoryRecords in a .wandb file."""
    for data in records(path):
        record = Record.FromString(data)
        if record.HasField("history"):
            yield record.history


def records(path: Path) -> Iterator[bytes]:
    """The serialized Records in a .wandb file, up to its end or to one cut off by a kill."""
    with path.open("rb") as file:
        yield from _log_records(file)


def _log_records(file: BinaryIO) -> Iterator[bytes]:
    """The records of a LevelDB log: whole (type 1), or first, middle and last part (2, 3, 4)."""
    position = len(file.read(_HEADER))
    record = b""
    while True:
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:  # the rest of a block is padding
            position += len(file.read(left))
            continue
        header = file.read(_HEADER)
        length, kind = int.from_bytes(header[4:6], "little"), header[6:]
        data = file.read(length)
        if len(header) < _HEADER or len(data) < length or kind not in b"\1\2\3\4":
            return
        position += _HEADER + length
        record = data if kind in b"\1\2" else record + data
        if kind in b"\1\4":
            yield record
