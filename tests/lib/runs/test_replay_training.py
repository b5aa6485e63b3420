# SPDX-License-Identifier: MIT
"""How the recorded code is trained: what reaches it, and when it is stopped.

The recorded code is a Makefile and a short program here, which log and end as a training does.
"""

import json
import os
import time
from pathlib import Path

import pytest

from lib.errors import Failure
from lib.files import ROOT
from lib.runs.replay.plan import plan_replay
from lib.runs.replay.training import train
from lib.runs.replay.tree import Place
from lib.runs.run import Run
from lib.runs.stored import load_run

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GIT = {"commit": COMMIT, "branch": "main", "dirty": False, "untracked": [], "diff": None}
MAKEFILE = "train:\n\t@$(PYTHON3) train.py '$(VENV)' '$(TRACKER)' '$(NPROC)' '$(value SET)'\n"
TRAIN = """
import json, os, shlex, signal, sys, time
from pathlib import Path
stopped = []
signal.signal(signal.SIGUSR2, lambda *_: stopped.append(1))
settings = dict(word.split("=", 1) for word in shlex.split(sys.argv[4]))
run = Path(settings["OUTPUT_DIR"], "a")
(run / "logs").mkdir(parents=True)
Path(run / "told.json").write_text(json.dumps([dict(os.environ), sys.argv, os.getcwd()]))
Path(run / "metadata.yaml").write_text("run_name: a\\ndataset: {fingerprint: FINGERPRINT}\\n")
with (run / "logs" / "metrics.jsonl").open("a") as journal:
    for step in range(1, 1 + STEPS):
        journal.write(json.dumps({"step": step, "metrics": {"a": 1.0}}) + "\\n")
        journal.flush()
        if stopped:
            break
        time.sleep(PAUSE)
print("ended after", step)
sys.exit(CODE)
"""


@pytest.fixture
def recorded(tmp_path) -> Run:
    info = {"git": GIT, "dataset": {"name": "x", "fingerprint": "same"}}
    files = {".config": 'CONFIG_DATA_DIR="data"\n'}
    with Run.create(tmp_path / "out", "a", files=files, info=info) as run:
        (run.dir / "git.diff").unlink(missing_ok=True)
        for step in range(1, 6):
            run.log({"a": 1.0}, step)
    return run


def replay(recorded: Run, tmp_path: Path, makefile=MAKEFILE, **changes):
    """Train with the program above; returns the run's directory and what was printed."""
    values = {"FINGERPRINT": "same", "STEPS": 5, "PAUSE": 0, "CODE": 0, **changes}
    program = TRAIN
    for name, value in values.items():
        program = program.replace(name, str(value))
    place = Place(tmp_path / "tree", tmp_path / "runs", None)
    place.tree.mkdir()
    (place.tree / "Makefile").write_text(makefile)
    (place.tree / "train.py").write_text(program)
    run = load_run(recorded.dir)
    with (tmp_path / "printed").open("w") as output:
        made = train(place, run, plan_replay(run), "3", output)
    return made, (tmp_path / "printed").read_text()


def test_what_reaches_the_recorded_code(recorded, tmp_path, monkeypatch):
    alien = {"MAKEFLAGS": "RUN=x", "RUN": "x", "SET": "SEED=1", "RANK": "1", "GIT_DIR": "x"}
    alien |= {"LAUNCH_CONFIG": "x", "SLURM_JOB_ID": "1", "KCONFIG_CONFIG": "x", "FRAGMENTS": "x"}
    for name, value in alien.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}/elsewhere")
    made, printed = replay(recorded, tmp_path)
    assert printed == "ended after 5\n"
    told, (_, venv, tracker, processes, _), folder = json.loads((made / "told.json").read_text())
    assert (venv, tracker, processes) == ("system", "none", "1")
    assert not (alien.keys() & told.keys()) - {"MAKEFLAGS", "SET"}  # the new make's own
    assert "RUN=x" not in told["MAKEFLAGS"]
    assert "SEED=1" not in told["SET"]
    assert told["PYTHONPATH"] == "/elsewhere"
    assert told["OMP_NUM_THREADS"] == "3"
    assert folder == str(tmp_path / "tree")
    assert (tmp_path / "tree" / ".config").read_bytes() == (recorded.dir / ".config").read_bytes()


def test_an_interrupted_run_is_not_trained_to_its_end(recorded, tmp_path):
    recorded.set_info(status="interrupted")
    began = time.monotonic()
    made, printed = replay(recorded, tmp_path, STEPS=10_000, PAUSE=0.02, CODE=140)
    assert time.monotonic() - began < 30
    assert 5 < int(printed.split("ended after ")[1].split()[0]) < 1000
    assert made.name == "a"


def test_other_data_ends_it_at_once(recorded, tmp_path):
    began = time.monotonic()
    with pytest.raises(Failure, match="data set x is not what it was: its fingerprint is other"):
        replay(recorded, tmp_path, FINGERPRINT="other", STEPS=10_000, PAUSE=0.02)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("makefile", [MAKEFILE, "train:\n\t@echo TRACKER: unknown >&2; exit 2\n"])
def test_a_failure_is_that_of_the_recorded_code(makefile, recorded, tmp_path):
    with pytest.raises(Failure, match=f"at commit {COMMIT[:12]} failed .* what it says is above"):
        replay(recorded, tmp_path, makefile, CODE=1)
    assert ("TRACKER: unknown" in (tmp_path / "printed").read_text()) == (makefile != MAKEFILE)


def test_a_run_that_failed_may_fail_again(recorded, tmp_path):
    recorded.set_info(status="failed")
    assert replay(recorded, tmp_path, CODE=1)[0].name == "a"
