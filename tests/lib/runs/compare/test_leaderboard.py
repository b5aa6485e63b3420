# SPDX-License-Identifier: MIT
"""Rows of a leaderboard: which runs they hold, their numbers, their order, and what is said."""

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lib.errors import BadUse
from lib.runs.compare.leaderboard import leaderboard
from lib.runs.compare.seeds import grouped
from lib.runs.compare.significance import PAIRED, holm
from lib.runs.stored_run import StoredRun, kept_fields
from tests.lib.runs.compare.conftest import make

LOSSES = {0.1: (0.5, 0.6, 0.52), 0.2: (0.41, 0.44, 0.39), 0.3: (0.62, 0.7, 0.66)}


def sweep(out):
    return [
        make(out, f"lr{lr}_seed{seed}", loss=loss, LEARNING_RATE=lr, SEED=seed)
        for lr, losses in LOSSES.items()
        for seed, loss in enumerate(losses)
    ]


def test_runs_that_differ_in_the_seed_alone_are_a_row(out):
    board = leaderboard(sweep(out), alpha=0.1)
    assert [row.label for row in board.rows] == [
        "LEARNING_RATE=0.2",
        "LEARNING_RATE=0.1",
        "LEARNING_RATE=0.3",
    ]
    first, second, third = (np.array(LOSSES[lr]) for lr in (0.2, 0.1, 0.3))
    row = board.rows[0]
    assert (row.n, row.best, row.worst, row.outcome) == (3, 0.39, 0.44, None)
    assert (row.mean, row.std) == pytest.approx((first.mean(), first.std(ddof=1)))
    assert (row.low, row.high) == pytest.approx(
        stats.t.interval(0.9, 2, first.mean(), stats.sem(first))
    )
    wanted = [stats.ttest_rel(other, first).pvalue for other in (second, third)]
    outcomes = [row.outcome for row in board.rows[1:]]
    assert [o.test for o in outcomes] == [PAIRED] * 2
    assert [o.p for o in outcomes] == pytest.approx(wanted)
    assert [o.p_holm for o in outcomes] == pytest.approx(holm(wanted))
    assert board.tested == 2
    assert not any(row.warnings for row in board.rows)


def test_what_changes_no_numbers_makes_no_row(out):
    runs = [
        make(out, "a", SEED=0, DESCRIPTION="first", LOG_INTERVAL=1),
        make(out, "b", SEED=1, TRACKER_RUN_NAME="b", OUTPUT_DIR="elsewhere"),
    ]
    (row,) = leaderboard(runs).rows
    assert row.n == 2
    assert len(leaderboard([*runs, make(out, "c", SEED=2, NUM_EPOCHS=4)]).rows) == 2


def test_a_seed_counts_once(out):
    runs = [make(out, f"r{i}", loss=loss, SEED=0) for i, loss in enumerate((1.0, 3.0, 5.0))]
    runs.append(make(out, "other", loss=2.0, SEED=1))
    (row,) = leaderboard(runs).rows
    assert (row.n, row.values, len(row.runs)) == (2, {0: 3.0, 1: 2.0}, 4)
    assert row.mean == 2.5
    assert row.warnings == ["counted once, with the mean of its runs: seed 0 (3 runs)"]


def test_a_high_accuracy_is_better(out):
    board = leaderboard(sweep(out), "val/accuracy")
    assert not board.lower
    assert board.rows[0].label == "LEARNING_RATE=0.2"
    assert board.rows[0].best == pytest.approx(math.exp(-0.39))
    assert board.rows[0].worst == pytest.approx(math.exp(-0.44))
    assert leaderboard(sweep(out), lower=False).rows[0].label == "LEARNING_RATE=0.3"


def test_a_row_for_each_value_of_some_fields(out):
    runs = [*sweep(out), make(out, "adam", OPTIMIZER="adam", LEARNING_RATE=0.1, SEED=7)]
    board = leaderboard(runs, group=["OPTIMIZER"])
    assert [(row.label, row.n, len(row.runs)) for row in board.rows] == [
        ("OPTIMIZER=sgd", 3, 9),  # the seed is what is independent
        ("OPTIMIZER=adam", 1, 1),
    ]
    assert "different settings: LEARNING_RATE" in board.rows[0].warnings
    assert {row.label for row in leaderboard(runs, group=["model", "LEARNING_RATE"]).rows} == {
        f"model=net LEARNING_RATE={lr}" for lr in (0.1, 0.2, 0.3)
    }
    with pytest.raises(BadUse, match=r"GROUP=OPTIMISER: no run has .* did you mean OPTIMIZER"):
        leaderboard(runs, group=["OPTIMISER"])


def test_what_did_not_end_is_left_out(out):
    runs = sweep(out)
    runs.append(make(out, "failed", loss=0.01, status="failed", SEED=9))
    runs.append(make(out, "other", loss=None, SEED=9))
    board = leaderboard(runs)
    assert board.left_out == Counter({"failed": 1, "without val/loss": 1})
    assert board.rows[0].label == "LEARNING_RATE=0.2"
    board = leaderboard(runs, statuses=())
    assert board.rows[0].warnings == ["not finished: 1 failed"]
    with pytest.raises(BadUse, match=r"no run is left: 1 failed\. STATUS=all"):
        leaderboard(runs[-2:-1])


def test_a_run_that_diverged_is_not_hidden(out):
    runs = [
        make(out, f"{lr}_{seed}", loss=None, LEARNING_RATE=lr, SEED=seed, rows=rows)
        for lr, seed, rows in (
            (0.1, 0, [(1, {"train/loss": 1.0})]),
            (0.1, 1, [(1, {"train/loss": 1.2})]),
            (0.2, 0, [(1, {"train/loss": 0.1})]),
            (0.2, 1, [(1, {"train/loss": math.nan})]),
        )
    ]
    board = leaderboard(runs, "train/loss:last")
    assert [row.label for row in board.rows] == ["LEARNING_RATE=0.1", "LEARNING_RATE=0.2"]
    assert math.isnan(board.rows[1].mean)
    assert board.rows[1].outcome.why_not == "a value is not finite"


def test_other_code_data_and_hardware_are_said(out):
    gpu = {"device": "cuda:0", "environment": {"gpus": [{"name": "A100"}], "torch": "2.0"}}
    runs = [
        make(out, "a", SEED=0, info={"git": {"commit": "a" * 40, "dirty": False}}),
        make(out, "b", SEED=1, info={"git": {"commit": "b" * 40, "dirty": True}, **gpu}),
        make(out, "c", loss=2.0, LEARNING_RATE=0.2, info={"dataset": {"name": "x"}}),
    ]
    board = leaderboard(runs)
    said = " | ".join(board.rows[0].warnings)
    assert "different commits: aaaaaaaaaa, bbbbbbbbbb with changes" in said
    assert "different hardware: 8086, A100" in said
    assert "different PyTorch: 2.1, 2.0" in said
    assert any(w.startswith("the rows are of different data: f00d, x") for w in board.warnings)


def test_a_metric_that_no_run_has(out):
    with pytest.raises(BadUse, match="BY=val/los: no run has the metric val/los; did you mean val"):
        leaderboard(sweep(out), "val/los")
    runs = [make(out, "x", rows=[(1, {"sparsity": 0.5})])]
    with pytest.raises(BadUse, match="MODE=min or MODE=max"):
        leaderboard(runs, "sparsity")
    checkpoint = {"checkpoint": {"metric": "sparsity", "mode": "max"}}
    assert not leaderboard(
        [make(out, "y", rows=[(1, {"sparsity": 0.5})], info=checkpoint)], "sparsity"
    ).lower
    with pytest.raises(BadUse, match="there are no runs"):
        leaderboard([])


def test_a_limit_hides_rows_and_changes_no_verdict(out):
    runs = sweep(out)
    whole, short = leaderboard(runs), leaderboard(runs, limit=2)
    assert (len(short.rows), short.total, short.tested) == (2, 3, 2)
    assert short.rows[1].outcome == whole.rows[1].outcome


def test_runs_without_settings_go_by_their_hash(out):
    digest = {"science_hash": "0123456789abcdef", "seed": 1}
    ended = {"final_metrics": {"final/best_val_loss": 0.5}, **digest}
    kept = [
        StoredRun(out / name, kept_fields({"run_name": name, "status": status, **ended}))
        for name, status in (("a", "completed"), ("b", "completed"), ("c", "failed"))
    ]
    board = leaderboard(kept)
    (row,) = board.rows
    assert (row.n, len(row.runs)) == (1, 2)
    assert board.left_out == {"failed": 1}
    assert any("the settings of a, b are not here" in warning for warning in row.warnings)


class InMemory(StoredRun):
    """A run without a directory."""

    settings = property(lambda self: self.metadata["settings"])


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([0.1, 0.2]), st.integers(0, 3),
                  st.floats(-1e300, 1e300)),
        min_size=1, max_size=12,
    ),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_grouping_does_not_depend_on_order(specs, shuffle: random.Random):
    runs = [
        InMemory(
            Path(f"/{i}"),
            {"settings": {"OPTIMIZER": o, "LEARNING_RATE": lr, "SEED": seed}, "value": value},
        )
        for i, (o, lr, seed, value) in enumerate(specs)
    ]

    def value(run):
        return run.metadata["value"]

    wanted = grouped(runs, value)
    again = list(runs)
    shuffle.shuffle(again)
    found = grouped(again, value)
    assert found == wanted
    assert sum(len(group.runs) for group in found) == len(runs)
    assert {len(group.values) + group.repeats for group in found} == {len(g.runs) for g in found}
    assert len(found) == len({spec[:2] for spec in specs})
