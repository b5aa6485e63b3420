# SPDX-License-Identifier: MIT
"""Every file in defconfigs/ trains two real steps, as a user would run it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from lib.runs import metadata
from lib.runs.journal import read_rows
from tests.mnist_files import write_mnist

ROOT = Path(__file__).resolve().parent.parent
DEFCONFIGS = sorted((ROOT / "defconfigs").iterdir())


def local_mnist(folder: Path) -> list[str]:
    # Enough images for any batch size that the set itself would allow and a defconfig asks for.
    return ["--data-files", str(write_mnist(folder, train=1000, test=100))]


def local_text(folder: Path) -> list[str]:
    """A corpus in the form of the hub's, and a tokenizer that needs no files."""
    folder.mkdir()
    rows = {"text": [f"passage {n} of the corpus, " + "word " * (n % 50 + 10) for n in range(400)]}
    parquet.write_table(pyarrow.table(rows), folder / "train.parquet")
    data = ["--data-files", str(folder / "train.parquet"), "--val-fraction", "0.2"]
    return [*data, "--tokenizer", "bytes", "--data-dir", str(folder / "data")]


# Flags that give a data set which needs a network a small local one, by <model>-<data set>.
LOCAL_DATA: dict[str, Callable[[Path], list[str]]] = {
    "lenet5-mnist": local_mnist,
    "gpt2-shakespeare": local_text,
    "gpt2-tinystories": local_text,
    "gpt2-openwebtext": local_text,
    "gpt2-finewebedu": local_text,
}

# Flags that make a model small enough for a test; what a defconfig is about stays.
SMALL = {
    "lenet5": [],
    "gpt2": [
        *("--gpt2-size", "free", "--gpt2-n-layer", "1", "--gpt2-n-head", "2"),
        *("--gpt2-n-embd", "16", "--gpt2-block-size", "16", "--batch-size", "2"),
        *("--eval-windows", "2", "--sample-tokens", "4", "--device", "cpu", "--warmup-steps", "1"),
    ],
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


def test_there_are_defconfigs():
    assert ROOT / "defconfigs" / "lenet5-digits" in DEFCONFIGS


@pytest.mark.slow
@pytest.mark.parametrize("defconfig", DEFCONFIGS, ids=lambda path: path.name)
def test_two_steps(defconfig, tmp_path, data_dir):
    model, dataset = defconfig.name.split("-")[:2]
    local = LOCAL_DATA.get(f"{model}-{dataset}", lambda folder: [])(tmp_path / "local")
    command = [
        *(sys.executable, str(ROOT / model / "train.py"), "--config", str(defconfig)),
        *("--output-dir", str(tmp_path / "runs"), "--data-dir", str(data_dir)),
        *("--tracker", "none", "--tracker-run-name", "two", "--max-steps", "2"),
        *(*SMALL[model], *local),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
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
