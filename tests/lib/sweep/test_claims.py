# SPDX-License-Identifier: MIT
"""Trials are done once, whoever is killed, at any statement, and however many are at it."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lib.sweep import tables
from lib.sweep.storage import TakenAway
from lib.sweep.study import Study, open_study
from tests.forked import ended, started
from tests.lib.sweep.made import (
    SPACE,
    count_statements,
    killed_at_statement,
    made_sweep,
    new_database,
    url_in,
)
from tests.postgres import postgres  # noqa: F401, a fixture

CELLS = 4  # of the grid


def is_dead(worker: str) -> bool:
    """Whether the process is gone whose pid the worker has as its name."""
    try:
        os.kill(int(worker.rpartition("-")[2]), 0)
    except ProcessLookupError:
        return True
    return False


def check(study: Study) -> None:
    """That each cell has at most one trial that is not failed, and none if it is used up."""
    trials = study.trials()
    assert [trial.number for trial in trials] == list(range(len(trials)))
    live = Counter(trial.key for trial in trials if trial.state != "failed")
    assert all(count == 1 for count in live.values())
    for trial in trials:
        assert trial.state != "failed" or trial.superseded or trial.reason
        assert trial.state != "running" or trial.worker
        assert trial.state != "complete" or (trial.values and trial.run)
    states = study.progress()
    assert states.total == len({trial.key for trial in trials})
    assert states.finished + states.waiting + states.running == states.total


def do_all(study: Study) -> None:
    """Complete what is left."""
    study.lost(is_dead)
    while claim := study.claim(f"worker-{os.getpid()}"):
        study.complete(claim, [0.5], "run")


def steps(url: str, retries: int = 1) -> None:
    """One of everything that happens to a trial."""
    study = open_study(made_sweep(retries=retries), url)
    worker = f"worker-{os.getpid()}"
    first, second, third = (study.claim(worker) for _ in range(3))
    study.beat([first, second, third])
    study.note_run(first, "run")
    study.report(first, 10, 0.5)
    study.put_back(first)
    study.fail(second, "boom", {"BATCH_SIZE": "16"})
    study.complete(third, [0.25], "run", {"sparsity": 0.5})
    study.prune(study.claim(worker), "bad")
    study.claim(f"worker-{2**22 + 1}")  # of no process
    study.lost(is_dead)


@pytest.mark.slow
def test_a_kill_at_any_statement_loses_no_cell(tmp_path):
    url = new_database(tmp_path)
    last = count_statements(lambda: steps(url))
    assert last > 100
    for number in [*range(3, last, 29), last]:
        url = new_database(tmp_path)
        assert killed_at_statement(number, lambda url=url: steps(url))
        study = open_study(made_sweep(), url)
        check(study)
        do_all(study)
        check(study)
        done = study.progress()
        assert done.finished == done.total == CELLS
        assert done.failed == 0


@pytest.mark.slow
def test_a_kill_while_the_database_is_made_leaves_one_that_can_be_made(tmp_path):
    number, killed = 1, True
    while killed:
        folder = tmp_path / str(number)
        folder.mkdir()

        def make(folder: Path = folder) -> None:
            open_study(made_sweep(), url_in(folder))

        killed = killed_at_statement(number, make)
        study = open_study(made_sweep(), url_in(folder))
        assert study.progress().waiting == CELLS
        shutil.rmtree(folder)
        number += 29
    assert number > 50


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_workers_that_look_at_the_same_time_take_different_trials(tmp_path, kind, request):
    """Each would find the same trial waiting, if nothing kept the others out until it is taken."""
    server = request.getfixturevalue("postgres") if kind == "postgresql" else None
    url = server.new_database() if server else new_database(tmp_path)
    open_study(made_sweep(), url)
    look = tables.first_waiting

    def look_and_dawdle(*arguments: Any) -> int | None:
        found = look(*arguments)
        time.sleep(0.5)
        return found

    def take() -> None:
        tables.first_waiting = look_and_dawdle
        claim = open_study("some", url).claim(f"worker-{os.getpid()}")
        (tmp_path / str(claim.number)).touch()

    assert [ended(child) for child in [started(take) for _ in range(3)]] == [0] * 3
    assert all((tmp_path / str(number)).exists() for number in range(3))


def work(url: str, log: Path, sweep: str) -> None:
    """A worker: it trains for a moment, says so in `log`, and lets itself be killed."""
    study, worker = open_study(sweep, url), f"worker-{os.getpid()}"
    chance = random.Random(os.getpid())
    while not study.progress().done:
        study.lost(is_dead)
        claim = study.claim(worker)
        if claim is None:
            time.sleep(0.02)
            continue
        try:
            for step in (10, 20):
                study.report(claim, step, 1.0 / step)
                time.sleep(0.01 * chance.random())
                study.beat([claim])
            if chance.random() < 0.1:
                study.put_back(claim)
            elif chance.random() < 0.1 and claim.attempt == 0:
                study.fail(claim, "boom")
            else:
                study.complete(claim, [0.5], worker)
                with log.open("a") as file:
                    file.write(f"{claim.key}\n")
        except TakenAway:
            continue


def killed_at_random(url: str, log: Path, sweep: str, kills: int, workers: int = 3) -> None:
    """Keep `workers` at work, kill one of them `kills` times, and let the others finish."""
    chance, deadline = random.Random(7), time.monotonic() + 240
    running = [started(lambda: work(url, log, sweep)) for _ in range(workers)]
    for _ in range(kills):
        time.sleep(0.1 + 0.3 * chance.random())
        victim = running.pop(0)
        os.kill(victim, signal.SIGKILL)
        ended(victim)
        running.append(started(lambda: work(url, log, sweep)))
    assert [ended(child) for child in running] == [0] * workers
    assert time.monotonic() < deadline


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_workers_that_are_killed_do_every_cell_once(tmp_path, kind, request):
    server = request.getfixturevalue("postgres") if kind == "postgresql" else None
    url = server.new_database() if server else new_database(tmp_path)
    rates = [f"0.{i:03}" for i in range(1, 13)]
    sweep = made_sweep(axes={"LEARNING_RATE": rates}, retries=3)
    assert open_study(sweep, url).progress().total == 12
    log = tmp_path / "log"
    killed_at_random(url, log, "some", kills=5)
    study = open_study("some", url)
    check(study)
    assert study.progress().complete == 12
    logged = Counter(log.read_text().split())
    assert set(logged.values()) == {1}
    assert len(logged) >= 12 - 5  # one that was killed had no time to write
    assert logged.keys() <= {t.key for t in study.trials()}


@pytest.mark.slow
def test_a_search_draws_its_budget_and_no_more(tmp_path):
    url = new_database(tmp_path)
    sweep = made_sweep(axes=SPACE, method="tpe", trials=8, retries=3)
    open_study(sweep, url)
    killed_at_random(url, tmp_path / "log", "some", kills=2)
    study = open_study("some", url)
    trials = study.trials()
    heads = [trial for trial in trials if trial.retry_of is None]
    assert len(heads) == 8
    assert study.progress().done
    complete = [trial for trial in trials if trial.state == "complete" and not trial.reused]
    assert len({trial.key for trial in complete}) == len(complete)
