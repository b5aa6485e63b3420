# SPDX-License-Identifier: MIT
"""Jobs of workers on a Slurm whose programs really run them (tests/slurm.py)."""

import os
import re
import stat
import sys
import time
from pathlib import Path

import pytest

from lib.errors import BadUse, Failure
from lib.sweep.slurm import Cluster, WorkerJob, cluster_from, script, submit
from tests import slurm as programs

STORAGE = "postgresql://sweeper:" + "p4ssw0rd" + "@db.example.org/sweeps"
# A worker that needs to be told to stop, but for its second start.
WORKER = """
import os, signal, sys, time
from pathlib import Path
log = Path(sys.argv[1]) / os.environ["SLURM_ARRAY_TASK_ID"]
def stop(number, frame):
    for each in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(each, signal.SIG_IGN)
    time.sleep(0.3)  # a training that saves
    log.with_suffix(".saved").touch()
    sys.exit(143)
for number in (signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, stop)
with log.open("a") as file:
    print(os.environ["SWEEP"], os.environ["STORAGE"], file=file)
if log.with_suffix(".saved").exists() or os.environ["SLURM_ARRAY_TASK_ID"] == "1":
    sys.exit(0)
time.sleep(60)
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Slurm's programs on PATH."""
    made = programs.install(tmp_path / "slurm")
    monkeypatch.setenv("PATH", made.path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return made


def job(folder: Path) -> WorkerJob:
    """A job of WORKER, which notes its starts in `folder`."""
    folder.mkdir()
    return WorkerJob([sys.executable, "-c", WORKER, str(folder)], {"SWEEP": "grid"}, storage=True)


def command_lines() -> str:
    """Those of all processes, as everybody on the machine sees them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)


@pytest.mark.slow
def test_a_job_whose_time_is_up_is_stopped_saved_and_started_again(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("STORAGE", STORAGE)
    folder = tmp_path / "shared" / "slurm"
    cluster = Cluster(nodes=2, options={"comment": "two words"})
    assert submit(cluster, "grid", folder, job(tmp_path / "notes")) == ["1_0", "1_1"]
    started = tmp_path / "notes" / "0"
    while not started.exists():
        time.sleep(0.05)
    assert "p4ssw0rd" not in command_lines()
    slurm.signal("1_0")
    assert slurm.wait("1_0") != 0
    assert slurm.wait("1_0", restarts=1) == slurm.wait("1_1") == 0
    assert started.with_suffix(".saved").exists()
    assert started.read_text() == f"grid {STORAGE}\n" * 2  # in the environment, both times
    assert (tmp_path / "notes" / "1").read_text() == f"grid {STORAGE}\n"

    assert (folder / "1_submission.sh").read_text() == script(cluster, "grid", folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} > {"1_0_submitted.pkl", "1_0_0_log.out"}
    assert not [path for path in files if b"p4ssw0rd" in path.read_bytes()]


@pytest.mark.slow
def test_a_cluster_that_does_not_pass_the_environment_on(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("STORAGE", STORAGE)
    folder = tmp_path / "shared"
    submit(Cluster(options={"export": "NONE"}), "grid", folder, job(tmp_path / "notes"))
    assert slurm.wait("1") == 1
    assert "STORAGE did not reach the job" in (folder / "1_0_log.out").read_text()
    assert not list((tmp_path / "notes").iterdir())


def test_the_script_needs_no_slurm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    given = {"NODES": "300", "TIME": "1-12", "CPUS": "8", "PARTITION": "gpu"}
    text = script(
        cluster_from({**given, "SBATCH": "--gpus-per-node=4 --exclusive"}), "grid", tmp_path
    )
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", text, re.MULTILINE))
    assert (options["array"], options["time"], options["nodes"]) == ("0-299%300", "2160", "1")
    assert (options["partition"], options["gpus-per-node"], options["exclusive"]) == (
        "gpu",
        "4",
        "",
    )
    assert (options["cpus-per-task"], options["job-name"]) == ("8", "sweep-grid")
    assert options["signal"].startswith("USR2@") and "requeue" in options
    assert re.search(r"^srun .* --cpus-per-task=8 ", text, re.MULTILINE)
    with pytest.raises(Failure, match="no sbatch: submit where Slurm is; DRY=1"):
        submit(Cluster(), "grid", tmp_path, WorkerJob([], {}, storage=False))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("5:30", 6), ("02:30:00", 150), ("1-12", 2160), ("1-00:30", 1470), ("", 60)],
)
def test_times(text, minutes):
    assert cluster_from({"TIME": text}).minutes == minutes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"NODES": "0"}, "NODES=0: a number of machines"),
        ({"NODES": "2x"}, "NODES=2x"),
        ({"TIME": "2"}, "TIME=2: .*at least 3 minutes"),
        ({"TIME": "soon"}, "TIME=soon"),
        ({"CPUS": "many"}, "CPUS=many"),
        ({"PARTITION": "a b"}, "PARTITION=a b"),
        ({"SBATCH": "--mem 64G"}, "SBATCH: --mem|SBATCH: 64G: write options"),
        ({"SBATCH": "'--mem"}, "SBATCH='--mem: No closing quotation"),
        ({"SBATCH": "--time=10"}, "--time cannot be given here: use TIME"),
        ({"SBATCH": "--no-requeue"}, "--no-requeue cannot be given here, it is set by the sweep"),
        ({"SBATCH": "'--comment=a\nrm -r x'"}, "write options of sbatch"),
    ],
)
def test_what_is_not_possible(given, said):
    with pytest.raises(BadUse, match=said):
        cluster_from(given)


def test_what_sbatch_says_is_passed_on(slurm, tmp_path, monkeypatch):
    (tmp_path / "slurm" / "bin" / "sbatch").write_text(
        "#!/bin/sh\necho Invalid account >&2; exit 1"
    )
    with pytest.raises(Failure, match=r"sbatch refused: .*Invalid account"):
        submit(Cluster(), "grid", tmp_path / "shared", WorkerJob([], {}, storage=False))
    assert not os.environ.get("SUBMITIT_EXECUTOR")
