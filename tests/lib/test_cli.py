# SPDX-License-Identifier: MIT
"""How programs end: exit codes, and what is said about a package that is not there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(code: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("statement", "code", "message"),
    [
        ("return", 0, ""),
        ("return 3", 3, ""),
        ("raise errors.Failure('the disk is full')", 1, "error: the disk is full\n"),
        ("raise errors.BadUse('no such run')", 2, "error: no such run\n"),
        ("raise KeyboardInterrupt", 130, ""),
        ("raise signals.Terminated", 143, ""),
        ("raise signals.Terminated(1)", 129, ""),
    ],
)
def test_exit_codes(statement, code, message):
    result = run(
        f"from lib import cli, errors, signals\ndef main():\n    {statement}\ncli.run_main(main)"
    )
    assert (result.returncode, result.stderr) == (code, message)


def test_a_defect_keeps_its_traceback():
    result = run("from lib import cli\ncli.run_main(lambda: 1 // 0)")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_a_missing_package_is_named_with_the_cure():
    result = run("import lib.cli\nimport package_that_is_not_there.part")
    assert result.returncode == 1
    assert "has no package package_that_is_not_there" in result.stderr
    assert "pip install -r requirements.txt" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_module_of_our_own_is_a_defect():
    result = run("import lib.cli\nimport lib.module_that_is_not_there")
    assert "Traceback" in result.stderr
