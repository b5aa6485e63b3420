# SPDX-License-Identifier: MIT
"""Several workers share a sweep, over PostgreSQL or one file; they are killed and cut off."""

import os
import random
import signal
import time

import pytest

from benchmarks import sweep_kills
from benchmarks.sweep_tree import make_tree
from tests.lib.sweep.sweeps import ended_well, trainings, until, write

pytestmark = pytest.mark.slow


@pytest.fixture
def database(postgres):
    return postgres.new_database()


def test_two_create_and_train_the_same_sweep(tree, forks):
    write(tree, "twins", seeds=range(4), set={"TINY_STEP_MS": 0})
    both = [forks.start(SWEEP="twins", JOBS="1") for _ in range(2)]
    assert [program.wait() for program in both] == [0, 0]
    ended_well(tree, "twins", cells=4)


def test_killed_at_random_with_their_database(tmp_path, postgres):
    tree = make_tree(tmp_path / "tree")
    tree.write_sweep("workers", sweep_kills.description(16, step_ms=25))
    url = postgres.new_database()
    campaign = sweep_kills.several(tree, random.Random(7), 16, 3, "workers", url)
    campaign.database, campaign.limit_s = (lambda: (postgres.kill(), postgres.start())), 150
    campaign.play()
    assert campaign.struck.total() == 3
    ended_well(tree, "workers", 16, url)
    assert postgres.password not in tree.said
    for path in tree.output_dir.rglob("*"):
        assert not path.is_file() or postgres.password.encode() not in path.read_bytes(), path


def test_the_database_goes_away_for_a_while(tree, forks, postgres, database):
    write(tree, "away", seeds=range(3))
    program = forks.start(SWEEP="away", JOBS="1", STORAGE=database)
    until(lambda: list(tree.output_dir.glob("away_*")))
    postgres.kill()
    time.sleep(2)  # the training ends meanwhile
    postgres.start()
    assert program.wait() == 0
    ended_well(tree, "away", 3, database)


def age_heartbeats(server, url):
    """As if nobody had been heard of for an hour."""
    query = "UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '1 hour'"
    server.execute(url.rpartition("/")[2], query)


def test_a_worker_that_slept_too_long(tree, forks, postgres, database):
    """It was taken for dead; its training came to its end, and counts."""
    write(tree, "asleep", seeds=[1, 2])
    start = {"SWEEP": "asleep", "STORAGE": database, "set": {"lib.sweep.storage:BUSY_S": 2}}
    sleeper = forks.start(**start)
    until(lambda: list(tree.output_dir.glob("asleep_*/metadata.yaml")))
    sleeper.signal(signal.SIGSTOP)
    age_heartbeats(postgres, database)
    assert forks.sweep(**start) == 0
    assert "was complete" in tree.said
    sleeper.signal(signal.SIGCONT)
    assert sleeper.wait() == 0
    ended_well(tree, "asleep", 2, database)


def test_a_machine_that_fell_asleep_in_a_transaction(tree, forks, database):
    """The server ends the transaction, so that the others do not wait for its locks."""
    write(tree, "locked", seeds=[1, 2], set={"TINY_STEP_MS": 0})
    start = {"SWEEP": "locked", "STORAGE": database, "set": {"lib.sweep.storage:BUSY_S": 2}}
    sleeper = forks.start(stop="after lib.sweep.claims:take", **start)
    until(lambda: sleeper.sleeps)
    assert forks.sweep(**start) == 0
    sleeper.signal(signal.SIGCONT)
    assert sleeper.wait() == 0
    ended_well(tree, "locked", 2, database)


def test_a_machine_that_slept_too_long(tree, forks, postgres, database):
    """Its worker was taken for dead, and another one waits for the run that it holds."""
    write(tree, "frozen", seeds=[1], set={"TINY_STEP_MS": 100})
    before = len(tree.said)
    start = {"SWEEP": "frozen", "STORAGE": database, "set": {"lib.sweep.storage:BUSY_S": 2}}
    sleeper = forks.start(**start)
    until(lambda: list(tree.output_dir.glob("frozen_*/metadata.yaml")))
    (training,) = trainings(tree)
    sleeper.signal(signal.SIGSTOP)
    os.kill(training, signal.SIGSTOP)
    age_heartbeats(postgres, database)
    other = forks.start(**start)
    until(lambda: "a worker died" in tree.said[before:])
    time.sleep(1)
    assert trainings(tree) == [training]  # it is not trained twice at once
    sleeper.signal(signal.SIGCONT)
    os.kill(training, signal.SIGCONT)
    assert [sleeper.wait(), other.wait()] == [0, 0]
    ended_well(tree, "frozen", 1, database)


def test_a_worker_that_waits_for_a_run_is_taken_for_dead(tree, forks, postgres, database):
    """It lets go, and leaves the run to the one that waits now."""
    write(tree, "queue", seeds=[1], set={"TINY_STEP_MS": 50})
    soon = {"lib.sweep.worker:BEAT_S": 0.2, "lib.sweep.storage:BUSY_S": 2}
    start = {"SWEEP": "queue", "STORAGE": database, "set": soon}
    before = len(tree.said)
    first = forks.start(**start)
    until(lambda: list(tree.output_dir.glob("queue_*/metadata.yaml")))
    (training,) = trainings(tree)
    os.kill(training, signal.SIGSTOP)
    first.signal(signal.SIGKILL)
    second = forks.start(**start)
    until(lambda: "a worker died" in tree.said[before:])
    running = "SELECT 1 FROM trials WHERE state = 'RUNNING'"
    until(lambda: postgres.execute(database.rpartition("/")[2], running))
    second.signal(signal.SIGSTOP)
    age_heartbeats(postgres, database)
    third = forks.start(**start)
    until(lambda: tree.said[before:].count("a worker died") == 2)
    second.signal(signal.SIGCONT)
    until(lambda: "was taken away" in tree.said[before:])
    os.kill(training, signal.SIGCONT)
    assert [second.wait(), third.wait()] == [0, 0]
    ended_well(tree, "queue", 1, database)
