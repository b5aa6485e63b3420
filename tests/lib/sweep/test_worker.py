# SPDX-License-Identifier: MIT
"""Whom a worker takes for dead. What else it does is tested with whole sweeps (test_kills.py)."""

import io

from lib.sweep import worker as module
from lib.sweep.live import open_display
from lib.sweep.study import open_study
from lib.sweep.worker import Worker
from tests.lib.sweep.made import made_sweep, new_database


def test_nobody_is_dead_because_the_database_was_away(tmp_path):
    """Nobody could say meanwhile that they live: the others are given a moment to do so."""
    study = open_study(made_sweep(), new_database(tmp_path))
    worker = Worker(study, tmp_path, [], open_display(io.StringIO()))
    assert worker._beat() == []
    claim = study.claim("another")
    old = "UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour')"
    study.database.write(lambda connection: connection.exec_driver_sql(old))
    worker._beat_at -= 4 * module.BEAT_S  # as if its last heartbeat had taken so long
    assert worker._beat() == []
    assert worker._beat() == [claim.number]  # which has not been heard of since then
