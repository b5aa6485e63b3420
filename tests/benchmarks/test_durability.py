# SPDX-License-Identifier: MIT
"""Trainings that are killed in every way and end with the same bits; and what finds the difference.

The long version is `make bench-durability` (docs/durability.md).
"""

import os
import subprocess
import sys

import pytest
import torch

from benchmarks.durability import checks
from benchmarks.durability.checks import Seen
from lib.files import ROOT
from lib.runs.run import Run
from lib.train.checkpoint.writer import Writer
from tests.killed import edited


@pytest.mark.slow
def test_a_kill_of_each_kind(tmp_path):
    """Of all kinds but those that wait for the start of real processes."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.durability", "--jobs", "1", "--kills", "6"),
            *("--skip", "process,forwarder,rank", "--folder", str(tmp_path / "found")),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(kinds) == 1 + 6 + 1
    assert all(int(line.split("|")[2]) >= 1 for line in kinds[1:])
    assert kinds[-1].endswith("| 0 | 0 | 0 | 0 | 0 | 0 |")


def make_run(folder, name, steps=6):
    with Run.create(folder, name) as run:
        writer = Writer(run.dir / "checkpoints", keep=2, every=0, compress=False)
        for step in range(1, steps + 1):
            run.log({"train/loss": 1 / step, "perf/step_ms": os.getpid() * 1.0}, step)
            contents = {"step": step, "weight": torch.full((3,), 1.0 / step)}
            writer.write(contents, step=step, metrics={}, best=step == 2, nbytes=12)
    return run.dir


@pytest.fixture
def pair(tmp_path):
    return make_run(tmp_path, "run"), make_run(tmp_path, "reference")


def found(directory, reference):
    return {finding.column for finding in checks.against_reference(directory, reference)}


def test_equal_runs(pair):
    assert found(*pair) == set()
    assert list(checks.after_interruption(pair[0], Seen())) == []


def _save(run, state):
    Writer(run / "checkpoints", keep=2, every=0, compress=False).write(
        state, step=6, metrics={}, best=False, nbytes=12
    )


@pytest.mark.parametrize(
    ("spoil", "column"),
    [
        (edited("logs/metrics.jsonl", '{"step":3', '{"stop":3'), "rows lost"),
        (edited("logs/metrics.jsonl", '{"step":3', '{"step":4'), "rows lost"),
        (edited("logs/metrics.jsonl", '{"step":3', '{"step"3'), "torn files"),
        (lambda run: (run / "logs" / ".metrics.jsonl.1.tmp").touch(), "torn files"),
        (edited("metadata.yaml", "status: completed", "status: interrupted"), "not resumed"),
        (lambda run: (run / "checkpoints" / "best.pt").write_bytes(b"x"), "unloadable"),
        (lambda run: _save(run, {"step": 6, "weight": torch.ones(3) / 7}), "differing"),
        (lambda run: _save(run, {"step": 6, "weight": torch.ones(3, dtype=torch.float64)}),
         "differing"),
        (lambda run: _save(run, {"step": 6}), "differing"),
    ],
)  # fmt: skip
def test_every_difference_is_found(pair, spoil, column):
    spoil(pair[0])
    assert column in found(*pair)


def test_what_is_seen_after_an_interruption(pair):
    run, seen = pair[0], Seen()
    assert list(checks.after_interruption(run, seen)) == []
    journal = run / "logs" / "metrics.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    (run / "checkpoints" / "index.json").write_text("{")
    (run / "checkpoints" / "last.pt").write_bytes(b"")  # the file of step 6, too
    (run / "metadata.yaml").write_text("a: [")
    columns = [finding.column for finding in checks.after_interruption(run, seen)]
    assert sorted(columns) == ["rows lost", "torn files", "torn files", *["unloadable"] * 2]


def test_nan_is_equal_to_itself():
    weights = torch.tensor([float("nan"), -0.0])
    assert not list(checks.differences({"a": weights, "b": [float("nan")]},
                                       {"a": weights.clone(), "b": [float("nan")]}))  # fmt: skip
    assert list(checks.differences({"a": weights}, {"a": torch.tensor([float("nan"), 0.0])}))
