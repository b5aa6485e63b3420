# SPDX-License-Identifier: MIT
"""scripts/train/launch.sh: how many processes, where they meet, what happens when one dies."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
NAMES = ("NPROC", "NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "MAX_RESTARTS")

# Adds up the ranks plus one, and says how it was started; rank 1 dies once if KILL names a file.
# The second time rank 0 comes late, so that rank 1 would meet what the first attempt left behind.
PROGRAM = """
import os, signal, time
import torch, torch.distributed as dist

world = int(os.environ.get("WORLD_SIZE", 1))
if world > 1:  # as lib.train.ranks.process_group does
    rank, kill = int(os.environ["RANK"]), os.environ.get("KILL", "/dev/null")
    if rank == 0 and kill != "/dev/null" and os.path.exists(kill):
        time.sleep(2)
    dist.init_process_group("gloo")
    if rank == 1 and not os.path.exists(kill):
        open(kill, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    total = torch.tensor(rank + 1)
    dist.all_reduce(total)
    print(f"world {world} total {total} threads {os.environ.get('OMP_NUM_THREADS')}")
    dist.destroy_process_group()
else:
    print(f"alone, by torchrun {'LOCAL_RANK' in os.environ}")
"""


@pytest.fixture
def start(tmp_path):
    """Start launch.sh in a directory with this program as the model; variables as from make."""
    (tmp_path / "config.py").write_text(
        "config = {\n    'MODEL': 'small',\n    'DEVICE': 'cpu',\n}\n"
    )
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "train.py").write_text(PROGRAM)
    environment = {k: v for k, v in os.environ.items() if k not in (*NAMES, "OMP_NUM_THREADS")}

    def start(**variables) -> subprocess.Popen:
        return subprocess.Popen(
            [SCRIPTS / "train/launch.sh", sys.executable],
            cwd=tmp_path,
            env=environment | {name: str(value) for name, value in variables.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NPROC": "0"}, "NPROC=0: a number of processes from 1 on"),
        ({"NPROC": "two"}, "NPROC=two"),
        ({"NNODES": 2}, "NNODES=2 needs MASTER_ADDR"),
        ({"MAX_RESTARTS": "-1"}, "MAX_RESTARTS=-1: how often"),
        (
            {"NNODES": 2, "NODE_RANK": 0, "MASTER_ADDR": "localhost", "MAX_RESTARTS": 1},
            "MAX_RESTARTS=1 is for machines that find their own order: leave out NODE_RANK",
        ),
        ({"NNODES": "1:2", "NODE_RANK": 0, "MASTER_ADDR": "localhost"}, "NNODES=1:2 is for"),
    ],
)
def test_bad_use(start, variables, message):
    code, out, err = finish(start(**variables))
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.slow
def test_one_process_needs_no_launcher(start):
    assert finish(start())[:2] == (0, "alone, by torchrun False\n")


@pytest.mark.slow
def test_processes_share_the_cores(start):
    code, out, _ = finish(start(NPROC=2))
    threads = max(1, os.cpu_count() // 2)
    assert code == 0
    assert out.count(f"world 2 total 3 threads {threads}") == 2


@pytest.mark.slow
@pytest.mark.parametrize("ordered", [True, False], ids=["NODE_RANK", "own order"])
def test_two_machines_meet(start, ordered):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = {"NNODES": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": probe.getsockname()[1]}
    machines = [start(**where, **({"NODE_RANK": k} if ordered else {})) for k in range(2)]
    for code, out, err in map(finish, machines):
        assert code == 0, err
        assert out.startswith("world 2 total 3 ")


@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, 2])
def test_a_killed_process_is_started_again_with_the_others(start, machines, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = {"NPROC": 2}
    if machines == 2:
        where = {"NNODES": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    killed = tmp_path / "killed"
    started = [start(**where, MAX_RESTARTS=1, KILL=killed) for _ in range(machines)]
    for code, out, err in map(finish, started):
        assert code == 0, err
        assert out.count("world 2 total 3 ") == 2 // machines
    assert killed.exists()


@pytest.mark.slow
def test_without_restarts_the_death_of_one_ends_all(start, tmp_path):
    code, out, _ = finish(start(NPROC=2, KILL=tmp_path / "killed"))
    assert code != 0
    assert "world" not in out
