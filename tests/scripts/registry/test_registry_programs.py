# SPDX-License-Identifier: MIT
"""make register, promote, registry, predict, consistency, rollback on a local database."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from lib import lock
from lib.errors import BadUse, Failure
from lib.files import ROOT
from lib.runs import metadata
from tests.lib.registry.made import lenet

pytestmark = pytest.mark.slow
VARIABLES = ("RUN", "NAME", "VERSION", "ALIAS", "TEXT", "FORMAT", "CHECKPOINT", "INPUT", "OUT")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run, and the database into which the real programs have sent and registered it."""
    folder = tmp_path_factory.mktemp("registry")
    lenet(folder / "runs")
    config = folder / "runs" / "run" / "config.yaml"
    config.write_text(config.read_text() + "  ENABLE_WANDB: true\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "MLFLOW_"))}
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "HOME": str(folder)}
    environment |= {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "scripts.registry.register"]
    done = subprocess.run(
        [*command, "--output-dir", str(folder / "runs")],
        cwd=ROOT, env={**environment, "RUN": "run", "NAME": "digits"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout)
    return folder


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Call a program as make does; returns what it printed."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")  # restored afterwards

    def program(name: str, *flags: str, **variables: str) -> str:
        for variable in VARIABLES:
            monkeypatch.delenv(variable, raising=False)
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        runs = () if name == "predict" else ("--output-dir", str(folder / "runs"))
        monkeypatch.setattr(sys, "argv", [name, *runs, *flags])
        program.code = importlib.import_module(f"scripts.registry.{name}").main()
        return capsys.readouterr().out

    return program


def test_register_said_and_did(folder):
    said = (folder / "said").read_text()
    assert "run is not in MLflow yet: it is sent there first" in said
    assert "its logits differ from the network's by 0 at most" in said
    assert "models:/digits/1" in said and "0.25" in said
    assert "make promote NAME=digits VERSION=1 ALIAS=production" in said
    assert "no: make keep RUN=run, then repeat this" in said
    assert "W&B: queued: wandb sync" in said
    assert list(folder.glob("wandb/offline-run-*"))


def test_from_promotion_to_prediction(call, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Ada")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "ada@example.org")
    assert "no such alias" in complaint(call, "predict", NAME="digits@production", INPUT="x.npy")
    said = call("promote", "promote", NAME="digits", VERSION="1", TEXT="it is the first")
    assert said.startswith("digits@production is version 1 (run run); before, nothing")
    assert "already" in call("promote", "promote", NAME="digits", VERSION="1")
    table = call("table", NAME="digits")
    for word in ("production", "75.00 %", "best", "Ada <ada@example.org>", "it is the first"):
        assert word in table
    np.save(tmp_path / "x.npy", np.zeros((2, 1, 32, 32), dtype=np.float32))
    given = {"NAME": "digits@production", "INPUT": str(tmp_path / "x.npy")}
    out = tmp_path / "out.json"
    assert "models:/digits/1, run run" in call("predict", **given, OUT=str(out))
    rows = json.loads(out.read_text())
    names = {"zero", "one", "two", "nine", *"345678"}
    assert len(rows) == 2 and {guess["label"] for guess in rows[0]["best"]} <= names
    call("predict", **given, OUT=str(tmp_path / "out.npy"))
    assert np.load(tmp_path / "out.npy").shape == (2, 10)
    assert "nothing that is still there" not in complaint(
        call, "promote", "rollback", NAME="digits"
    )


def complaint(call, name: str, *flags: str, **variables: str) -> str:
    with pytest.raises(Failure) as error:
        call(name, *flags, **variables)
    return str(error.value)


def test_formats(call):
    (version,) = json.loads(call("table", FORMAT="json"))["versions"]
    assert version["metrics"] == {"val/loss": 0.25, "val/accuracy": 0.75}
    assert version["tags"]["run_id"] and version["kept"] is False
    head, line = call("table", FORMAT="csv").splitlines()
    assert head.startswith("model,version,aliases,val/accuracy,val/loss,") and "digits,1," in line


def test_consistency(call, folder):
    said = call("consistency")
    assert call.code == 1
    assert "make keep RUN=run, then make register RUN=run NAME=digits" in said
    pointer = folder / "runs" / "run.dvc"
    pointer.write_text("outs:\n- md5: 0123abcd.dir\n  path: run\n")
    run_id = metadata.load(folder / "runs" / "run" / "metadata.yaml")["run_id"]
    (folder / "runs" / "run.summary.yaml").write_text(yaml.safe_dump({"run_id": run_id}))
    try:
        assert "names no DVC file" in call("consistency")
        # The model needs no export, so what training left behind in this process is no matter.
        said = call("register", RUN="run", NAME="digits", CHECKPOINT="last")
        assert "these weights are version 1 already; brought up to date: dvc_md5" in said
        assert "1 registered version, 1 kept run: all is there" in call("consistency")
        assert call.code == 0
        assert json.loads(call("consistency", FORMAT="json"))["gaps"] == []
    finally:
        pointer.unlink()


@pytest.mark.parametrize(
    ("name", "flags", "variables", "said"),
    [
        ("register", (), {"RUN": "run"}, "NAME= is missing"),
        ("register", (), {"RUN": "run", "NAME": "a/b"}, "allowed are letters"),
        ("register", (), {"RUN": "rum", "NAME": "x"}, "did you mean run"),
        ("register", (), {"RUN": "run", "NAME": "x", "CHECKPOINT": "first"}, "want best or last"),
        ("promote", ("promote",), {"NAME": "digits"}, "VERSION= is missing"),
        ("promote", ("promote",), {"NAME": "digits", "VERSION": "0"}, "want a number"),
        ("promote", ("promote",), {"NAME": "digits", "VERSION": "7"}, "there are: 1"),
        ("promote", ("promote",), {"NAME": "digts", "VERSION": "1"}, "did you mean digits"),
        ("promote", ("promote",), {"NAME": "x", "VERSION": "1", "ALIAS": "v1"}, "mean versions"),
        ("promote", ("promote",), {"NAME": "x", "VERSION": "1", "TEXT": "a" * 3000}, "3,000 char"),
        ("promote", ("rollback",), {"NAME": "digits", "ALIAS": "staging"}, "no such alias"),
        ("predict", (), {"NAME": "digits", "INPUT": "x"}, "which version"),
        ("predict", (), {"NAME": "digits/9", "INPUT": "x"}, "no such version"),
        ("predict", (), {"NAME": "digits/1"}, "INPUT= is missing"),
        ("predict", (), {"NAME": "digits/1", "INPUT": "x.npy"}, "no such file"),
        ("predict", (), {"NAME": "digits/1", "INPUT": "x", "OUT": "x.txt"}, "want a name that"),
        ("table", (), {"FORMAT": "xml"}, "want table, json, csv"),
        ("consistency", (), {"FORMAT": "csv"}, "want table, json"),
    ],
)
def test_bad_use(call, name, flags, variables, said):
    with pytest.raises(BadUse) as error:
        call(name, *flags, **variables)
    assert said in str(error.value)


def test_without_a_registry(call, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for name, flags in (("table", ()), ("consistency", ()), ("promote", ("rollback",))):
        assert "there is no registry yet" in complaint(call, name, *flags, NAME="digits")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    for name in ("table", "consistency"):
        assert "cannot be reached" in complaint(call, name)
    assert "cannot be reached" in complaint(call, "register", RUN="run", NAME="digits")


def test_one_process_at_a_time_registers_a_run(call, folder):
    with lock.held(folder / "runs" / "run" / ".register.lock", wait=0.0):
        said = complaint(call, "register", RUN="run", NAME="digits")
    assert "is being registered by another process already" in said


def test_a_model_that_says_nothing_about_export(call, folder):
    lenet(folder / "runs", "other")
    path = folder / "runs" / "other" / "metadata.yaml"
    path.write_text(path.read_text().replace("name: lenet5", "name: unknown"))
    said = complaint(call, "register", RUN="other", NAME="x")
    assert "which has no unknown/export.py with a function `program`" in said
