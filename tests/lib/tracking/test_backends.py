# SPDX-License-Identifier: MIT
"""What each tracker holds at the end: scalars, media, configuration, names; and no secrets."""

import math
import os
import time

import numpy as np
import pytest

from lib import lock
from lib.runs.run import Run
from lib.tracking import cursor
from lib.tracking.forwarder import sweep
from scripts.tracking.read_back import read
from tests.lib.conftest import TRACKERS, files_below, forward, make_run

SECRETS = {
    "url": "s3cret" + "passw0rd",  # in pieces, since a run keeps the diff of this file
    "token": "hf_abcdefghijklmnopqrstuvwxyz0123",
    "key": "0123456789abcdef0123456789abcdef01234567",
}


def log_everything(run: Run) -> None:
    """Every kind of medium, and numbers that are none."""
    chance = np.random.default_rng(0)
    for step in (0, 5, 10):
        run.log({"train/loss": 1 / (step + 1), "val/loss": math.nan, "lr": math.inf}, step)
    run.log_image("val/sample", chance.random((8, 12, 3)), 10, caption="noise")
    run.log_histogram("weights/conv1", chance.normal(size=100), 10)
    run.log_table("val/wrong", ["index", "text"], [[1, "a|b"], [2, None], ["x", 2.5]], 10)
    run.log_confusion_matrix("val/confusion", [[5, 1], [0, 7]], 10, labels=["cat", "dog"])
    run.log_text("val/story", "once <b>upon</b> a time", 10)
    (run.dir / "checkpoints" / "best.pt").write_bytes(b"weights")
    run.log_artifact(run.dir / "checkpoints" / "best.pt", "model", {"val/loss": 0.1})
    run.log({"final/best_val_loss": 0.1}, 10)


MEDIA = {
    "trackio": {"val/sample", "weights/conv1", "val/wrong", "val/confusion", "val/story"},
    "wandb": {"val/sample", "weights/conv1", "val/wrong", "val/story"},
    "tensorboard": {"val/sample", "weights/conv1", "val/wrong", "val/confusion", "val/story"},
    "mlflow": {
        "histogram/weights/conv1/step_00000010.json",
        "tables/val/wrong/step_00000010.json",
        "confusion_matrices/val/confusion/step_00000010.png",
        "text/val/story/step_00000010.txt",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_everything_arrives_once_and_again_changes_nothing(home, tracker):
    with make_run() as run:
        log_everything(run)
    assert forward(run.dir, tracker) == (0, "")
    first = read(tracker, run.dir)
    assert first.metrics["train/loss"] == [
        (0, 1.0),
        (5, pytest.approx(1 / 6)),
        (10, pytest.approx(1 / 11)),
    ]
    if tracker not in ("trackio", "mlflow"):  # Trackio keeps null, MLflow the largest double
        assert [v for _, v in first.metrics["lr"]] == [math.inf] * 3
    assert first.metrics["final/best_val_loss"] == [(10, pytest.approx(0.1))]
    assert MEDIA[tracker] <= first.media
    assert str(first.config["LEARNING_RATE"]).strip().endswith("0.001")

    assert forward(run.dir, tracker) == (0, "")
    (run.dir / "tracking" / f"{tracker}.json").unlink()
    assert forward(run.dir, tracker) == (0, "")
    again = read(tracker, run.dir)
    assert again.metrics["train/loss"] == first.metrics["train/loss"]
    assert again.media == first.media


@pytest.mark.slow
def test_a_tracker_that_lost_everything_is_filled_again(home):
    with make_run() as run:
        run.log({"train/loss": 1.0}, 0)
    assert forward(run.dir, "trackio", "tensorboard")[0] == 0
    for path in [*home.glob("trackio/*.db*"), *run.dir.glob("logs/tensorboard/*")]:
        path.unlink()
    assert forward(run.dir, "trackio", "tensorboard")[0] == 0
    for tracker in ("trackio", "tensorboard"):
        assert read(tracker, run.dir).metrics["train/loss"] == [(0, 1.0)]


@pytest.mark.slow
def test_a_resumed_run_goes_on_without_going_back(home):
    with make_run() as run:
        for step in (1, 2, 3):
            run.log({"train/loss": float(step)}, step)
        run.journal.event("resume", step=1)
        for step in (2, 3, 4, 5):
            run.log({"train/loss": float(step)}, step)
        run.log({"val/loss": 0.5}, 3)
    assert forward(run.dir, "tensorboard")[0] == 0
    stored = read("tensorboard", run.dir)
    assert [step for step, _ in stored.metrics["train/loss"]] == [1, 2, 3, 4, 5]
    assert stored.metrics["val/loss"] == [(3, 0.5)]
    done = cursor.load(run.dir, "tensorboard")
    assert done is not None
    assert done.repeated == 2


@pytest.mark.slow
def test_secrets_reach_no_file_and_no_tracker(home, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRETS["key"])
    monkeypatch.setenv("HF_TOKEN", SECRETS["token"])
    address = f"https://user:{SECRETS['url']}@example.org/data"
    info = {"tags": [SECRETS["token"]], "command": f"train --api-key {SECRETS['key']} {address}"}
    with make_run(info=info, TRACKER_NOTES=address, DATA_DIR=address) as run:
        run.say(f"reading {address} with {SECRETS['token']}")
        run.log({"train/loss": 1.0}, 0)
        run.log_text("note", f"see {address} {SECRETS['token']}", 0)
        run.log_table("where", ["url"], [[address]], 0)
        run.log_image("picture", np.zeros((2, 2)), 0, caption=address)
        (home / "best.pt").write_bytes(b"weights")
        run.log_artifact("best.pt", "model", {"api_key": SECRETS["key"], "from": address})
    code, said = forward(run.dir, *TRACKERS)
    assert (code, said) == (0, "")
    for path in {*run.dir.rglob("*")} - {*run.dir.glob("media/artifacts/*")}:  # links to others'
        assert path.stat().st_mode & 0o077 == 0, f"{path} is not for its owner alone"
    files = dict(files_below(home))
    assert any("wandb" in str(path) for path in files)
    for path, content in files.items():
        for name, secret in SECRETS.items():
            assert secret.encode() not in content, f"{name} is in {path.relative_to(home)}"


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_no_temporary_file_is_left_behind(home, tracker, monkeypatch):
    (home / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(home / "temporary"))
    with make_run() as run:
        run.log({"loss": 1.0}, 1)
    code, said = forward(run.dir, tracker)
    assert code == 0, said
    deadline = time.monotonic() + 20  # wandb-core removes its socket when it is done
    while left := list((home / "temporary").iterdir()):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_what_killed_forwarders_left_is_swept(home):
    (home / "temporary").mkdir()
    names = [f"adamwprune-tracking-{name}" for name in ("old", "young", "used")]
    folders = [home / "temporary" / name for name in (*names, "tracking-of-mine")]
    for folder in folders:
        folder.mkdir()
        (folder / ".lock").touch()
        (folder / "left").write_bytes(b"")
    old, young, used, other = folders
    (unlocked := home / "temporary" / "adamwprune-tracking-unlocked").mkdir()  # killed at once
    for folder in (old, used, other, unlocked):
        os.utime(folder, (0, 0))
    held = lock.hold(used / ".lock")
    sweep(home / "temporary")
    lock.release(held)
    assert {*(home / "temporary").iterdir()} == {young, used, other}
