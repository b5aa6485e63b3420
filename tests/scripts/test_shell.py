# SPDX-License-Identifier: MIT
"""`make shell` and `source scripts/activate`: bare commands find what make has written."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from lib.config.tree import Tree
from lib.files import ROOT
from scripts import shell

BIN = str(Path(sys.executable).parent)
HIDDEN = ("MAKEFLAGS", "MAKELEVEL", "PYTHONPATH", "MLFLOW_TRACKING_URI", "COMMAND")
PLAIN = {name: text for name, text in os.environ.items() if name not in HIDDEN}
SYSTEM = {"VENV": "system", "PYTHON3": sys.executable}


def run(*command: str, cwd: Path = ROOT, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=cwd, env={**PLAIN, **SYSTEM, "PATH": "/usr/bin:/bin", **variables},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_the_default_is_where_mlflow_itself_looks():
    from mlflow.store.tracking import DEFAULT_TRACKING_URI

    assert Tree().values()["MLFLOW_TRACKING_URI"] == DEFAULT_TRACKING_URI == shell._FOUND_BY_MLFLOW


def test_one_command_in_the_environment():
    seen = 'command -v mlflow; pwd; echo "it\'s [$PYTHONPATH$MAKEFLAGS$MAKELEVEL]"; yes | head -1'
    done = run("make", "shell", f"COMMAND={seen}")
    assert done.stdout.splitlines() == [f"{BIN}/mlflow", str(ROOT), "it's []", "y"]
    assert done.stderr == ""  # also no broken pipe
    assert run("make", "shell", "COMMAND=exit 3").returncode == 2


def test_without_a_terminal_it_says_what_to_type():
    done = run("make", "shell")
    assert done.returncode == 2
    assert 'make shell needs a terminal; without one: make shell COMMAND="mlflow ui"' in done.stderr


@pytest.mark.parametrize(
    ("uri", "exported"),
    [
        ("sqlite:///mlflow.db", None),
        ("sqlite:///runs of $me/it's.db", f"sqlite:///{ROOT}/runs of $me/it's.db"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_where_mlflow_is_reaches_the_shell_that_sources(uri, exported, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    text = shell.exports() + 'echo "$MLFLOW_TRACKING_URI"'
    done = subprocess.run(["sh", "-c", text], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == f"{exported or ''}\n"


def test_the_configuration_says_where(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(shell, "setting", {"MLFLOW_TRACKING_URI": "http://configured"}.get)
    assert shell.variables()["MLFLOW_TRACKING_URI"] == "http://configured"


def test_source_activates_and_refuses_elsewhere(tmp_path):
    typed = "source scripts/activate && command -v mlflow"
    assert run("bash", "-c", typed).stdout == f"{BIN}/mlflow\n"
    done = run("bash", "-c", f"source {ROOT}/scripts/activate; echo $?", cwd=tmp_path)
    assert done.stdout == "2\n"
    assert "type it in the root of the project" in done.stderr
    done = run("bash", "-c", "source scripts/activate; echo $?", VENV=str(tmp_path / "none"))
    assert done.stdout == "2\n"
    assert "type first: make install" in done.stderr


def test_an_interactive_bash_whose_bashrc_sets_the_path(tmp_path):
    """In a terminal: the environment's programs come first all the same, and exit is no error."""
    (tmp_path / ".bashrc").write_text("PATH=/usr/bin:/bin; MINE=also\n")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["make", "shell"], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
        env={**PLAIN, **SYSTEM, "HOME": str(tmp_path), "SHELL": "/bin/bash"},
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, b'echo "<$MINE $(command -v mlflow)>"; false; exit\n')
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:  # how a terminal says that nobody is left
        pass
    assert process.wait(60) == 0
    assert f"<also {BIN}/mlflow>" in seen.decode()
