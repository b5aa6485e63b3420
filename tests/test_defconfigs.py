# SPDX-License-Identifier: MIT
"""Every file in defconfigs/ trains two real steps, in a process of its own."""

import importlib
from pathlib import Path

import pytest

from lib.config.settings import load_settings
from lib.runs import metadata
from lib.runs.journal import read_rows
from tests.forked import in_child
from tests.models import ROOT, restored_torch, traits

DEFCONFIGS = sorted((ROOT / "defconfigs").iterdir())


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


def test_there_are_defconfigs():
    assert ROOT / "defconfigs" / "lenet5-digits" in DEFCONFIGS


@pytest.mark.slow
@pytest.mark.parametrize("defconfig", DEFCONFIGS, ids=lambda path: path.name)
def test_two_steps(defconfig, tmp_path, data_dir):
    model, dataset = defconfig.name.split("-")[:2]
    local = traits(model).LOCAL_DATA.get(dataset, lambda folder: [])(tmp_path / "local")
    flags = [
        *("--config", str(defconfig), "--num-threads", "1"),
        *("--output-dir", str(tmp_path / "runs"), "--data-dir", str(data_dir)),
        *("--tracker", "none", "--tracker-run-name", "two", "--max-steps", "2"),
        *(*traits(model).DEFCONFIG, *local),
    ]
    program = importlib.import_module(f"{model}.train")
    with restored_torch():
        assert in_child(lambda: program.train(load_settings(model, flags))) == 0
    run = tmp_path / "runs" / "two"
    found = metadata.load(run / "metadata.yaml")
    assert found["status"] == "completed"
    assert found["model"]["name"] == model and found["dataset"]["name"] == dataset
    rows = [
        row["metrics"] for row, _ in read_rows(run / "logs" / "metrics.jsonl") if "metrics" in row
    ]
    assert any("train/loss" in metrics for metrics in rows)
    assert any("val/loss" in metrics for metrics in rows)
    assert {"best.pt", "last.pt"} <= {path.name for path in (run / "checkpoints").iterdir()}
