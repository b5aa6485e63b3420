# SPDX-License-Identifier: MIT
"""What is drawn is what was logged: thinning loses no extreme, groups are by quantity."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.runs.journal import Journal
from lib.runs.report.curves import FEWEST_POINTS, MOST_POINTS, charts, thin
from lib.runs.report.logged import KEPT_MEDIA, Curve, Logged, read_journal

values = st.floats(-1e90, 1e90)


def curve(numbers) -> Curve:
    n = len(numbers)
    return Curve(np.arange(n, dtype=float), np.asarray(numbers, dtype=float), np.arange(n) / 2)


@settings(max_examples=60)
@given(st.lists(values, min_size=1, max_size=300), st.integers(6, 40))
def test_thinning_keeps_both_ends_and_all_extremes(numbers, most):
    points, means = thin(curve(numbers), most)
    assert len(points) <= most
    assert set(zip(points.steps, points.values, strict=True)) <= set(enumerate(numbers))
    assert list(points.steps) == sorted(set(points.steps))
    assert points.values.min() == min(numbers) and points.values.max() == max(numbers)
    assert (points.steps[0], points.steps[-1]) == (0, len(numbers) - 1)
    assert (means is None) == (len(numbers) <= most)


def test_each_stretch_keeps_its_own_spike():
    numbers = np.zeros(100_000)
    spikes = [5, 40_000, 99_998]
    numbers[spikes] = [3.0, -2.0, 1.0]
    points, means = thin(curve(numbers), 2000)
    drawn = dict(zip(points.steps, points.values, strict=True))
    assert [drawn[spike] for spike in spikes] == [3.0, -2.0, 1.0]
    assert len(points) <= 2000
    assert means.values[0] == pytest.approx(3.0 * len(means) / 100_000, rel=0.02)


def read(tmp_path, *rows) -> Logged:
    journal = Journal(tmp_path / "metrics.jsonl")
    for step, metrics in rows:
        journal.log(metrics, step)
    journal.close()
    return read_journal(tmp_path / "metrics.jsonl", {})


def test_one_quantity_of_all_splits_and_runs_is_one_chart(tmp_path):
    row = {"train/loss": 1.0, "val/loss": 2.0, "lr": 0.1, "sparsity": 0.5, "perf/mfu": 0.4}
    logged = read(tmp_path, (1, {**row, "system/cpu": 3, "final/best_val_loss": 1.0}))
    made = charts(["a", "b"], [logged, logged])
    assert [(chart.quantity, chart.section) for chart in made] == [
        ("loss", "quality"), ("lr", "training"), ("sparsity", "pruning"),
        ("perf/mfu", "speed"), ("system/cpu", "system"),
    ]  # fmt: skip
    whose = [(drawn["run"], drawn["split"]) for drawn in made[0].curves]
    assert whose == [(0, "train"), (0, "val"), (1, "train"), (1, "val")]


def test_what_cannot_be_drawn_is_said(tmp_path):
    numbers = [1.0, math.nan, math.inf, -math.inf, 1e200, 0.5]
    logged = read(tmp_path, *((step, {"train/loss": v}) for step, v in enumerate(numbers)))
    (chart,) = charts(["a"], [logged])
    assert chart.curves[0]["steps"] == [0, 5]
    assert chart.remarks == [
        "train/loss: 4 of 6 values are NaN, infinite or beyond 1e100 and not drawn, "
        "the first at step 1"
    ]


def test_rows_with_different_metrics_stay_in_order(tmp_path):
    rows = [(s, {"a": s, "b": -s} if s % 3 else {"b": -s, "c": s}) for s in range(10)]
    logged = read(tmp_path, *rows)
    assert list(logged.curves["b"].values) == [-s for s in range(10)]
    assert list(logged.curves["a"].steps) == [s for s in range(10) if s % 3]


def test_many_curves_get_fewer_points_each_and_it_is_said():
    logged = Logged({f"m{i}": curve(np.arange(300)) for i in range(70)}, first_time=0.0)
    made = charts(["a"] * 20, [logged] * 20)
    assert len(made) == 70
    assert all(len(c["steps"]) <= FEWEST_POINTS for chart in made for c in chart.curves)
    assert made[0].remarks == [
        "20 curves of up to 300 values, thinned to at most 200 points; the lowest and the highest "
        "of each stretch are drawn"
    ]
    (only,) = charts(["a"], [Logged({"m": curve(np.arange(3000))}, first_time=0.0)])
    assert FEWEST_POINTS < len(only.curves[0]["steps"]) <= MOST_POINTS


def test_media_do_not_pile_up(tmp_path):
    journal = Journal(tmp_path / "metrics.jsonl")
    for step in range(50):
        journal.record({"media": {"sample": {"type": "text", "text": str(step)}}}, step)
    journal.close()
    media = read_journal(tmp_path / "metrics.jsonl", {}).media["sample"]
    assert media.count == 50
    assert [step for step, _ in media.latest] == list(range(50 - KEPT_MEDIA, 50))


@pytest.mark.slow
def test_a_long_journal_is_read_in_seconds(tmp_path):
    """100,000 rows of 20 metrics; processor time, since the machine may be busy."""
    journal = Journal(tmp_path / "metrics.jsonl")
    for step in range(100_000):
        journal.log({f"train/m{i}": step * 1.25 + i for i in range(20)}, step)
    journal.close()
    started = time.process_time()
    made = charts(["a"], [read_journal(tmp_path / "metrics.jsonl", {})])
    assert time.process_time() - started < 10
    assert len(made) == 20 and all(len(c.curves[0]["steps"]) <= MOST_POINTS for c in made)
