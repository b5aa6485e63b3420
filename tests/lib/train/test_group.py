# SPDX-License-Identifier: MIT
"""Two ranks in real processes, one of which stops, dies, fails, differs or is missing."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow

# Trains endlessly, as a model's train.py does; rank 1 does its deed after ten steps.
PROGRAM = """
import json, os, signal, sys, time
import torch
from lib.cli import run_main
from lib.errors import Failure
from lib.train.group import process_group
from lib.train.ranks import any_rank, replicate
from lib.train.runtime import setup
from lib.train.stop import StopRequest

def main():
    folder, deed, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    runtime = setup(0, "cpu", "float32", 1)
    with process_group(runtime, timeout=3, agree_on=settings), StopRequest(any_rank) as stop:
        model = replicate(torch.nn.Linear(4, 4), runtime)
        open(f"{folder}/{runtime.rank}", "w").write(str(os.getpid()))
        step = 0
        while True:
            step += 1
            if deed == "all fail" and step == 10:
                raise Failure("of all")
            if runtime.rank == 1 and step == 10:
                if deed == "fail":
                    raise Failure("of my own")
                if deed != "nothing":
                    os.kill(os.getpid(), getattr(signal, deed))
            model(torch.ones(1, 4)).sum().backward()
            try:
                stop.check()
            except KeyboardInterrupt:
                print("saved", flush=True)
                raise
            time.sleep(0.01)

def rank(number):
    where = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {name: str(value) for name, value in where.items()}
    for stream, name in (sys.stdout, "out"), (sys.stderr, "err"):
        file = os.open(f"{sys.argv[1]}/{number}.{name}", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, stream.fileno())
    sys.argv[3] = sys.argv[3 + number]
    run_main(main)

if "RANK" in os.environ:  # by torchrun
    run_main(main)
pids = []  # forked, so that PyTorch is imported once
for number in range(int(sys.argv[5])):
    pids.append(os.fork())
    if not pids[-1]:
        rank(number)
_, status = os.waitpid(pids[0], 0)
for pid in pids[1:]:
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def run(
    folder: Path, port: int, deed: str = "nothing", settings: tuple[str, str] = ("{}", "{}"), n=2
) -> tuple[int, list[str]]:
    """(exit code of rank 0, what each rank wrote to standard error)."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder, deed, *settings, str(n)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MASTER_PORT": str(port)},
        cwd=ROOT, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, [(folder / f"{rank}.err").read_text() for rank in range(n)]


def messages(errors: list[str]) -> list[list[str]]:
    """The errors that each rank prints; on a busy machine PyTorch adds its own about connecting."""
    return [[line for line in text.splitlines() if line.startswith("error: ")] for text in errors]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        ("SIGSTOP", "did not respond for RANK_TIMEOUT=3 s: it hangs or is stopped"),
        ("SIGKILL", "is gone: it was killed, or its machine or network is down"),
        ("fail", "ended: Failure: of my own"),
    ],
)
def test_a_rank_that_is_lost_is_named(tmp_path, port, deed, message):
    code, errors = run(tmp_path, port, deed)
    assert code == 1
    pid = (tmp_path / "1").read_text()
    assert f"error: rank 1 ({socket.gethostname()}, process {pid}) {message}\n" in errors[0]
    assert "Traceback" not in errors[0]


def test_what_all_ranks_fail_for_is_said_once(tmp_path, port):
    code, errors = run(tmp_path, port, "all fail")
    assert (code, messages(errors)) == (1, [["error: of all"], []])


def test_ranks_with_other_settings_are_refused_by_name(tmp_path, port):
    settings = '{"SEED": 1, "DATA_DIR": "a"}', '{"SEED": 2, "DATA_DIR": "b"}'
    code, errors = run(tmp_path, port, settings=settings)
    assert code == 2
    assert "same configuration\n  SEED is 1 on rank 0 and 2 on rank 1\n" in errors[0]
    assert "DATA_DIR" not in errors[0] and messages(errors)[1] == []


def test_a_missing_rank_is_waited_for_only_so_long(tmp_path, port):
    code, errors = run(tmp_path, port, n=1)
    assert code == 1
    assert f"error: the ranks did not meet at 127.0.0.1:{port}: " in errors[0]
    assert "Traceback" not in errors[0]


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_ranks_save_and_end_when_their_launcher_is_killed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{PROGRAM}")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher = subprocess.Popen(
        [*torchrun, "--nproc-per-node=2", program, tmp_path, "nothing", "{}", "{}"],
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not all((tmp_path / name).exists() for name in "01"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    launcher.send_signal(signal.SIGKILL)
    said, _ = launcher.communicate(timeout=60)  # until both ranks have closed their end
    assert said.count("saved") == 2
