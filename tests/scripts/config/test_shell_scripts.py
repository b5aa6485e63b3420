# SPDX-License-Identifier: MIT
"""The small shell scripts that Kconfig and people call."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
TOOLS = ("sh", "awk", "sed", "grep", "cat", "cut", "tr", "uname", "md5sum")


def call(script, *words, cwd=None, **variables):
    return subprocess.run(
        [SCRIPTS / script, *words],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def programs(tmp_path):
    """A PATH with standard tools only, to which a test adds programs; returns its adder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool))

    def add(name, body):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
        return str(folder)

    add.path = str(folder)
    return add


# generate-project-name.sh


def test_a_project_name_is_model_and_five_hex_digits():
    name = call("generate-project-name.sh", "gpt2", "tracking").stdout
    assert re.fullmatch(r"gpt2-[0-9a-f]{5}\n", name)
    assert call("generate-project-name.sh", "gpt2").stdout == name
    lenet5 = call("generate-project-name.sh", "lenet5").stdout
    assert lenet5 == name.replace("gpt2", "lenet5")


def test_the_directory_counts_by_its_name_whatever_that_is(tmp_path):
    names = ["plain", "two words", "quote ' and \"", "$(touch pwned)", "-n", "line\nbreak", "漢字"]
    found = set()
    for name in names:
        folder = tmp_path / name
        folder.mkdir()
        result = call("generate-project-name.sh", "m", cwd=folder)
        assert result.stderr == ""
        assert re.fullmatch(r"m-[0-9a-f]{5}\n", result.stdout)
        found.add(result.stdout)
    assert len(found) == len(names)
    assert not list(tmp_path.rglob("pwned"))


def test_a_machine_without_network_tools_has_a_stable_name(programs):
    results = [call("generate-project-name.sh", "m", PATH=programs.path) for _ in range(2)]
    assert results[0].stdout == results[1].stdout
    assert re.fullmatch(r"m-[0-9a-f]{5}\n", results[0].stdout)
    assert results[0].stderr == ""


def test_the_first_address_counts_and_ifconfig_does_for_ip(programs):
    other = programs("ip", "echo '2: eth0    inet 10.0.0.2/24 brd 10.0.0.255 scope global eth0'")
    first = call("generate-project-name.sh", "m", PATH=other).stdout
    programs("ip", "echo '2: eth0    inet 10.0.0.3/24 brd 10.0.0.255 scope global eth0'")
    second = call("generate-project-name.sh", "m", PATH=other).stdout
    programs("ip", "exit 1")
    programs(
        "ifconfig", "printf 'lo: x\\n  inet 127.0.0.1\\neth0: x\\n  inet 10.0.0.2  netmask\\n'"
    )
    assert first != second
    assert call("generate-project-name.sh", "m", PATH=other).stdout == first


# check-cli-set-var.sh


@pytest.mark.parametrize(
    ("value", "answer"), [("wandb", "y"), ("$(touch pwned)", "y"), ("", "n"), (" ", "y")]
)
def test_a_variable_is_set_when_it_is_not_empty(tmp_path, value, answer):
    result = call("check-cli-set-var.sh", "SOME_VAR", cwd=tmp_path, SOME_VAR=value)
    assert result.stdout == f"{answer}\n"
    assert not list(tmp_path.iterdir())


def test_a_variable_that_does_not_exist_is_not_set():
    assert call("check-cli-set-var.sh", "NO_SUCH_VARIABLE").stdout == "n\n"


@pytest.mark.parametrize("name", ["", "1A", "A B", "A}$(touch pwned)", "A;touch pwned"])
def test_what_is_no_variable_name_is_refused(tmp_path, name):
    result = call("check-cli-set-var.sh", name, cwd=tmp_path)
    assert result.returncode == 2
    assert "usage" in result.stderr
    assert not list(tmp_path.iterdir())


# check-tracker-enabled.sh: its words are compared with Python's in lib/config/test_trackers.py


def test_check_tracker_enabled_wants_a_name():
    assert call("check-tracker-enabled.sh").returncode == 2
    assert call("check-tracker-enabled.sh", "wandb").stdout == "n\n"


# detect-gpus.sh

NVIDIA_SMI = """
case "$1" in
--query-gpu=index) printf '0\\n1\\n' ;;
--query-gpu=name) printf 'NVIDIA A10G\\nNVIDIA A10G\\n' ;;
--query-gpu=memory.total) printf '23028\\n23028\\n' ;;
esac
"""
ROCM_SMI = """
case "$1" in
--showmeminfo)
    echo '============ ROCm System Management Interface ============'
    printf 'GPU[0]\\t\\t: VRAM Total Memory (B): 68702699520\\n'
    printf 'GPU[0]\\t\\t: VRAM Total Used Memory (B): 10850304\\n' ;;
--showproductname) printf 'GPU[0]\\t\\t: Card series: \\t\\tAMD Instinct MI210\\n' ;;
esac
"""


def detect(programs, sysfs="/nonexistent"):
    words = ("count", "vendor", "name", "memory")
    results = [
        call("train/detect-gpus.sh", word, PATH=programs.path, DETECT_GPUS_SYSFS=str(sysfs))
        for word in words
    ]
    assert all(result.returncode == 0 and not result.stderr for result in results)
    return [result.stdout.splitlines() for result in results]


def test_no_gpu(programs):
    assert detect(programs) == [["0"], ["none"], [], []]


def test_nvidia(programs):
    programs("nvidia-smi", NVIDIA_SMI)
    assert detect(programs) == [["2"], ["nvidia"], ["NVIDIA A10G"] * 2, ["23028"] * 2]


@pytest.mark.parametrize(
    "body",
    ["echo 'NVIDIA-SMI has failed because it could not talk to the driver'; exit 9", "exit 1"],
)
def test_a_driver_without_device_is_no_gpu(programs, body):
    programs("nvidia-smi", body)
    assert detect(programs) == [["0"], ["none"], [], []]


def test_amd_by_rocm_smi(programs):
    programs("rocm-smi", ROCM_SMI)
    programs("nvidia-smi", "exit 9")
    assert detect(programs) == [["1"], ["amd"], ["AMD Instinct MI210"], ["65520"]]


def test_amd_by_sysfs(programs, tmp_path):
    for card, vendor in (("card0", "0x8086"), ("card1", "0x1002"), ("card1-DP-1", "0x1002")):
        device = tmp_path / "drm" / card / "device"
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "mem_info_vram_total").write_text("17163091968\n")
    assert detect(programs, tmp_path / "drm") == [["1"], ["amd"], ["AMD GPU"], ["16368"]]


def test_detect_gpus_wants_a_known_word():
    for words in ([], ["what"]):
        result = call("train/detect-gpus.sh", *words)
        assert result.returncode == 2
        assert "usage" in result.stderr
