# SPDX-License-Identifier: MIT
"""Kill a sweep at random moments with SIGKILL, start it again, and compare what it ends with.

    make bench-sweep-kills [N=10] [SEED=1]
    python -m benchmarks.sweep_kills [--kills 10] [--seed 1] [--cells 40] [--keep]

Sweeps of 40 cells of a tiny model (benchmarks/tiny), in a copy of the tree: one that nobody
disturbs; one by `make sweep JOBS=2` with its study in SQLite; and one by three processes with their
study in PostgreSQL, where that is installed, whose server is killed, too. What is killed is drawn
from the seed: the parent (`make sweep`), a worker (`make sweep-worker`), a training, all of these
at once, or the database. A kill follows a random number of completed runs, and then what it is to
hit, by a random time up to a second; a program that was killed is started again.

In the end there must be one completed run and one complete trial for each cell, with the numbers of
the undisturbed sweep, each evaluation once in its journal, and no process left over. Prints a table
in Markdown. Exit code 1 if something was lost, doubled or different; then the tree is kept.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.sweep_checks import End, look, processes
from benchmarks.sweep_tree import Tree, make_tree
from lib.errors import Failure
from lib.text import duration

SEEDS = 8
_POLL_S = 0.05
_LONGEST_PAUSE_S = 1.0  # before a kill, and before what died is started again
_RESTARTS = 20  # of all programs of a sweep, more than those that are killed
_WEIGHTS = {"sweep": 3, "worker": 4, "training": 3, "all": 1, "database": 1}


@dataclass
class Campaign:
    """A sweep by `programs`, their words and variables, which are started again when they die.

    `database` makes that of the study go down and come back.
    """

    tree: Tree
    sweep: str
    programs: Sequence[tuple[Sequence[str], Mapping[str, str]]]
    chance: random.Random
    cells: int
    kills: int
    database: Callable[[], None] | None = None
    limit_s: float = 900.0
    struck: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    _running: dict[int, "subprocess.Popen[str]"] = field(default_factory=dict)
    _restarts: int = 0

    def play(self) -> None:
        """Until every program has ended with 0. Raises Failure when that takes too long."""
        started = time.monotonic()
        moments = sorted(self.chance.sample(range(round(0.85 * self.cells)), self.kills))
        self._deadline = started + self.limit_s
        try:
            self._start()
            for moment in moments:
                self._until(lambda moment=moment: self._completed() >= moment)
                self._strike()
                self._pause()
            self._until(lambda: not self._running)
        finally:
            for process in self._running.values():
                process.kill()
                process.wait()
            self.seconds = time.monotonic() - started

    def _start(self) -> None:
        for number, (words, variables) in enumerate(self.programs):
            self._running[number] = self.tree.popen(*words, **variables)

    def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._look_after()
            if self._running or not holds():
                time.sleep(_POLL_S)
            if time.monotonic() > self._deadline or self._restarts > self.kills + _RESTARTS:
                raise Failure(
                    f"{self.sweep} does not end: {self._restarts} restarts, {self._completed()} "
                    f"runs of {self.cells}; it said:\n{self.tree.said[-3000:]}"
                )

    def _look_after(self) -> None:
        """Start again what has ended otherwise than with 0."""
        for number, process in list(self._running.items()):
            if process.poll() is None:
                continue
            del self._running[number]
            if process.returncode:
                self._restarts += 1
                words, variables = self.programs[number]
                self._running[number] = self.tree.popen(*words, **variables)

    def _pause(self) -> None:
        time.sleep(self.chance.uniform(0, _LONGEST_PAUSE_S))

    def _strike(self) -> None:
        """Choose what to kill, wait until there is one, and kill it a random time later."""
        workers = ["worker"] if len(self.programs) > 1 else []
        roles = ["sweep", "training", "all", *workers, *(["database"] if self.database else [])]
        role = self.chance.choices(roles, [_WEIGHTS[role] for role in roles])[0]
        wanted = {"all": "training", "database": "training"}.get(role, role)
        self._until(
            lambda: not self._running or wanted in {each.role for each in processes(self.tree)}
        )
        self._pause()
        if role == "database":
            assert self.database is not None
            self.database()
            self.struck[role] += 1
            return
        there = processes(self.tree)
        fitting = [each for each in there if role in (each.role, "all")] or there
        for each in fitting if role == "all" else [self.chance.choice(fitting)] if fitting else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
        if fitting:
            self.struck[role if role == "all" else fitting[0].role] += 1

    def _completed(self) -> int:
        """How many runs say that they are completed."""
        found = 0
        for path in self.tree.output_dir.glob(f"{self.sweep}*/metadata.yaml"):
            with contextlib.suppress(OSError):
                found += "\nstatus: completed\n" in path.read_text()
        return found


def description(cells: int, step_ms: int = 50) -> dict[str, object]:
    """A grid of learning rates and eight seeds, of trainings with 20 steps."""
    rates = [round(1e-4 * 1.5**number, 8) for number in range(cells // SEEDS)]
    return {
        "description": "Killed at random moments",
        "defconfig": "tiny",
        "set": {"TINY_STEP_MS": step_ms},
        "axes": {"LEARNING_RATE": rates},
        "seeds": list(range(SEEDS)),
        "metric": {"name": "val/loss", "goal": "minimize", "at": "last"},
    }


RUN, WORKER = ("-m", "scripts.sweep.run"), ("-m", "scripts.sweep.worker")


def one_process(tree: Tree, chance: random.Random, cells: int, kills: int, name: str) -> Campaign:
    """`make sweep JOBS=2`, its study in SQLite."""
    programs = [(RUN, {"SWEEP": name, "JOBS": "2"})]
    return Campaign(tree, name, programs, chance, cells, kills)


def several(
    tree: Tree, chance: random.Random, cells: int, kills: int, name: str, storage: str
) -> Campaign:
    """`make sweep` and two `make sweep-worker`, their study in the database `storage`."""
    variables = {"SWEEP": name, "STORAGE": storage, "JOBS": "1"}
    programs = [(RUN, variables), (WORKER, variables), (WORKER, variables)]
    return Campaign(tree, name, programs, chance, cells, kills)


def sqlite(tree: Tree) -> str:
    """The URL of the default storage of a tree."""
    return f"sqlite:///{tree.output_dir}/.sweeps/studies.sqlite"


@contextlib.contextmanager
def _server() -> Iterator[tuple[str, Callable[[], None]] | None]:
    """An empty database, and what makes it go down and come back; None without PostgreSQL."""
    from tests import postgres

    if not postgres.is_installed():
        print("PostgreSQL is not installed: left out", file=sys.stderr)
        yield None
        return
    with postgres.running() as server:

        def fail() -> None:
            server.kill()
            time.sleep(0.5)
            server.start()

        yield server.new_database(), fail


def play_all(given: argparse.Namespace, root: Path) -> Iterator[tuple[str, Campaign, End]]:
    """Each sweep and what it ended with."""
    tree = make_tree(root / "tree")
    chance = random.Random(given.seed)
    for name in ("undisturbed", "killed", "killed-workers"):
        tree.write_sweep(name, description(given.cells))
    first = one_process(tree, chance, given.cells, 0, "undisturbed")
    yield "SQLite, undisturbed", first, _played(first, sqlite(tree))
    second = one_process(tree, chance, given.cells, given.kills, "killed")
    yield "SQLite, `make sweep JOBS=2`", second, _played(second, sqlite(tree))
    with _server() as server:
        if server is not None:
            third = several(tree, chance, given.cells, given.kills, "killed-workers", server[0])
            third.database = server[1]
            yield "PostgreSQL, three processes", third, _played(third, server[0])


def _played(campaign: Campaign, storage: str) -> End:
    campaign.play()
    return look(campaign.tree, campaign.sweep, storage, campaign.cells)


def row(what: str, campaign: Campaign, end: End) -> str:
    """A line of the table in Markdown."""
    struck = ", ".join(f"{n} × {role}" for role, n in sorted(campaign.struck.items()))
    trials = ", ".join(f"{n} {state.lower()}" for state, n in sorted(end.trials.items()))
    cells = (
        *(what, campaign.struck.total(), struck, len(end.values), end.resumed, end.begun_anew),
        *(trials, len(end.findings), duration(campaign.seconds)),
    )
    return f"| {' | '.join(map(str, cells))} |"


HEADING = """\
| sweep | kills | of | completed runs | resumed | begun anew | trials | wrong | time |
|---|--:|---|--:|--:|--:|---|--:|--:|"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=int(os.environ.get("N") or 10))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or 1))
    parser.add_argument("--cells", type=int, default=40, help="a multiple of 8 (%(default)s)")
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="sweep-kills-"))
    ends, findings = [], []
    print(HEADING, flush=True)
    for what, campaign, end in play_all(given, root):
        ends.append(end)
        if end.values != ends[0].values:
            end.findings.append("the numbers are not those of the undisturbed sweep")
        findings += [f"{what}: {finding}" for finding in end.findings]
        print(row(what, campaign, end), flush=True)
    for finding in findings:
        print(finding, file=sys.stderr)
    if findings:
        print(f"seed {given.seed}; the tree is kept: {root}", file=sys.stderr)
    else:
        import shutil

        shutil.rmtree(root)
    return int(bool(findings))


if __name__ == "__main__":
    run_main(main)
