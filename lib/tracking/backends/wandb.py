# SPDX-License-Identifier: MIT
"""Weights & Biases: online, or offline in a local folder for `make wandb-sync`.

The SDK hands rows to a process of its own and does not say which of them are stored. So each row is
logged with its index as W&B's internal `_step`, and `open` looks up what is there: offline in the
.wandb files of the run, online on the server. The training step is the metric `step`, against which
all others are drawn; so rows may have any step, and none is dropped.
"""

import html
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

for _name in ("WANDB_SILENT", "WANDB_DISABLE_GIT", "WANDB_DISABLE_CODE"):
    os.environ.setdefault(_name, "true")
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import psutil  # noqa: E402
import wandb  # noqa: E402
from wandb.proto.wandb_internal_pb2 import EnvironmentRecord  # noqa: E402

from .. import media  # noqa: E402
from ..describe import Description  # noqa: E402
from ..wandb_login import wandb_mode  # noqa: E402
from . import Backend, Refused, Row  # noqa: E402
from .wandb_files import rows_in_files  # noqa: E402

# What tells a program that a W&B agent started it, and for which run.
_AGENT = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_PROJECT", "WANDB_ENTITY")
_AGENT_PARAMETERS = "WANDB_SWEEP_PARAM_PATH"
_EXIT_CODE = {"completed": 0, "failed": 1, "interrupted": 255}
_LAST_WORDS_S = 15.0  # for the service of a killed forwarder to write its last rows


class Wandb(Backend):
    """Scalars, media and artifacts in W&B's native types."""

    batch_rows: ClassVar[int] = 500
    _run: Any = None

    def open(self) -> int | None:
        _wait_for_exit(self.state.get("service"))
        mode, _ = wandb_mode(bool(self.run.settings.get("WANDB_OFFLINE")))
        folder = Path(os.environ.get("WANDB_DIR") or ".")
        run_id = self._join_agent()
        held = rows_in_files(folder, run_id) if mode == "offline" else None
        self._run = wandb.init(
            mode=mode,
            id=run_id,
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
            settings=_settings(self.run.metadata),
        )
        self._run._interface.publish_environment(_environment(self.run))
        self.state["service"] = _service()
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")
        self._run.summary["status"] = "running"  # again, if it was resumed
        self.where = self._run.url or f"wandb sync {Path(self._run.dir).parent}"
        return self._run.starting_step if held is None else held

    def _join_agent(self) -> str:
        """The id of the run in W&B: that of the W&B agent which started the training, or our own.

        The cursor file keeps what the agent said, so that a resumed or replayed run gets there,
        too. The trials of a sweep of ours are runs of their own, whoever started it.
        """
        by_agent = os.environ.get("WANDB_SWEEP_ID") and self.run.job_type != "sweep"
        if "agent" not in self.state:
            self.state["agent"] = {
                name: os.environ[name] for name in _AGENT if by_agent and os.environ.get(name)
            }
        agent = self.state["agent"]
        if os.environ.get("WANDB_RUN_ID") != agent.get("WANDB_RUN_ID"):
            for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", _AGENT_PARAMETERS):  # of another run
                os.environ.pop(name, None)
        os.environ.update(agent)
        return agent.get("WANDB_RUN_ID", self.run.id)

    def _chosen(self, name: str) -> str | None:
        """From the environment, else from the configuration."""
        return os.environ.get(name) or self.run.settings.get(name) or None

    def describe(self, facts: Mapping[str, Any]) -> None:
        self._run.config.update(dict(facts), allow_val_change=True)
        if self._run.tags != self.run.tags:
            self._run.tags = self.run.tags
        if (self._run.notes or "") != self.run.notes:
            self._run.notes = self.run.notes
        for name, text in self.run.conclusion.items():
            self._run.summary[f"conclusion.{name}"] = text

    def write(self, rows: Sequence[Row]) -> None:
        prepared = [self._values(row) for row in rows]  # all, before the first one is logged
        for row, values in zip(rows, prepared, strict=True):
            for name, value in values.items():
                if isinstance(value, wandb.Artifact):
                    self._run.log_artifact(value)
                    values[name] = f"{value.name} {value.description}"
            self._run.log(values, step=row.index, commit=True)
        _ = self._run.step  # a round trip: now the service has everything logged before

    def finish(self, status: str, ended: float | None) -> None:
        """W&B cannot be told when a run ended, so the summary says it."""
        self._run.summary["status"] = status
        self._run.summary["start_time"] = _iso(self.run.started)
        if ended is not None:
            self._run.summary["end_time"] = _iso(ended)
            self._run.summary["duration_s"] = round(ended - self.run.started, 3)
        self._run.finish(exit_code=_EXIT_CODE.get(status, 1))

    def abandon(self) -> None:
        """End its service first: what it has not written by then, it will not write later."""
        service = _process(self.state.get("service"))
        if service is not None:
            with suppress(psutil.Error):
                service.kill()
                service.wait(5)
        with suppress(Exception):
            wandb.teardown(exit_code=1)

    def _values(self, row: Row) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in row.metrics.items():
            with self.encoding(row, name):
                values[_checked(name)] = value
        for name, item in row.media.items():
            with self.encoding(row, name):
                values[_checked(name)] = self._medium(name, item)
        return {**values, "step": row.step, "_timestamp": row.time}

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
        about = f"sha256:{item['sha256']}"
        artifact = wandb.Artifact(item["name"], item["kind"], about, item["metadata"])
        artifact.add_file(str(media.file_of(self.run.dir, item)), policy="immutable")
        return artifact


def _checked(name: str) -> str:
    """A metric called like a field of W&B's, or the x axis, gets two underscores more.

    Raises Refused for names that would end the SDK's service (a backslash) or vanish in it.
    """
    if not name or "\\" in name:
        raise Refused("W&B takes no name that is empty or has a backslash in it")
    return f"__{name}" if name == "step" or name.startswith("_") else name


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")


def _settings(metadata: Mapping[str, Any]) -> wandb.Settings:
    """Nothing that watches, patches or prints: W&B gets metrics and what the run says."""
    return wandb.Settings(
        git_commit=_part(metadata, "git").get("commit"),
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


def _environment(run: Description) -> EnvironmentRecord:
    """What the overview shows. W&B would describe this process and machine, but the training may
    have run elsewhere, long ago.
    """
    about, git = _part(run.metadata, "environment"), _part(run.metadata, "git")
    words = _words(str(run.metadata.get("command") or ""))
    program = next((i for i, word in enumerate(words) if word.endswith(".py")), 0)
    cpu = _part(about, "cpu")
    gpus = [gpu for gpu in about.get("gpus") or () if isinstance(gpu, dict)]
    record = EnvironmentRecord(
        os=_text(about.get("os")),
        python=_text(about.get("python")),
        cuda_version=_text(about.get("cuda")),
        program=words[program] if words else "",
        args=words[program + 1 :],
        executable=words[0] if words else "",
        cpu_count_logical=int(_number(cpu.get("cores"))),
        gpu_type=_text(gpus[0].get("name")) if gpus else "",
        gpu_count=len(gpus),
        writer_id=run.id,
    )
    record.started_at.FromMilliseconds(int(run.started * 1000))
    record.git.commit = _text(git.get("commit"))
    for gpu in gpus:
        memory = int(_number(gpu.get("memory_gib")) * 2**30)
        record.gpu_nvidia.add(name=_text(gpu.get("name")), memory_total=memory)
    return record


def _part(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = fields.get(name)
    return found if isinstance(found, Mapping) else {}


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> float:
    """A size from metadata.yaml; anything else counts as unknown."""
    return value if isinstance(value, (int, float)) and 0 <= value < 2**31 else 0


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # cut off within quotes
        return command.split()


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
    """Wait for the service of a killed forwarder to end, or kill it; then its file is final."""
    process = _process(service)
    if process is not None:
        try:
            process.wait(_LAST_WORDS_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(5)
