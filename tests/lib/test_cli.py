# SPDX-License-Identifier: MIT
"""How programs end: exit codes, and what is said about a package that is not there."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lib import cli
from tests.models import MODELS, ROOT


def programs() -> list[Path]:
    """What ends through run_main."""
    folders = ("scripts", "benchmarks", *MODELS)
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    texts = {path: path.read_text() for path in files}
    return [p for p, text in texts.items() if "    run_main(" in text and '"__main__"' in text]


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
        ("raise signals.Terminated(signal.SIGUSR2)", 140, ""),
    ],
)
def test_exit_codes(statement, code, message):
    result = run(
        "import signal\nfrom lib import cli, errors, signals\n"
        f"def main():\n    {statement}\ncli.run_main(main)"
    )
    assert (result.returncode, result.stderr) == (code, message)


def test_a_defect_keeps_its_traceback():
    result = run("from lib import cli\ncli.run_main(lambda: 1 // 0)")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


@pytest.mark.parametrize("package", ["kconfiglib", "package_that_is_not_there.part"])
def test_a_missing_package_is_named_with_the_cure(package):
    result = run(
        "from lib.cli import begin\nbegin()\nimport sys\nsys.modules['kconfiglib'] = None\n"
        f"import {package}"
    )
    assert result.returncode == 1
    assert f"has no package {package.partition('.')[0]}" in result.stderr
    assert "VENV=system" not in result.stderr
    assert "Traceback" not in result.stderr


def test_the_cure_fits_the_interpreter(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "_ROOT", str(tmp_path))
    monkeypatch.delenv("VENV", raising=False)
    assert "Run `make install`" in cli._cure()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.installed").touch()
    assert cli._cure() == "Use .venv/bin/python, or make, instead."
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert "-m pip install -r requirements.txt" in cli._cure()
    monkeypatch.setenv("VENV", "system")
    assert cli._cure().startswith("Leave VENV=system out")


def test_importing_has_no_side_effect():
    code = (
        "import signal, sys, lib.cli, lib.errors, lib.config.settings\n"
        "assert sys.excepthook is sys.__excepthook__\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    assert run(code).returncode == 0


@pytest.mark.parametrize("stage", ["", "cli.run_main(lambda: print('main', flush=True) or wait())"])
def test_ctrl_c_before_main_and_in_it_leaves_no_traceback(stage):
    code = (
        "import sys, time\nfrom lib import cli\ncli.begin()\n"
        "def wait():\n    print('ready', flush=True)\n    time.sleep(60)\n"
        f"{stage}\nwait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.stdout.readline() != "ready\n":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130 if stage else -signal.SIGINT, "")


def test_ctrl_c_while_another_program_starts_leaves_no_traceback(tmp_path):
    """It comes with the first instruction here, while Python is still starting."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal, sys\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from lib import cli\ncli.begin()\nprint('went on')"
    )
    result = run(f"from lib import cli\ncli.become({str(program)!r})")
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")


NOTES = """
from lib.cli import become, begin, run_main
begin()
import os, signal, sys
from lib.signals import noted_saves
os.kill(os.getpid(), signal.SIGUSR1)
print(len(noted_saves), sys.argv[1:], flush=True)
if len(sys.argv) == 1:
    become(sys.argv[0], "--resume", "auto")
"""


def test_sigusr1_ends_no_program_and_is_noted_across_an_exec(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(NOTES)
    done = subprocess.run(
        [sys.executable, program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["1 []", "2 ['--resume', 'auto']"]


def test_sigusr1_that_is_ignored_stays_ignored():
    code = (
        "import os, signal\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
        "from lib.cli import begin\nbegin()\nfrom lib.signals import noted_saves\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\nprint(noted_saves)"
    )
    assert run(code).stdout == "[]\n"


def test_any_file_name_can_be_printed():
    result = run("from lib import cli\ncli.begin()\nimport os\nprint(os.fsdecode(b'\\xff'))")
    assert (result.returncode, result.stdout) == (0, "\\udcff\n")


@pytest.mark.parametrize("path", programs(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_program_begins_before_its_other_imports(path):
    body = iter(ast.parse(path.read_text()).body)
    for node in body:
        if isinstance(node, ast.If) and ast.unparse(node.body[0]) == "begin()":
            return
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            standard = module.partition(".")[0] in sys.stdlib_module_names
            assert standard or module == "lib.cli", ast.unparse(node)
    raise AssertionError("begin() is never called")


def test_a_missing_module_of_our_own_is_a_defect():
    result = run("from lib.cli import begin\nbegin()\nimport lib.module_that_is_not_there")
    assert "Traceback" in result.stderr
