# SPDX-License-Identifier: MIT
"""What was said about a run reaches each tracker: live, later, and as it is now."""

import json
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lib.runs.stored import load_run
from lib.runs.words import add_note, change_tags, conclude
from lib.tracking import cursor
from lib.tracking.describe import describe
from tests.lib.conftest import forward, forwarder, make_run
from tests.lib.tracking.test_facts import mlflow_run


def wandb_run(run_dir) -> tuple[tuple[str, ...], str, dict[str, str]]:
    """(tags, notes, summary) that the latest of its offline folders ends with."""
    from pathlib import Path

    from lib.tracking.backends.wandb_files import Record, records

    tags, notes, summary = (), "", {}
    paths = Path("wandb").glob(f"offline-run-*/run-{describe(run_dir).id}.wandb")
    for data in records(max(paths, key=lambda path: path.stat().st_mtime)):
        record = Record.FromString(data)
        if record.HasField("run"):
            tags, notes = tuple(record.run.tags), record.run.notes
        for item in record.summary.update:
            summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return tags, notes, summary


def trackio_config(run_dir) -> dict:
    from trackio.sqlite_storage import SQLiteStorage

    run = describe(run_dir)
    return SQLiteStorage.get_run_config(run.project, run.name) or {}


def tensorboard_notes(run_dir) -> list[str]:
    events = EventAccumulator(str(run_dir / "logs" / "tensorboard"))
    events.Reload()
    return [e.tensor_proto.string_val[0].decode() for e in events.Tensors("notes")]


@pytest.mark.slow
def test_words_said_after_the_end_are_sent_later(home):
    with make_run(info={"hypothesis": "half is enough"}) as run:
        run.log({"train/loss": 1.0}, 1)
    assert forward(run.dir, "mlflow", "trackio") == (0, "")
    stored = load_run(run.dir)
    change_tags(stored, "+kept -one")
    add_note(stored, "the *loss* jumps")
    conclude(stored, "it is", "confirmed")
    assert forward(run.dir, "mlflow", "trackio") == (0, "")

    _, found = mlflow_run(run.dir)
    tags = found.data.tags
    assert {name for name in tags if name.startswith("tag.")} == {"tag.two", "tag.kept"}
    note = tags["mlflow.note.content"]
    assert note.startswith("what it is about\n\n**Conclusion** (confirmed, ")
    assert "Expected: half is enough\n\nActual: it is\n\n**Note** (" in note
    assert note.endswith(")\n\nthe *loss* jumps")
    assert (tags["conclusion.verdict"], tags["conclusion.actual"]) == ("confirmed", "it is")
    assert found.info.status == "FINISHED"

    config = trackio_config(run.dir)
    assert (config["tags"], config["notes"]) == (["two", "kept"], note)
    assert config["conclusion.actual"] == "it is"


@pytest.mark.slow
def test_words_said_meanwhile_arrive_while_the_run_goes_on(home):
    with make_run() as run:
        run.log({"train/loss": 1.0}, 1)
        process = forwarder(run.dir, "tensorboard", "wandb")
        wait_until_described(run.dir)
        stored = load_run(run.dir)
        change_tags(stored, "+kept -one")
        add_note(stored, "it jumps")
        conclude(stored, "so far, so good")
        wait_until_described(run.dir)
        run.set_info(results={"x": 1})
    process.communicate(timeout=60)
    note = describe(run.dir).notes
    tags, notes, summary = wandb_run(run.dir)
    assert (tags, notes) == (("two", "kept"), note)
    assert summary["conclusion.actual"] == "so far, so good"
    first, *_, last = told = tensorboard_notes(run.dir)
    assert (first, last) == ("what it is about", note)
    assert note.endswith("it jumps")
    assert forward(run.dir, "tensorboard") == (0, "")
    assert tensorboard_notes(run.dir) == told


def wait_until_described(run_dir) -> None:
    deadline, mark = time.monotonic() + 60, describe(run_dir).mark
    for name in ("tensorboard", "wandb"):
        while (known := cursor.load(run_dir, name)) is None or known.described != mark:
            assert time.monotonic() < deadline
            time.sleep(0.1)
