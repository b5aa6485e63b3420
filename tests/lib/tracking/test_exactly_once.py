# SPDX-License-Identifier: MIT
"""The forwarder killed with -9 again and again: every tracker holds every row exactly once.

KILLS=30 in the environment kills it as often: MLflow takes seconds to start each time.
"""

import os
import random
import signal
import time

import pytest

from lib.tracking import cursor
from scripts.tracking.read_back import read
from tests.lib.conftest import TRACKERS, forward, forwarder, make_run

KILLS = int(os.environ.get("KILLS", 5))


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_killed_again_and_again(home, tracker):
    chance = random.Random(f"kills of {tracker}")
    step = 0
    with make_run() as run:
        startup = _seconds_to_first_delivery(run, tracker)
        for _ in range(KILLS):
            process = forwarder(run.dir, tracker)
            until = time.monotonic() + chance.uniform(0.2, 1.3) * startup
            while time.monotonic() < until:
                for _ in range(6):
                    run.log({"train/loss": 1 / (step + 1), "lr": 0.1 * step}, step)
                    step += 1
                time.sleep(startup / 20)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
    code, said = forward(run.dir, tracker)
    assert code == 0, said

    stored = read(tracker, run.dir)
    expected = [(i, pytest.approx(1 / (i + 1))) for i in range(step)]
    assert sorted(stored.metrics["train/loss"]) == expected
    assert [s for s, _ in sorted(stored.metrics["lr"])] == list(range(step))
    done = cursor.load(run.dir, tracker)
    assert done is not None
    assert (done.condition, done.dropped, done.repeated) == ("finished", 0, 0)
    assert done.rows == step + 3  # one to warm up, and the events start and finish


def _seconds_to_first_delivery(run, tracker) -> float:
    """How long its imports take here and now, so that the kills hit every phase."""
    run.log({"warm": 1.0}, 0)
    started = time.monotonic()
    process = forwarder(run.dir, tracker)
    while (done := cursor.load(run.dir, tracker)) is None or done.rows == 0:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    return time.monotonic() - started
