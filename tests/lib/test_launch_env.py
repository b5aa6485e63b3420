# SPDX-License-Identifier: MIT
"""The launch environment: right, absent, or refused by name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import BadUse
from lib.launch_env import LaunchEnv, launch_env

ROOT = Path(__file__).resolve().parents[2]
MEETING = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
TWO = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", **MEETING}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, LaunchEnv(0, 1, 0)),
        (MEETING, LaunchEnv(0, 1, 0)),  # exported for launch.sh
        ({"RANK": "", "WORLD_SIZE": ""}, LaunchEnv(0, 1, 0)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, LaunchEnv(0, 1, 0)),
        (TWO, LaunchEnv(1, 2, 1, local_size=2)),
        (TWO | {"RANK": "7", "WORLD_SIZE": "8"}, LaunchEnv(7, 8, 1, local_size=2)),
        (
            {k: v for k, v in TWO.items() if k != "LOCAL_WORLD_SIZE"},
            LaunchEnv(1, 2, 1, local_size=2),
        ),
        ({"LAUNCH_ID": "mine"}, LaunchEnv(launch_id="mine")),
        (TWO | {"TORCHELASTIC_RUN_ID": "none"}, LaunchEnv(1, 2, 1, local_size=2, by_torchrun=True)),
        (
            TWO | {"TORCHELASTIC_RUN_ID": "t"},
            LaunchEnv(1, 2, 1, local_size=2, by_torchrun=True, launch_id="t"),
        ),
        (
            TWO | {"TORCHELASTIC_RUN_ID": "t", "LAUNCH_ID": "mine"},
            LaunchEnv(1, 2, 1, local_size=2, by_torchrun=True, launch_id="mine"),
        ),
    ],
)
def test_what_a_launcher_sets(environment, expected):
    assert launch_env(environment) == expected
    assert expected.is_main == (expected.rank == 0)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "1"}, "RANK=1 in the environment, but WORLD_SIZE is not set"),
        ({"RANK": "abc"}, "RANK=abc in the environment, but WORLD_SIZE is not set"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 in the environment, but RANK is not set"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK=1 in the environment, but RANK is not set"),
        (TWO | {"RANK": "abc"}, "RANK=abc in the environment, allowed is a whole number from 0 to"),
        (TWO | {"RANK": "2"}, r"RANK=2 .* from 0 to 1 \(WORLD_SIZE=2\)"),
        (TWO | {"RANK": "-1"}, "RANK=-1 "),
        (TWO | {"RANK": "²"}, "RANK=² "),
        (TWO | {"RANK": "1" * 5000}, "RANK=1111"),
        (TWO | {"WORLD_SIZE": "0"}, "WORLD_SIZE=0 .* from 1 up"),
        (TWO | {"LOCAL_RANK": "2"}, "LOCAL_RANK=2 .* from 0 to 1"),
        (TWO | {"LOCAL_RANK": ""}, "WORLD_SIZE=2 .* but LOCAL_RANK is not set"),
        (TWO | {"MASTER_ADDR": ""}, "WORLD_SIZE=2 .* but MASTER_ADDR is not set"),
        (TWO | {"MASTER_PORT": "99999"}, "MASTER_PORT=99999 .* from 1 to 65535"),
        (TWO | {"LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE=3 .* from 1 to 2"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_cure(environment, message):
    with pytest.raises(BadUse, match=message) as raised:
        launch_env(environment)
    assert "make NPROC=" in str(raised.value) and "unset RANK" in str(raised.value)


values = st.one_of(st.integers(-2, 5).map(str), st.text("01²-+ x\0", max_size=4))


@given(st.dictionaries(st.sampled_from(sorted(TWO)), values))
def test_any_environment_is_understood_or_refused(environment):
    try:
        launch = launch_env(environment)
    except BadUse:
        return
    assert 0 <= launch.rank < launch.world_size
    assert 0 <= launch.local_rank < launch.world_size


RUN = """
import sys
from lib.cli import run_main
from lib.runs.run import Run
run_main(lambda: Run.create(sys.argv[1], "x").print_summary())
"""


def test_a_program_refuses_it_before_it_makes_anything(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", RUN, tmp_path / "out"],
        env={**os.environ, "RANK": "1"}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: RANK=1 in the environment, but WORLD_SIZE is not set")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
