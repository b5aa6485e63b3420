# SPDX-License-Identifier: MIT
"""Programs of sweeps in forks of a process that has imported everything, killed at chosen moments.

    with Forks(tree) as forks:
        program = forks.start(SWEEP="grid", kill="after lib.sweep.study:Study.claim")
        assert program.wait() == -9

A fork begins without the two seconds that imports take. In the tree, this file is the program that
forks; a fork is `scripts.sweep.run` with the variables given. `kill` ends it right before or after
the first call of a function, `stop` puts it to sleep there, and `set` replaces constants:
{"lib.sweep.x:NAME": value}.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

_LIMIT_S = 60.0


class Forks:
    """The process in the tree, and what it is told to start."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree

    def __enter__(self) -> "Forks":
        with (self._tree.root / "said").open("ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                cwd=self._tree.root, env=self._tree.environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def start(
        self,
        kill: str = "",
        stop: str = "",
        set: "dict[str, Any] | None" = None,
        **variables: str,
    ) -> "Fork":
        """A fork that runs the sweep of these variables."""
        return Fork(self, self.ask(kill=kill, stop=stop, set=set or {}, variables=variables))

    def sweep(self, **how: Any) -> int:
        """`start` and `wait`: the exit code, -n if signal n ended it."""
        return self.start(**how).wait()

    def ask(self, **what: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


class Fork(NamedTuple):
    """A program that was started."""

    forks: Forks
    pid: int

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    @property
    def sleeps(self) -> bool:
        """Whether it was stopped by SIGSTOP."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].startswith("T")

    def wait(self, limit: float = _LIMIT_S) -> int:
        """Its exit code, -n if signal n ended it; it is killed after `limit` seconds."""
        deadline = time.monotonic() + limit
        while (code := self.forks.ask(code_of=self.pid)) is None:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                raise TimeoutError(f"the sweep has not ended after {limit} s")
            time.sleep(0.05)
        return code


# ---------------------------------------------------------------- in the tree


def _serve() -> None:
    sys.path[0] = os.getcwd()  # noqa: PTH109, instead of the folder of this file
    program = importlib.import_module("scripts.sweep.run")
    for name in ("optuna", "sqlalchemy.dialects.sqlite", "lib.sweep.study", "lib.sweep.worker"):
        importlib.import_module(name)
    ended: dict[int, int] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "code_of" in asked:
            print(json.dumps(_code(asked["code_of"], ended)), flush=True)
            continue
        child = os.fork()
        if child == 0:
            _sweep(program, **asked)
        print(child, flush=True)


def _code(pid: int, ended: dict[int, int]) -> int | None:
    if pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended.get(pid)


def _sweep(
    program: Any, kill: str, stop: str, set: dict[str, Any], variables: dict[str, str]
) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.argv = ["sweep"]
    os.environ.update(variables)
    for where, value in set.items():
        setattr(*_place(where), value)
    for number, place in ((signal.SIGKILL, kill), (signal.SIGSTOP, stop)):
        if place:
            _signal_at(number, *place.split())
    try:
        importlib.import_module("lib.cli").run_main(program.main)
    except SystemExit as error:
        sys.stderr.flush()
        os._exit(error.code if isinstance(error.code, int) else 1)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)


def _place(where: str) -> tuple[Any, str]:
    """The object and the name of its attribute that `module:Name.name` stands for."""
    module, _, path = where.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, last = path.split(".")
    for name in outer:
        owner = getattr(owner, name)
    return owner, last


def _signal_at(number: int, when: str, where: str) -> None:
    """Send itself the signal before or after the first call of the function at `where`."""
    owner, name = _place(where)
    original = getattr(owner, name)

    def interrupted(*arguments: Any, **named: Any) -> Any:
        setattr(owner, name, original)
        if when == "before":
            os.kill(os.getpid(), number)
        result = original(*arguments, **named)
        if when == "after":
            os.kill(os.getpid(), number)
        return result

    setattr(owner, name, interrupted)


if __name__ == "__main__":
    _serve()
