# SPDX-License-Identifier: MIT
"""Whether a worker lives, by its lock."""

import os

from lib.sweep.colleagues import Colleagues


def test_a_worker_is_dead_when_its_lock_is_free(tmp_path):
    colleagues = Colleagues(tmp_path / "workers")
    with colleagues.joined("me"):
        (left,) = (tmp_path / "workers").iterdir()
        assert left.stat().st_mode & 0o077 == 0
        assert not colleagues.is_dead("me")
        assert not colleagues.is_dead("on another disk")
        (tmp_path / "workers" / "killed.lock").touch()
        assert colleagues.is_dead("killed")
    assert [path.name for path in (tmp_path / "workers").iterdir()] == ["killed.lock"]


def test_what_died_long_ago_is_removed(tmp_path):
    for name, age in (("old", 10_000), ("new", 10)):
        path = tmp_path / f"{name}.lock"
        path.touch()
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    with Colleagues(tmp_path).joined("me"):
        assert {path.name for path in tmp_path.iterdir()} == {"me.lock", "new.lock"}
