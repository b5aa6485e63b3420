# SPDX-License-Identifier: MIT
"""A shell in which `mlflow`, `trackio`, `wandb`, `tensorboard`, `dvc` and `python` find the runs.

    make shell                                  # until exit
    make shell COMMAND="mlflow ui --port 5001"  # that command alone
    source scripts/activate                     # the same in the shell that you are in

It begins in the root of the project with the environment's programs first in PATH. Where the
configuration keeps MLflow's runs in another place than MLflow itself looks, MLFLOW_TRACKING_URI
says it; it is read when the shell starts. Without a terminal there has to be a COMMAND.

Flags: --export prints the variables as commands for a shell.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from lib.errors import BadUse
from lib.files import ROOT
from scripts.tracking.pages import setting

_FOUND_BY_MLFLOW = "sqlite:///mlflow.db"  # in the current directory
_OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKE_TERMOUT", "MAKE_TERMERR", "COMMAND", "V")


def variables() -> dict[str, str]:
    """What the commands need, beside what the environment has."""
    folder = str(Path(sys.executable).parent)
    others = [part for part in os.environ.get("PATH", "").split(os.pathsep) if part != folder]
    found = {"PATH": os.pathsep.join([folder, *others])}
    if sys.prefix != sys.base_prefix:
        found["VIRTUAL_ENV"] = sys.prefix
    uri = os.environ.get("MLFLOW_TRACKING_URI") or setting("MLFLOW_TRACKING_URI")
    if uri != _FOUND_BY_MLFLOW:
        path = uri.removeprefix("sqlite:///")
        found["MLFLOW_TRACKING_URI"] = uri if path == uri else f"sqlite:///{ROOT / path}"
    return found


def exports() -> str:
    """`variables` as commands of sh."""
    return "".join(f"export {name}={shlex.quote(text)}\n" for name, text in variables().items())


def environment() -> dict[str, str]:
    """That of the shell: without what make has put there for its recipes."""
    kept = {name: text for name, text in os.environ.items() if name not in _OF_MAKE}
    path = kept.pop("PYTHONPATH", "").split(os.pathsep)
    if others := [part for part in path if part and part != str(ROOT)]:
        kept["PYTHONPATH"] = os.pathsep.join(others)
    return kept | variables()


def converse() -> None:
    """The user's shell, until exit. Bash gets the variables after ~/.bashrc, which may set PATH."""
    shell, words, files = os.environ.get("SHELL") or "bash", [], ()
    if Path(shell).name == "bash":
        reading, writing = os.pipe()
        text = f'[ ! -f ~/.bashrc ] || . ~/.bashrc\n{exports()}PS1="({ROOT.name}) $PS1"\n'
        os.write(writing, text.encode())  # far less than a pipe holds
        os.close(writing)
        words, files = ["--rcfile", f"/dev/fd/{reading}"], (reading,)
    subprocess.run([shell, *words, "-i"], env=environment(), pass_fds=files, check=False)


def main() -> int:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--command", default=os.environ.get("COMMAND", ""))
    flags.add_argument("--export", action="store_true")
    given = flags.parse_args()
    if given.export:
        print(exports(), end="")
        return 0
    if not given.command and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadUse(
            'make shell needs a terminal; without one: make shell COMMAND="mlflow ui", '
            "or in a script: source scripts/activate"
        )
    os.chdir(ROOT)
    if not given.command:
        converse()
        return 0
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    os.execvpe("bash", ["bash", "-c", given.command], environment())


if __name__ == "__main__":
    run_main(main)
