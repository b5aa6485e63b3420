# SPDX-License-Identifier: MIT
"""What a model writes may be any bytes; a terminal is shown text."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gpt2 import sample
from gpt2.model import GPT, GPTConfig
from lib.data.text.tokenizers import load_tokenizer
from lib.runs.run import Run
from lib.train import checkpoint

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = SimpleNamespace(
    SAMPLE_PROMPT="", SAMPLE_TOKENS=400, SAMPLE_TEMPERATURE=1.0, SAMPLE_TOP_K=0, SEED=0
)


@pytest.fixture
def model():
    """An untrained one, which writes any bytes."""
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=257, block_size=16, n_layer=1, n_head=1, n_embd=8))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with Run.create(tmp_path, "one") as made:
        yield made


def write(run, model):
    tokenizer = load_tokenizer("bytes")
    sample.write_sample(SETTINGS, run, model, tokenizer, SimpleNamespace(is_main=True), 1)


def test_a_sample_cannot_steer_the_terminal_and_the_file_has_it_all(run, model, capsys):
    write(run, model)
    kept = (run.dir / "media" / "sample.txt").read_bytes().decode()
    assert "\x19" in kept and "\x08" in kept
    shown = capsys.readouterr().out
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    assert kept.count("e") == shown.partition("\n")[2].count("e") > 0


def test_a_full_disk_costs_the_sample_and_not_the_run(run, model, capsys, monkeypatch):
    def fail(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample, "write_atomic", fail)
    write(run, model)
    assert "warning: media/sample.txt was not written: No space left" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no-such-run"], "RUN=no-such-run: no"),
        (["one", "--tokens", "-1"], "are numbers from 0 on"),
        (["one", "--temperature", "nan"], "are numbers from 0 on"),
        (["one", "--seed", str(2**63)], "want a number in"),
    ],
)
def test_bad_use_is_one_line(arguments, says):
    environment = {k: v for k, v in os.environ.items() if k != "RUN"}
    command = [sys.executable, "gpt2/sample.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1


def test_a_checkpoint_of_another_model_is_one_line(run):
    shutil.copy(ROOT / "defconfigs" / "gpt2-pystdlib", run.dir / ".config")
    checkpoint.save(run.dir / "checkpoints" / "best.pt", {"model_state_dict": {}, "step": 1})
    environment = {k: v for k, v in os.environ.items() if k not in ("RUN", "PROMPT")}
    command = [sys.executable, "gpt2/sample.py", str(run.dir)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "best.pt is not of the model that" in done.stderr


def test_a_missing_package_is_named(tmp_path):
    """An interpreter without PyTorch: a line that says what to install, no traceback."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(name='torch')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "gpt2/sample.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "has no package torch" in done.stderr
    assert "Traceback" not in done.stderr
