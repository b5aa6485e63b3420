# SPDX-License-Identifier: MIT
"""Every program about a run takes RUN in the same way: as an argument and from the environment."""

import subprocess
import sys
from pathlib import Path

import pytest

from lib.errors import BadUse
from lib.runs.run import Run
from scripts.common import checkpoint_parser, chosen_checkpoint, chosen_run, run_parser

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    for variable in ("RANK", "RUN"):
        monkeypatch.delenv(variable, raising=False)
    for name in ("two_a", "two_b", "one"):
        with Run.create(tmp_path, name):
            pass
    return tmp_path


def choose(runs: Path, *arguments: str) -> Path:
    return chosen_run(run_parser("").parse_args(["--output-dir", str(runs), *arguments]))


def test_a_run_is_named_by_name_beginning_path_or_not_at_all(runs, monkeypatch):
    assert choose(runs) == runs / "one"  # the latest
    for given in ("two_a", f"{runs}/two_a", f"{runs}/two_a/"):
        assert choose(runs, given) == runs / "two_a"
        monkeypatch.setenv("RUN", given)
        assert choose(runs) == runs / "two_a"
        assert choose(runs, "two_b") == runs / "two_b"  # an argument goes before RUN
    assert choose(runs, "o") == runs / "one"
    with pytest.raises(BadUse, match="RUN=two fits 2 runs: two_a, two_b"):
        choose(runs, "two")


def test_a_checkpoint_is_one_of_the_run_s(runs):
    options = checkpoint_parser("").parse_args(
        ["--output-dir", str(runs), "two_a", "--checkpoint", "best"]
    )
    assert chosen_checkpoint(options) == runs / "two_a" / "checkpoints" / "best.pt"


def test_no_program_reads_run_in_its_own_way():
    programs = sorted((ROOT / "scripts").glob("*/*.py"))
    assert len(programs) > 10
    assert [p for p in programs if 'environ.get("RUN"' in p.read_text()] == []


@pytest.mark.parametrize("module", ["pruning.export", "runs.show", "tracking.status"])
def test_the_programs_take_an_argument(runs, module):
    command = [sys.executable, "-m", f"scripts.{module}", "--output-dir", str(runs), "two"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "RUN=two fits 2 runs" in done.stderr
