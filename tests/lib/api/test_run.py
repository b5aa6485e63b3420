# SPDX-License-Identifier: MIT
"""adamwprune.run: a run of any script, as the programs of a checkout read it."""

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import lib
from lib.api.run import Run, run, track
from lib.config.resume import run_directory
from lib.config.tree import Tree
from lib.errors import BadUse
from lib.files import ROOT
from lib.runs.journal import read_rows
from lib.runs.stored import latest_interrupted
from lib.runs.stored_run import load_run
from lib.tracking import cursor as cursors


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def metadata(of: Run) -> dict:
    return yaml.safe_load((of.dir / "metadata.yaml").read_text())


def rows(of: Run, kind: str) -> list[tuple[int, dict]]:
    found = read_rows(of.dir / "logs" / "metrics.jsonl")
    return [(row["step"], row[kind]) for row, _ in found if kind in row]


def script(text: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Python at work on `text` in the current directory."""
    Path("script.py").write_text(textwrap.dedent(text))
    return subprocess.Popen(
        [sys.executable, "script.py", *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )  # fmt: skip


def test_steps_are_counted_from_1_unless_given():
    with run("x") as of:
        of.log({"a": 1.0})
        of.log({"a": torch.tensor(2.0)}, step=10)
        of.log({"a": np.float32(3.0)})
        of.log_text("t", "hello")
    assert rows(of, "metrics") == [(1, {"a": 1.0}), (10, {"a": 2.0}), (11, {"a": 3.0})]
    assert [step for step, _ in rows(of, "media")] == [11]
    with pytest.raises(BadUse, match="has ended"):
        of.log({"a": 1.0})


def test_a_bad_step_does_not_move_the_count():
    with run("x") as of:
        with pytest.raises(ValueError, match="negative"):
            of.log({"a": 1.0}, step=-1)
        of.log({"a": 1.0})
    assert [step for step, _ in rows(of, "metrics")] == [1]


def test_images_of_every_kind_are_the_same_picture(tmp_path):
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "a.png")
    kinds = [pixels, torch.from_numpy(pixels).permute(2, 0, 1), picture, "a.png", Path("a.png")]
    with run("x") as of:
        for image in kinds:
            of.log({"a": 0.0})
            of.log_image("i", image)
        picture.convert("CMYK").save(tmp_path / "a.jpg")
        of.log_image("jpeg", "a.jpg", caption="CMYK")
        for bad in ("missing.png", __file__):
            with pytest.raises(ValueError, match="not an image"):
                of.log_image("i", bad)
    stored = [np.asarray(Image.open(path)) for path in sorted((of.dir / "media/i").iterdir())]
    assert len(stored) == 5 and all(np.array_equal(image, pixels) for image in stored)
    assert Image.open(next((of.dir / "media/jpeg").iterdir())).size == (5, 4)


def test_models_are_artifacts():
    net = torch.nn.Linear(3, 2)
    with run("x") as of:
        of.log_model(net, metadata={"val/loss": 0.5})
        of.log_model(net.state_dict(), "state")
        torch.save(net.state_dict(), "w.pt")
        of.log_model("w.pt", "file")
    items = [item for _, media in rows(of, "media") for item in media.values()]
    assert [(item["name"], item["kind"]) for item in items] == [
        ("model", "model"), ("state", "model"), ("file", "model"),
    ]  # fmt: skip
    for item in items:
        state = torch.load(of.dir / item["path"], weights_only=True)
        assert torch.equal(state["weight"], net.weight)


def test_a_model_that_cannot_be_written_does_not_end_the_training(capsys):
    with run("x") as of:
        (of.dir / "media" / "models").touch()  # in the place of the folder
        of.log_model(torch.nn.Linear(1, 1))
        of.log({"a": 1.0})
    assert metadata(of)["status"] == "completed" and not rows(of, "media")
    assert "media are being lost" in capsys.readouterr().out


@dataclasses.dataclass
class Config:
    lr: float = 0.1
    layers: tuple = (1, 2)


@pytest.mark.parametrize(
    "config",
    [{"lr": 0.1, "layers": (1, 2)}, Config(), argparse.Namespace(lr=0.1, layers=[1, 2])],
    ids=lambda config: type(config).__name__,
)
def test_the_configuration_is_kept_as_yaml(config):
    with run("x", config=config) as of:
        pass
    assert yaml.safe_load((of.dir / "config.yaml").read_text()) == {"lr": 0.1, "layers": [1, 2]}
    with pytest.raises(BadUse, match="not a mapping"):
        run("y", config=3)
    assert not Path("outputs/training/y").exists()


def test_secrets_are_redacted(monkeypatch):
    config = {"api_key": "0123456789abcdef", "hub": {"token": "hf_" + "a" * 34}, "lr": 1}
    with run("x", config=config, description="password=hunter22") as of:
        of.say("token=hunter2222")
    for path in of.dir.rglob("*"):
        if path.is_file():
            assert not any(s in path.read_bytes() for s in (b"hunter2", b"0123456789", b"hf_aa"))


def test_what_is_known_of_a_run_is_in_its_metadata():
    config = {"seed": 7, "optimizer": "adamw", "model": "mlp", "opt": {"lr": 0.1}}
    with run("x", config=config, tags=["a"], group="g", project="p", description="d") as of:
        of.log({"val/loss": 2.0})
        of.log({"val/loss": 1.0})
        of.log({"val/loss": 3.0})
    found = metadata(of)
    assert (found["status"], found["seed"], found["optimizer"]) == ("completed", 7, "adamw")
    assert (found["tags"], found["group"], found["description"]) == (["a"], "g", "d")
    assert found["model"] == {"name": "mlp"} and found["final_metrics"]["final/best_val_loss"] == 1
    assert found["end_time"] and found["duration_s"] >= 0 and found["environment"]["python"]
    stored = load_run(of.dir)
    assert stored.settings == {"seed": 7, "optimizer": "adamw", "model": "mlp", "opt.lr": 0.1}
    assert [r.name for r in lib.open_runs(where="opt.lr=0.1 and val/loss<2")] == ["x"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no"), "failed"), (KeyboardInterrupt(), "interrupted"), (SystemExit(3), "failed")],
)
def test_a_block_that_raises(error, status):
    with pytest.raises(type(error)), run("x") as of:
        raise error
    assert metadata(of)["status"] == status
    assert ("ValueError: no" in str(metadata(of).get("error"))) == isinstance(error, ValueError)


def test_nested_runs_do_not_disturb_each_other():
    before = signal.getsignal(signal.SIGTERM)
    with run("x") as outer:
        outer.log({"a": 1.0})
        with pytest.raises(ValueError), run("x") as inner:
            inner.log({"a": 2.0})
            raise ValueError
        outer.log({"a": 3.0})
    assert (outer.name, inner.name) == ("x", "x_2")
    assert (metadata(outer)["status"], metadata(inner)["status"]) == ("completed", "failed")
    assert len(rows(outer, "metrics")) == 2 and len(rows(inner, "metrics")) == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_finish_without_a_block():
    of = run("x")
    of.log({"a": 1.0})
    with pytest.raises(BadUse, match="done"):
        of.finish("done")
    of.finish("failed")
    of.finish()
    assert metadata(of)["status"] == "failed"


def test_a_misspelt_tracker_and_a_bad_name_make_nothing():
    with pytest.raises(BadUse, match="did you mean trackio"):
        run("x", trackers="trakio")
    with pytest.raises(BadUse, match="run name"):
        run("a/b")
    assert not Path("outputs").exists()


def test_other_ranks_do_nothing(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29500")
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with run("x", config={"lr": 1}, trackers="tensorboard") as of:
        of.log({"a": 1.0})
        of.log_image("i", np.zeros((2, 2)))
        of.log_model(torch.nn.Linear(1, 1))
        of.log_table("t", ["a"], [[1]])
        of.set_info(seed=1)
        of.summary({"a": 1})
        of.say("x")
        of.plot()
        of.flush()
        of.finish()
    of.print_summary()
    assert not Path("outputs").exists()


def test_other_ranks_leave_alone_what_rank_0_is_making(monkeypatch):
    begun = Path("outputs/training/x/logs")
    begun.mkdir(parents=True)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29500")
    run("x", resume=True).finish()
    assert begun.is_dir()


def test_the_database_of_mlflow_is_that_of_the_configuration(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with run("x") as of:
        pass
    assert metadata(of)["tracking"]["MLFLOW_TRACKING_URI"] == Tree().values()["MLFLOW_TRACKING_URI"]


def test_the_trackers_get_everything_and_what_was_forgotten_later(capsys):
    config = {"lr": 0.5, "opt": {"name": "sgd"}}
    with run("x", config=config, trackers=["tensorboard"], system_interval=0) as of:
        of.log({"train/loss": 1.0})
    cursor = cursors.load(of.dir, "tensorboard")
    assert cursor.condition == "finished" and cursor.rows == 3
    events = b"".join(p.read_bytes() for p in (of.dir / "logs/tensorboard").iterdir())
    assert b"train/loss" in events and b"opt.name" in events and b"ENABLE_" not in events
    for path in [*(of.dir / "tracking").iterdir(), *(of.dir / "logs/tensorboard").iterdir()]:
        path.unlink()
    assert track(of.dir) and track("x", "tensorboard")
    assert cursors.load(of.dir, "tensorboard").rows == 3
    assert "tensorboard: 3 rows" in capsys.readouterr().out


def test_track_refuses_what_is_not_there():
    with run("x") as of:
        pass
    with pytest.raises(BadUse, match="did you mean mlflow"):
        track(of.dir, "mflow")
    with pytest.raises(BadUse, match="name a tracker"):
        track(of.dir)
    with pytest.raises(BadUse, match="no such run"):
        track("y", "mlflow")


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("pass", "completed"),
        ("raise ValueError(3)", "failed"),
        ("raise KeyboardInterrupt", "interrupted"),
        ("import sys; sys.ps1 = ''", "interrupted"),
        ("import os; os.fork() or os.sys.exit()\nimport time; time.sleep(0.2)", "completed"),
        ("import os; os._exit(0)", "interrupted"),
    ],
)
def test_a_script_that_ends_without_finish(end, status):
    process = script(f"import lib\nrun = lib.run('x')\nrun.log({{'a': 1}})\n{end}\n")
    process.communicate(timeout=60)
    assert load_run(Path("outputs/training/x")).status == status
    assert len(list(read_rows(Path("outputs/training/x/logs/metrics.jsonl")))) >= 2


def test_make_resume_leaves_the_runs_of_scripts_alone():
    of = run("x")
    of.finish("interrupted")
    assert load_run(of.dir).of_script and latest_interrupted("outputs/training") is None
    with pytest.raises(BadUse, match="resume=True"):
        run_directory(of.dir.resolve())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_script_that_is_killed_is_interrupted(number):
    process = script(
        """
        import time, lib
        with lib.run("x") as run:
            run.log({"a": 1.0})
            print("ready", flush=True)
            time.sleep(60)
        """
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate(timeout=60)
    assert load_run(Path("outputs/training/x")).status == "interrupted"


def test_without_a_name_it_is_that_of_the_script_and_the_time():
    process = script("import lib\nwith lib.run() as run: print(run.name)")
    name = process.communicate(timeout=60)[0].strip()
    assert time.strptime(name, "script_%Y%m%d-%H%M%S")


def test_a_run_is_resumed_under_its_name():
    with run("x", config={"lr": 1}, resume=True) as first:
        first.log({"a": 1.0})
    with run("x", config={"lr": 2}, resume=True) as second:
        assert (second.dir, second.id, second.step) == (first.dir, first.id, 0)
        second.log({"a": 2.0})
    assert load_run(first.dir).metric("a").values.tolist() == [2.0]
    (resume,) = metadata(first)["resumes"]
    assert resume["changed"] == {"lr": [1, 2]}
    with run("x", resume=True), pytest.raises(BadUse, match="is running already"):
        run("x", resume=True)


def test_keys_come_back_and_a_lost_configuration_does_not_matter():
    config = {"a${b}": "${c}", "???": 1}
    for _ in range(2):
        with run("x", config=config, resume=True) as of:
            pass
    assert metadata(of)["resumes"][0]["changed"] == {}
    (of.dir / "config.yaml").unlink()
    with run("x", config=config, resume=True) as of:
        pass
    assert load_run(of.dir).settings == config


def test_a_run_of_a_configured_program_is_not_resumed_by_a_script():
    with run("x", config={"a": 1}) as of:
        pass
    (of.dir / ".config").write_text("CONFIG_SEED=1\n")
    with pytest.raises(BadUse, match="make resume RUN=x"):
        run("x", resume=True)
    assert (of.dir / "config.yaml").read_text() == "a: 1\n"


def test_a_run_that_was_killed_while_it_began_is_begun_again(monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("lib.runs.metadata.save", lambda *_: os._exit(9))
        if (child := os.fork()) == 0:
            run("x", config={"lr": 1}, resume=True)
    os.waitpid(child, 0)
    left = {path.name for path in Path("outputs/training/x").iterdir()}
    assert "config.yaml" in left and "metadata.yaml" not in left
    with run("x", resume=True) as of:
        assert of.name == "x"
    Path("outputs/training/mine").mkdir()
    Path("outputs/training/mine/thesis.tex").touch()
    with pytest.raises(BadUse, match="is not a run"):
        run("mine", resume=True)
    assert Path("outputs/training/mine/thesis.tex").exists()
