# SPDX-License-Identifier: MIT
"""What trackers say about a run besides its metrics: when it was, what it was, on which machine."""

import json
import sqlite3
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest
import yaml

from lib.runs.run import Run
from lib.tracking import cursor
from lib.tracking.describe import describe
from tests.lib.conftest import TRACKERS, forward, make_run

START = datetime(2020, 1, 1, tzinfo=timezone.utc).timestamp()
END = START + 6.4
ENVIRONMENT = {
    "python": "3.11.7",
    "cuda": "12.8",
    "os": "Linux-6.1",
    "cpu": {"model": "EPYC", "cores": 8},
    "gpus": [{"name": "NVIDIA H100", "memory_gib": 80.0} for _ in range(2)],
}


def edit_metadata(run: Run, **fields) -> None:
    path = run.dir / "metadata.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **fields}))


@pytest.fixture
def old_run(home):
    """A run of 2020 with one row, delivered today."""
    with make_run() as run:
        pass
    edit_metadata(
        run,
        start_time="2020-01-01T00:00:00.000+00:00",
        end_time="2020-01-01T00:00:06.400+00:00",
        command="/usr/bin/python lenet5/train.py --lr 0.1",
        git={"commit": "c0ffee", "branch": "main", "dirty": False},
        environment=ENVIRONMENT,
    )
    row = {"step": 1, "time": START + 3.0, "metrics": {"train/loss": 1.0}}
    (run.dir / "logs" / "metrics.jsonl").write_text(f"{json.dumps(row)}\n")
    return run


def mlflow_run(run_dir: Path):
    from lib.tracking.backends.mlflow import MlflowClient, tracking_uri

    run = describe(run_dir)
    client = MlflowClient(tracking_uri=tracking_uri(run.settings))
    experiment = client.get_experiment_by_name(run.project)
    (found,) = client.search_runs([experiment.experiment_id])
    return client, found


def wandb_records(run_dir: Path):
    from lib.tracking.backends.wandb_files import Record, records

    (path,) = Path("wandb").glob(f"offline-run-*/run-{describe(run_dir).id}.wandb")
    return [Record.FromString(data) for data in records(path)]


@pytest.mark.slow
def test_times_are_those_of_the_run_and_wandb_shows_its_machine(old_run):
    assert forward(old_run.dir, *TRACKERS) == (0, "")

    client, found = mlflow_run(old_run.dir)
    assert (found.info.start_time, found.info.end_time) == (START * 1000, END * 1000)
    (point,) = client.get_metric_history(found.info.run_id, "train/loss")
    assert point.timestamp == (START + 3) * 1000
    assert found.data.tags["mlflow.source.git.commit"] == "c0ffee"

    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams import metadata as hparams

    (path,) = (old_run.dir / "logs" / "tensorboard").iterdir()
    events = list(EventFileLoader(str(path)).Load())
    assert {event.wall_time for event in events} == {START, START + 3, END}
    (end,) = (v for e in events for v in e.summary.value if v.tag == hparams.SESSION_END_INFO_TAG)
    content = hparams.parse_session_end_info_plugin_data(end.metadata.plugin_data.content)
    assert content.end_time_secs == END

    with closing(sqlite3.connect(next(Path("trackio").glob("*.db")))) as database:
        ((moment,),) = database.execute("SELECT timestamp FROM metrics").fetchall()
    assert datetime.fromisoformat(moment).timestamp() == START + 3

    found = wandb_records(old_run.dir)
    summary = {i.key: i.value_json for r in found for i in r.summary.update if i.key}
    assert json.loads(summary["duration_s"]) == 6.4
    assert datetime.fromisoformat(json.loads(summary["end_time"])).timestamp() == END
    (row,) = (r.history for r in found if r.HasField("history"))
    times = [i.value_json for i in row.item if list(i.nested_key) == ["_timestamp"]]
    assert [float(text) for text in times] == [START + 3]
    (about,) = (r.environment for r in found if r.HasField("environment"))
    assert (about.started_at.seconds, about.git.commit) == (START, "c0ffee")
    assert (about.python, about.os, about.cuda_version) == ("3.11.7", "Linux-6.1", "12.8")
    assert (about.program, list(about.args)) == ("lenet5/train.py", ["--lr", "0.1"])
    assert (about.gpu_type, about.gpu_count, about.cpu_count_logical) == ("NVIDIA H100", 2, 8)
    assert [r.run.git.commit for r in found if r.HasField("run")] == ["c0ffee"]


@pytest.mark.slow
def test_mlflow_has_all_changed_facts_and_says_which_are_cut(home):
    with make_run() as run:
        run.log({"train/loss": 1.0}, 1)
    many = {f"name{i:03d}": "first" for i in range(250)}
    edit_metadata(run, dataset={**many, "long": "x" * 9000, "a!b": 1}, tags=["what?"])
    code, said = forward(run.dir, "mlflow")
    assert code == 0
    assert "dataset.long is not complete there: 6,000 of 9,000 characters" in said
    assert "dataset.a!b is not complete there: Invalid value" in said
    edit_metadata(run, dataset=dict.fromkeys(many, "second"))
    assert forward(run.dir, "mlflow") == (0, "")
    _, found = mlflow_run(run.dir)
    assert {found.data.params[f"dataset.{name}"] for name in many} == {"first"}
    assert {found.data.tags[f"changed.dataset.{name}"] for name in many} == {"second"}
    assert found.data.tags["tag.what_"] == "what?"
    assert len(found.data.params["dataset.long"]) == 6000


@pytest.mark.slow
def test_a_run_that_is_going_on_has_no_end_in_mlflow_yet(home):
    from tests.lib.conftest import forwarder

    with make_run() as run:
        run.log({"train/loss": 1.0}, 1)
        process = forwarder(run.dir, "mlflow")
        deadline = time.monotonic() + 60
        while (done := cursor.load(run.dir, "mlflow")) is None or done.written == 0:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert mlflow_run(run.dir)[1].info.end_time is None
    process.communicate()
    ended = datetime.fromisoformat(
        yaml.safe_load((run.dir / "metadata.yaml").read_text())["end_time"]
    )
    assert mlflow_run(run.dir)[1].info.end_time == pytest.approx(ended.timestamp() * 1000, abs=1)
