# SPDX-License-Identifier: MIT
"""Trials of a sweep: grouped natively in each tracker, below one parent run in MLflow; and a run
that a W&B agent started joins the agent's run.
"""

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from lib.tracking import cursor
from lib.tracking.describe import describe
from tests.lib.conftest import forward, forwarder, make_run

TRIAL = {"group": "lr-grid", "job_type": "sweep", "tags": ["grid"]}
AGENT = {"WANDB_SWEEP_ID": "swp12345", "WANDB_RUN_ID": "agent678", "WANDB_PROJECT": "theirs"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An MLflow client on a database."""
    from lib.tracking.backends.mlflow import MlflowClient
    from lib.tracking.backends.mlflow_database import create_database

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    create_database(path)
    return MlflowClient(tracking_uri=f"sqlite:///{path}")


@pytest.fixture
def client(server, request):
    """An MLflow client, and the id of an experiment that is new."""
    return server, server.create_experiment(request.node.name)


def parents(client, experiment) -> dict[str, list[str]]:
    """The runs that are sweeps: name → the names of the runs below it."""
    runs = client.search_runs([experiment])
    below = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in runs}
    names = {run.info.run_id: run.info.run_name for run in runs}
    return {
        f"{names[parent]} {parent}": sorted(names[r] for r, p in below.items() if p == parent)
        for parent in {run.info.run_id for run in runs if "adamwprune.sweep" in run.data.tags}
    }


def wandb_records(run_id: str) -> list:
    from lib.tracking.backends.wandb_files import Record, records

    paths = sorted(Path("wandb").glob(f"offline-run-*/run-{run_id}.wandb"))
    return [Record.FromString(data) for path in paths for data in records(path)]


@pytest.mark.slow
def test_trials_that_start_at_once_are_one_group_in_each_tracker(home):
    runs = [make_run(f"lr-grid_{number}", info=TRIAL) for number in (1, 2)]
    for run in runs:
        with run:
            run.log({"val/loss": 0.5}, 1)
    # W&B and Trackio have a group for each run alone: one of them shows it.
    others = [("mlflow", "trackio", "wandb", "tensorboard"), ("mlflow",)]
    started = [forwarder(run.dir, *names) for run, names in zip(runs, others, strict=True)]
    for process in started:
        assert process.communicate(timeout=120)[1] == "" and process.returncode == 0

    from lib.tracking.backends.mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("lenet5-a3f2c").experiment_id
    (found,) = parents(client, experiment).items()
    assert found[0].startswith("lr-grid ") and found[1] == ["lr-grid_1", "lr-grid_2"]
    parent = client.get_run(found[0].split()[1])
    assert (parent.info.status, parent.data.tags["adamwprune.sweep"]) == ("FINISHED", "lr-grid")
    assert parent.info.end_time and parent.info.start_time

    with closing(sqlite3.connect(next(Path("trackio").glob("*.db")))) as database:
        ((config,),) = database.execute("SELECT config FROM configs").fetchall()
    assert json.loads(config)["_Group"] == "lr-grid"

    (told,) = [r.run for r in wandb_records(runs[0].metadata["run_id"]) if r.HasField("run")]
    assert (told.run_group, told.job_type, list(told.tags)) == ("lr-grid", "sweep", ["grid"])


@pytest.mark.slow
def test_many_trials_at_once_agree_on_one_parent(client):
    from lib.tracking.backends.mlflow_parent import Parent

    client, experiment = client
    barrier, errors = threading.Barrier(6), []

    def trial(number: int) -> None:
        try:
            parent = Parent(client, experiment, "it's")
            barrier.wait(30)
            parent.open(1000.0 - number)
            run = client.create_run(experiment, tags=parent.link, run_name=f"trial{number}")
            barrier.wait(30)
            client.set_terminated(run.info.run_id, "FINISHED", 2_000_000 + number)
            parent.close(run.info.run_id)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=trial, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    ((parent, below),) = parents(client, experiment).items()
    info = client.get_run(parent.split()[-1]).info
    assert (info.status, info.end_time) == ("FINISHED", 2_000_005)
    assert below == [f"trial{number}" for number in range(6)]


@pytest.mark.slow
def test_two_parents_are_merged_and_another_sweep_is_left_alone(client):
    """As two machines leave them that created one each, unseen by the other."""
    from lib.tracking.backends.mlflow_parent import Parent

    client, experiment = client
    other = Parent(client, experiment, "other")
    other.open(1.0)
    late = client.create_run(
        experiment, start_time=9000, tags={"adamwprune.sweep": "mine"}, run_name="mine"
    )
    link = {"mlflow.parentRunId": late.info.run_id}
    ended = client.create_run(experiment, tags=link, run_name="ended")
    client.set_terminated(ended.info.run_id, "FINISHED", 12_000)
    running = client.create_run(experiment, tags=link, run_name="running")
    early = client.create_run(
        experiment, start_time=8000, tags={"adamwprune.sweep": "mine"}, run_name="mine"
    )
    parent = Parent(client, experiment, "mine")
    parent.open(10.0)
    assert parent.link == {"mlflow.parentRunId": early.info.run_id}
    found = parents(client, experiment)
    assert found[f"mine {early.info.run_id}"] == ["ended", "running"] and len(found) == 2
    parent.close(ended.info.run_id)
    assert client.get_run(early.info.run_id).info.status == "RUNNING"  # one of its trials is
    client.set_terminated(running.info.run_id, "FAILED", 13_000)
    parent.close(running.info.run_id)
    info = client.get_run(early.info.run_id).info
    assert (info.status, info.end_time) == ("FINISHED", 13_000)
    parent.open(14.0)
    assert client.get_run(early.info.run_id).info.status == "RUNNING"


@pytest.mark.slow
def test_a_run_of_a_wandb_agent_is_the_agents_run_also_later(home, monkeypatch):
    parameters = home / "parameters.yaml"
    parameters.write_text("wandb_version: 1\nlearning-rate:\n  value: 0.002\n")
    with make_run(WANDB_PROJECT="ours") as run:
        run.log({"val/loss": 0.5}, 1)
        for name, value in {**AGENT, "WANDB_SWEEP_PARAM_PATH": str(parameters)}.items():
            monkeypatch.setenv(name, value)
    assert forward(run.dir, "wandb") == (0, "")
    (told,) = [r.run for r in wandb_records("agent678") if r.HasField("run")]
    assert (told.run_id, told.sweep_id, told.project) == ("agent678", "swp12345", "theirs")
    config = {item.key: item.value_json for item in told.config.update}
    assert config["learning-rate"] == "0.002"

    # Resumed without the agent, it still goes there, and nothing arrives twice.
    for name in [*AGENT, "WANDB_SWEEP_PARAM_PATH"]:
        monkeypatch.delenv(name)
    assert forward(run.dir, "wandb") == (0, "")
    records = wandb_records("agent678")
    assert len([r for r in records if r.HasField("history")]) == 1
    assert {r.run.sweep_id for r in records if r.HasField("run")} == {"swp12345"}
    assert wandb_records(describe(run.dir).id) == []


@pytest.mark.slow
def test_a_trial_of_ours_is_not_the_run_of_an_agent(home, monkeypatch):
    for name, value in AGENT.items():
        monkeypatch.setenv(name, value)
    with make_run(info=TRIAL) as run:
        run.log({"val/loss": 0.5}, 1)
    assert forward(run.dir, "wandb") == (0, "")
    (told,) = [r.run for r in wandb_records(describe(run.dir).id) if r.HasField("run")]
    assert (told.sweep_id, told.run_group) == ("", "lr-grid")
    done = cursor.load(run.dir, "wandb")
    assert done is not None and done.state["agent"] == {}
