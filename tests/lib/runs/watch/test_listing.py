# SPDX-License-Identifier: MIT
"""The runs as they come, change, die and go; running ones first."""

import os
import shutil
import time

from lib.runs import metadata
from lib.runs.run import Run
from lib.runs.watch.listing import Listing
from tests.forked import in_child, kill_self


def names(listing, limit=99):
    listing.scan()
    return [(entry.name, entry.status) for entry in listing.entries(limit)]


def older(run, seconds):
    moment = time.time() - seconds
    os.utime(run.dir / "metadata.yaml", (moment, moment))


def test_runs_come_change_and_go(tmp_path):
    listing = Listing(tmp_path / "runs")
    assert names(listing) == []
    with Run.create(tmp_path / "runs", "a") as a:
        assert names(listing) == [("a", "running")]
        with Run.create(tmp_path / "runs", "b") as b:
            assert names(listing) == [("a", "running"), ("b", "running")]
        older(b, 1000)
        assert names(listing) == [("a", "running"), ("b", "completed")]
    older(a, 2000)
    assert names(listing) == [("b", "completed"), ("a", "completed")]
    assert names(listing, 1) == [("b", "completed")]
    shutil.rmtree(b.dir)
    (tmp_path / "runs" / "no-run").mkdir()
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "metadata.yaml").write_text("a: [")
    assert names(listing) == [("damaged", "unreadable"), ("a", "completed")]
    assert len(listing) == 2


def test_a_killed_run_is_interrupted_at_the_next_scan(tmp_path):
    def killed():
        run = Run.create(tmp_path, "x")
        run.log({"val/loss": 0.5}, 3)
        kill_self()

    listing = Listing(tmp_path)
    in_child(killed)
    assert names(listing) == [("x", "interrupted")]
    assert metadata.load(tmp_path / "x" / "metadata.yaml")["status"] == "interrupted"
    with Run.resume(tmp_path / "x", step=3, offset=0):
        assert names(listing) == [("x", "running")]
    assert names(listing) == [("x", "completed")]


def test_the_chosen_run_is_listed_however_old(tmp_path):
    for number, name in enumerate("abc"):
        with Run.create(tmp_path, name) as run:
            pass
        older(run, 1000 - number)
    listing = Listing(tmp_path, "a")
    assert [name for name, _ in names(listing, 2)] == ["c", "a"]
