# SPDX-License-Identifier: MIT
"""What is said before training: W&B's login, missing packages; without SDK and without network."""

import os
import subprocess
import sys

import pytest

from lib.config.trackers import TRACKERS
from lib.tracking import launch
from lib.tracking.wandb_login import wandb_mode


@pytest.mark.parametrize(
    ("environ", "offline", "expected"),
    [
        ({}, False, ("offline", "not logged in")),
        ({}, True, ("offline", "WANDB_OFFLINE=y")),
        ({"WANDB_API_KEY": "x"}, False, ("online", "logged in")),
        ({"WANDB_API_KEY": "x"}, True, ("offline", "WANDB_OFFLINE=y")),
        ({"WANDB_API_KEY": "x", "WANDB_MODE": "online"}, True, ("online", "logged in")),
        ({"WANDB_MODE": "online"}, False, ("offline", "not logged in")),
        ({"WANDB_API_KEY": "x", "WANDB_MODE": "offline"}, False, ("offline", "WANDB_MODE=offline")),
        ({"WANDB_MODE": "disabled"}, False, ("disabled", "WANDB_MODE=disabled")),
    ],
)
def test_wandb_mode(home, environ, offline, expected):
    assert wandb_mode(offline, environ | {"NETRC": str(home / "netrc")}) == expected


def test_a_login_in_the_netrc_file(home):
    (home / "netrc").write_text("machine api.wandb.ai login user password x\n")
    environ = {"NETRC": str(home / "netrc")}
    assert wandb_mode(False, environ)[0] == "online"
    assert wandb_mode(False, environ | {"WANDB_BASE_URL": "https://own.host"})[0] == "offline"


@pytest.mark.slow
def test_the_mode_that_wandbs_own_command_sets(home):
    """`wandb offline` and `wandb disabled` hold here as in any script."""
    environ = {"WANDB_API_KEY": "x", "WANDB_DIR": str(home), "HOME": str(home)}
    plain = {name: text for name, text in os.environ.items() if not name.startswith("WANDB_")}

    def typed(command):
        words = [sys.executable, "-m", "wandb", command]
        subprocess.run(words, cwd=home, env=plain | environ, check=True, capture_output=True)
        return wandb_mode(False, environ)

    assert wandb_mode(False, environ)[0] == "online"
    assert typed("offline") == ("offline", "`wandb offline` was typed here")
    assert wandb_mode(False, environ | {"WANDB_MODE": "online"})[0] == "online"
    assert typed("online")[0] == "online"
    assert typed("disabled")[0] == "disabled"
    (home / "wandb" / "settings").write_bytes(b"\xff no settings")
    assert wandb_mode(False, environ)[0] == "online"


def test_both_cures_are_said(home, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    said: list[str] = []
    assert launch.check(["wandb", "tensorboard"], {}, said.append) == ("wandb", "tensorboard")
    assert len(said) == 1
    assert "wandb login" in said[0]
    assert "WANDB_OFFLINE=y" in said[0]


def test_disabled_is_left_out(home, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    said: list[str] = []
    assert launch.check(["wandb"], {}, said.append) == ()
    assert "WANDB_MODE=disabled" in said[0]


def test_the_training_process_imports_no_sdk(home):
    code = "import lib.runs.run, sys; print([m for m in sys.modules if m in %r])"
    sdks = [tracker.package for tracker in TRACKERS.values()] + ["numpy", "PIL", "psutil"]
    done = subprocess.run([sys.executable, "-c", code % sdks], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
