# SPDX-License-Identifier: MIT
"""Trainings from Python, one after the other in a process: each as in a process of its own."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from lib.config.settings import load_settings
from lib.errors import Failure
from lib.runs.stored_run import StoredRun
from tests.forked import in_child
from tests.killed import differences, in_first_evaluation, science
from tests.models import MODELS, SmallModel

ONE_THREAD = ("--num-threads", "1")
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture
def small(tmp_path):
    """The first model: what is checked with it is shared by all."""
    return SmallModel(MODELS[1], tmp_path / "data", tmp_path)


def surroundings() -> dict:
    """What a training must leave as it found it."""
    return {
        "threads of Python": {thread.name for thread in threading.enumerate()},
        "threads of PyTorch": torch.get_num_threads(),
        "signals": [signal.getsignal(number) for number in HANDLED],
        "files": len([*Path("/dev/fd").iterdir()]),
        "group": dist.is_initialized(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "float32": torch.backends.fp32_precision,
        "folder": Path.cwd(),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_second_training_is_that_of_a_process_of_its_own(name, tmp_path):
    model = SmallModel(name, tmp_path / "data", tmp_path)

    def train(run: str, *flags: str) -> StoredRun:
        return model.program.train(load_settings(name, model.flags(run, *ONE_THREAD, *flags)))

    assert in_child(lambda: train("alone")) == 0
    threads = torch.get_num_threads()
    other = train("other", "--seed", "5", "--num-threads", "2")
    assert torch.get_num_threads() == threads
    before = surroundings()  # all that is imported and cached once is there
    again = train("again")
    assert surroundings() == before
    assert (other.status, again.status) == ("completed", "completed")
    assert other.name == "other" and other.metadata["seed"] == 5
    assert again.value("val/loss") != other.value("val/loss")
    assert differences(science(tmp_path / "alone"), science(again.dir)) == []


def test_a_thread_trains_too(small):
    """Where Python delivers no signals."""
    found = []
    settings = load_settings(small.name, small.flags("thread", *ONE_THREAD))
    thread = threading.Thread(target=lambda: found.append(small.program.train(settings)))
    thread.start()
    thread.join()
    assert [repr(run) for run in found] == ["<StoredRun thread completed>"]


def test_ctrl_c_interrupts_the_run_and_leaves_python_as_it_was(small, monkeypatch):
    before = [signal.getsignal(number) for number in HANDLED]
    in_first_evaluation(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        small.train(*ONE_THREAD)
    assert small.latest.metadata["status"] == "interrupted"
    assert (small.latest.dir / "checkpoints" / "last.pt").exists()
    assert [signal.getsignal(number) for number in HANDLED] == before
    assert small.train(*ONE_THREAD).metadata["status"] == "completed"


def test_a_second_ctrl_c_at_a_prompt_ends_the_training_and_not_python(small, monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)

    def twice():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    in_first_evaluation(monkeypatch, twice)
    with pytest.raises(KeyboardInterrupt):
        small.train(*ONE_THREAD)
    assert small.latest.metadata["status"] == "interrupted"


def test_what_is_wrong_is_raised_and_python_stays_as_it_was(small, tmp_path):
    before = surroundings()
    with pytest.raises(Failure, match="nowhere"):
        small.train(*ONE_THREAD, "--init-from", str(tmp_path / "nowhere"))
    assert surroundings() == before


def test_float32_is_float32_whatever_the_program_has_set(small, monkeypatch):
    matmul, seen = torch.backends.mkldnn.matmul, []
    in_first_evaluation(monkeypatch, lambda: seen.append(matmul.fp32_precision))
    matmul.fp32_precision = "bf16"
    try:
        small.train(*ONE_THREAD)
        assert (seen, matmul.fp32_precision) == (["ieee"], "bf16")
    finally:
        matmul.fp32_precision = "none"
