# SPDX-License-Identifier: MIT
"""scripts/train/launch.py: how many processes, where they meet, what happens when one dies."""

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks.config import copy_tree

NAMES = (
    *("SET", "FRAGMENTS", "TRACKER", "DEFCONFIG", "KCONFIG_CONFIG", "OMP_NUM_THREADS"),
    *("NPROC", "NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "MAX_RESTARTS", "LAUNCH_ID"),
)

# Adds up the ranks plus one, and says how it was started; rank 1 dies once if KILL names a file.
# The second time rank 0 comes late, so that rank 1 would meet what the first attempt left behind.
PROGRAM = """
import os, signal, time
import torch, torch.distributed as dist

world = int(os.environ.get("WORLD_SIZE", 1))
if world > 1:  # as lib.train.group.process_group does
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
    """Start a launch in a tree with this program as the model; variables as from make."""
    copy_tree(tmp_path)
    (tmp_path / "lenet5" / "train.py").write_text(PROGRAM)
    (tmp_path / ".config").write_text("CONFIG_MODEL_LENET5=y\nCONFIG_DEVICE_CPU=y\n")
    environment = {k: v for k, v in os.environ.items() if k not in NAMES}

    def start(**variables) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.train.launch"],
            cwd=tmp_path,
            env=environment | {name: str(value) for name, value in variables.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


# Says what it was asked to train, once .config has had time to change.
REPORT = """
import os, pathlib, sys, time
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from lib.config.settings import program_settings
time.sleep(0.3)
settings = program_settings("lenet5")
# One write: two processes share the pipe.
print(f"trains {settings.LEARNING_RATE} {settings.BATCH_SIZE}\\n", end="", flush=True)
time.sleep(float(os.environ.get("LINGER", 0)))
"""


def trained(process: subprocess.Popen) -> list[str]:
    code, out, err = finish(process)
    assert code == 0, err
    return [line for line in out.splitlines() if line.startswith("trains")]


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
            "MAX_RESTARTS=1 needs machines that agree on their order: leave out NODE_RANK",
        ),
        (
            {"NNODES": "1:2", "NODE_RANK": 0, "MASTER_ADDR": "localhost"},
            "NNODES=1:2 needs machines",
        ),
        ({"NNODES": "1:2", "MASTER_ADDR": "localhost"}, "machines that restart need LAUNCH_ID=<a"),
        ({"LAUNCH_ID": "a b"}, "LAUNCH_ID=a b: up to 100 letters"),
    ],
)
def test_bad_use(start, variables, message):
    code, out, err = finish(start(**variables))
    assert code == 2 and "alone" not in out
    assert message in err


@pytest.mark.slow
def test_one_process_needs_no_launcher(start):
    code, out, _ = finish(start())
    assert (code, out.splitlines()[1:]) == (0, ["alone, by torchrun False"])


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
        assert out.splitlines()[1].startswith("world 2 total 3 ")


@pytest.mark.slow
@pytest.mark.parametrize("machines", [1, 2])
def test_a_killed_process_is_started_again_with_the_others(start, machines, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = {"NPROC": 2}
    if machines == 2:
        where = {"NNODES": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LAUNCH_ID": "x"}
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


# Saves for LASTS seconds when it is asked to end.
SAVES = """
import os, pathlib, signal, time
def save(*_):
    pathlib.Path(f"saving{os.environ['RANK']}").touch()
    time.sleep(float(os.environ["LASTS"]))
    os._exit(143)
signal.signal(signal.SIGTERM, save)
pathlib.Path(f"ready{os.environ['RANK']}").touch()
signal.pause()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("lasts", "presses"), [(1, 1), (600, 2)])
def test_ctrl_c_lets_the_ranks_save_and_the_second_one_does_not(start, tmp_path, lasts, presses):
    def wait_for(name: str) -> None:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob(f"{name}?"))) < 2:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)

    (tmp_path / "lenet5" / "train.py").write_text(SAVES)
    process = start(NPROC=2, LASTS=lasts)
    wait_for("ready")
    process.send_signal(signal.SIGINT)
    wait_for("saving")
    if presses == 2:
        process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "Traceback" not in err


# Says which signals come, and ends of all but SIGUSR1 with that signal's exit code.
TELLS = """
import os, pathlib, signal, sys, time
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from lib.cli import begin
here = os.environ["RANK"] + "." + os.environ["TORCHELASTIC_RESTART_COUNT"]
time.sleep(float(os.environ.get("LATE", 0)))
def tell(number, frame):
    pathlib.Path(f"got{number}.{here}").touch()
    if number != signal.SIGUSR1:
        os._exit(128 + number)
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, tell)
begin()
pathlib.Path(f"ready.{here}").write_text(str(os.getpid()))
while True:
    signal.pause()
"""


@pytest.fixture
def wait_for(tmp_path):
    def wait_for(process: subprocess.Popen, pattern: str, count: int = 2) -> list[str]:
        deadline = time.monotonic() + 60
        while len(found := list(tmp_path.glob(pattern))) < count:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        return [path.read_text() for path in sorted(found)]

    return wait_for


@pytest.mark.slow
@pytest.mark.parametrize("late", [0, 3])
def test_the_launcher_passes_the_signals_of_schedulers_on(start, tmp_path, wait_for, late):
    """SIGUSR1 also where it comes before the ranks can handle it."""
    (tmp_path / "lenet5" / "train.py").write_text(TELLS)
    process = start(NPROC=2, LATE=late, MAX_RESTARTS=1)
    if late:
        while len(psutil.Process(process.pid).children()) < 2:
            assert process.poll() is None
    else:
        wait_for(process, "ready.*")
    process.send_signal(signal.SIGUSR1)
    wait_for(process, f"got{signal.SIGUSR1:d}.?.0")
    wait_for(process, "ready.?.0")
    process.send_signal(signal.SIGUSR2)
    code, _, err = finish(process)
    assert (code, "Traceback" in err) == (140, False)
    assert len(list(tmp_path.glob(f"got{signal.SIGUSR2:d}.?.0"))) == 2
    assert not list(tmp_path.glob("ready.?.1"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGKILL])
def test_a_rank_is_restarted_when_it_fails_and_not_when_it_is_asked_to_stop(
    start, tmp_path, wait_for, number
):
    (tmp_path / "lenet5" / "train.py").write_text(TELLS)
    process = start(NPROC=2, MAX_RESTARTS=1)
    os.kill(int(wait_for(process, "ready.?.0")[1]), number)
    if number == signal.SIGKILL:
        wait_for(process, "ready.?.1")
        process.terminate()
        assert finish(process)[0] == 143
    else:
        assert finish(process)[0] == 128 + number
        assert not list(tmp_path.glob("ready.?.1"))


# A package that swallows what a Ctrl-C raises while it is imported.
SWALLOWS = """
import pathlib, time
pathlib.Path("importing").touch()
try:
    time.sleep(1)
except BaseException:
    pass
"""


@pytest.mark.slow
def test_a_ctrl_c_while_pytorch_is_imported_is_not_lost(start, tmp_path):
    torchrun = tmp_path / "scripts" / "train" / "torchrun.py"
    torchrun.write_text(SWALLOWS + torchrun.read_text())
    process = start(NPROC=2)
    deadline = time.monotonic() + 60
    while not (tmp_path / "importing").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert code == 130
    assert "world" not in out and "Traceback" not in err


def snapshot(tree) -> dict[str, bytes]:
    return {name: (tree / name).read_bytes() for name in (".config", "config.py")}


def change(tree, command: str, **variables: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "scripts.config.change", command],
        cwd=tree,
        env=os.environ | variables,
        check=True,
        capture_output=True,
    )


def test_what_is_given_to_a_launch_holds_for_it_alone(start, tmp_path):
    (tmp_path / "lenet5" / "train.py").write_text(REPORT)
    assert trained(start()) == ["trains 0.002 64"]
    before = snapshot(tmp_path)
    process = start(SET="LEARNING_RATE=0.5 OPTIMIZER=adamwprune")
    out = process.communicate()[0]
    assert "for this launch alone:\n" in out
    assert "  LEARNING_RATE: 0.002 → 0.5\n" in out
    assert "  PRUNING_METHOD: none → state\n" in out
    assert "trains 0.5 64\n" in out
    assert snapshot(tmp_path) == before
    assert trained(start()) == ["trains 0.002 64"]


def test_launches_at_the_same_time_train_what_each_was_given(start, tmp_path):
    (tmp_path / "lenet5" / "train.py").write_text(REPORT)
    rates = ["0.011", "0.012", "0.013", "0.014"]
    launches = [start(SET=f"LEARNING_RATE={rate}") for rate in rates]
    for size in ("8", "16", "48"):
        change(tmp_path, "setconfig", SET=f"BATCH_SIZE={size} LEARNING_RATE=0.9")
    found = [line.split() for launch in launches for line in trained(launch)]
    assert [rate for _, rate, _ in found] == rates
    assert trained(start()) == ["trains 0.9 48"]


@pytest.mark.slow
def test_every_rank_trains_what_its_launch_was_given(start, tmp_path):
    (tmp_path / "lenet5" / "train.py").write_text(REPORT)
    launches = [start(NPROC=2, SET=f"LEARNING_RATE={rate}") for rate in ("0.011", "0.012")]
    change(tmp_path, "setconfig", SET="LEARNING_RATE=0.9")
    for launch, rate in zip(launches, ("0.011", "0.012"), strict=True):
        assert trained(launch) == [f"trains {rate} 64"] * 2


def test_two_first_launches_make_one_config(start, tmp_path):
    (tmp_path / "lenet5" / "train.py").write_text(REPORT)
    (tmp_path / ".config").unlink()
    outputs = [launch.communicate() for launch in [start(SET="BATCH_SIZE=8"), start()]]
    assert sorted(out.count("There is no .config yet") for out, _ in outputs) == [0, 1]
    assert "BATCH_SIZE=64" in (tmp_path / ".config").read_text()
    assert "trains 0.002 8\n" in outputs[0][0]
    assert "trains 0.002 64\n" in outputs[1][0]


def test_each_launch_says_what_config_has_that_is_not_a_default(start, tmp_path):
    (tmp_path / "lenet5" / "train.py").write_text(REPORT)
    change(tmp_path, "setconfig", SET="LEARNING_RATE=3e-4 DEVICE=auto DESCRIPTION='two words'")
    said = start(SET="SEED=3").communicate()[0]
    assert ".config: DESCRIPTION='two words' LEARNING_RATE=0.0003\n" in said


def test_an_edited_config_reaches_config_py_and_another_one_does_not(start, tmp_path):
    (tmp_path / "lenet5" / "train.py").write_text(REPORT)
    (tmp_path / "other").write_text("CONFIG_BATCH_SIZE=4\n")
    assert trained(start(SET="SEED=1")) == ["trains 0.002 64"]
    (tmp_path / ".config").write_text("CONFIG_BATCH_SIZE=8\n")
    assert trained(start(SET="SEED=1")) == ["trains 0.002 8"]
    assert "'BATCH_SIZE': 8," in (tmp_path / "config.py").read_text()
    assert trained(start(KCONFIG_CONFIG="other")) == ["trains 0.002 4"]
    assert "'BATCH_SIZE': 8," in (tmp_path / "config.py").read_text()


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_file_of_a_launch_goes_with_it(start, tmp_path, processes):
    (tmp_path / "lenet5" / "train.py").write_text(REPORT)

    def frozen():
        return set((tmp_path / ".launches").glob("*.json"))

    killed = start(LINGER="60", SET="SEED=1")
    while not (left := frozen()):
        assert killed.poll() is None
    launch = start(NPROC=processes)
    trained(launch)
    assert frozen() == left  # of the one that is running
    killed.kill()
    killed.communicate()
    assert frozen() == left
    trained(start())
    assert frozen() == set()


def test_a_wrong_value_starts_nothing(start, tmp_path):
    code, out, err = finish(start(SET="LEARNING_RATE=-1"))
    assert (code, out.count("by torchrun")) == (2, 0)
    assert "SET: LEARNING_RATE=-1: out of range" in err
    assert not list((tmp_path / ".launches").glob("*.json"))
