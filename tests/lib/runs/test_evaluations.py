# SPDX-License-Identifier: MIT
"""Evaluations in metadata.yaml, of runs that have ended and of those in progress."""

import pytest

from lib.runs import evaluations
from lib.runs.branch import branch
from lib.runs.evaluations import add_evaluation, as_rows
from lib.runs.run import Run
from lib.runs.stored import load_run

PERPLEXITY = {"data": "a.txt", "checkpoint": "best.pt", "step": 3, "settings": {"stride": 8}}


def test_an_evaluation_during_a_training_and_between_two_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt), Run.create(tmp_path, "x") as run:
        run.log({"train/loss": 1.0}, 1)
        add_evaluation(load_run(run.dir), {**PERPLEXITY, "results": {"perplexity": 9.0}})
        raise KeyboardInterrupt
    tasks = {"data": "tasks", "step": 4, "settings": {}, "results": {"animals": {"acc,none": 0.5}}}
    add_evaluation(load_run(run.dir), tasks)
    with Run.resume(run.dir, step=1, offset=0) as resumed:
        resumed.log({"train/loss": 0.5}, 2)
    stored = load_run(run.dir)
    assert stored.status == "completed"
    assert [*as_rows(stored.metadata)] == [
        ("a.txt, step 3", "perplexity 9, stride 8"),
        ("tasks, step 4", "animals acc,none 0.5"),
    ]


def test_only_its_like_is_replaced_and_the_oldest_go(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluations, "_MOST", 3)
    with Run.create(tmp_path, "x") as run:
        run.log({"train/loss": 1.0}, 1)
    stored = load_run(run.dir)
    for step, value in [(1, 1.0), (2, 2.0), (1, 3.0), (3, 4.0), (4, 5.0)]:
        add_evaluation(stored, {**PERPLEXITY, "step": step, "results": {"perplexity": value}})
    kept = load_run(run.dir).metadata["evaluations"]
    assert [(e["step"], e["results"]["perplexity"]) for e in kept] == [(1, 3.0), (3, 4.0), (4, 5.0)]


def test_a_branch_does_not_inherit_them(tmp_path):
    with Run.create(tmp_path, "x") as run:
        run.log({"train/loss": 1.0}, 1)
    add_evaluation(load_run(run.dir), {**PERPLEXITY, "results": {}})
    stored = load_run(run.dir)
    offset = stored.journal.stat().st_size
    made = branch(stored, "y", step=1, offset=offset, duration_s=1.0, fill=lambda _: None)
    assert "evaluations" not in load_run(made).metadata
