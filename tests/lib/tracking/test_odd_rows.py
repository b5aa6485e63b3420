# SPDX-License-Identifier: MIT
"""Rows that trackers cannot take: the smallest part is left out and counted, the rest arrives."""

import json
import math
import time

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lib.tracking import cursor
from scripts.tracking.read_back import read
from tests.lib.conftest import TRACKERS, forward, make_run

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
NAMES = st.one_of(
    st.text(min_size=0, max_size=20),
    # Long ones repeat a few letters: as text of 400 letters they exhaust hypothesis.
    st.builds(
        lambda letters, length: (letters * length)[:length],
        st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=4),
        st.integers(200, 400),
    ),
    st.sampled_from(["step", "_step", "_timestamp", "time", "run", "../x", "a/../b", "/", "\\"]),
)
STEPS = st.one_of(st.integers(0, 2**63 - 1), st.integers(2**63, 2**64 - 1))
ROWS = st.lists(
    st.tuples(STEPS, st.dictionaries(NAMES, NUMBERS, max_size=3)),
    min_size=20,
    max_size=60,
    unique_by=lambda row: row[0],  # MLflow takes equal points of one step for one
)


@pytest.mark.slow
@settings(
    max_examples=2,
    phases=[Phase.generate],  # each example takes seconds
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=ROWS)
def test_what_arrives_and_what_is_counted_make_up_everything(home, rows):
    with make_run() as run:
        for index, (step, metrics) in enumerate(rows):
            run.log({"train/loss": 1.0}, index)
            run.log(metrics, step)
    code, said = forward(run.dir, *TRACKERS)
    assert code == 0, said
    total = len(rows) + sum(len(metrics) for _, metrics in rows)
    for tracker in TRACKERS:
        done = cursor.load(run.dir, tracker)
        assert done is not None
        stored = read(tracker, run.dir)
        arrived = sum(map(len, stored.metrics.values()))
        assert (tracker, arrived) == (tracker, total - done.dropped)
        assert len(stored.metrics.get("train/loss", [])) >= len(rows)


def write_rows(run_dir, rows: list[object]) -> None:
    with (run_dir / "logs" / "metrics.jsonl").open("a") as journal:
        journal.writelines(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.slow
def test_damaged_rows_cost_themselves_alone(home):
    now = time.time()
    with make_run() as run:
        run.log({"good": 1.0}, 1)
    write_rows(
        run.dir,
        [
            {"step": 2, "time": now, "metrics": [1, 2]},
            {"step": "3", "time": now, "metrics": {"a": 1.0}},
            {"step": 4, "time": 1e300, "metrics": {"a": 1.0}},
            {"step": 5, "time": -1, "metrics": {"a": 1.0}},
            {"step": 6, "time": None, "media": {"a": {"type": "text", "text": "x"}}},
            {"step": 7, "time": now, "metrics": {"a": "text", "b": None}},
            {"time": now, "metrics": {"a": 1.0}},
            {"step": 7, "time": now, "metrics": {"good": 2.0}, "media": {"b": {}}},
            {"step": 8, "time": now, "media": {"b": {"type": []}, "c": {"type": "image"}}},
            {"step": 9, "time": now, "media": {"a": {"type": "no such type"}}},
            {"step": 10, "time": now, "media": {"a": {"type": "table", "path": "logs/train.log"}}},
            {"step": 11, "time": now, "metrics": {"good": 3.0}},
        ],
    )
    code, said = forward(run.dir, *TRACKERS)
    assert code == 0, said
    for tracker in TRACKERS:
        done = cursor.load(run.dir, tracker)
        assert done is not None
        points = read(tracker, run.dir).metrics
        assert {name: sorted(found) for name, found in points.items()} == {
            "good": [(1, 1.0), (7, 2.0), (11, 3.0)]
        }
        assert f"{tracker}: left out b at step 7: a medium without a type" in said
        assert f"{tracker}: left out a: step None is not an integer" in said
        assert done.dropped == 12, (tracker, said)


@pytest.mark.slow
def test_one_bad_name_costs_mlflow_that_metric_and_few_requests(home):
    """A name that MLflow refuses in each of 2,000 rows of five metrics."""
    with make_run() as run:
        for step in range(2000):
            run.log({"a": 1.0, "b": 2.0, "val/acc (%)": 3.0, "c": 4.0, "d": 5.0}, step)
    started = time.monotonic()
    code, said = forward(run.dir, "mlflow")
    assert code == 0, said
    assert time.monotonic() - started < 40
    stored = read("mlflow", run.dir)
    assert {name: len(points) for name, points in stored.metrics.items()} == dict.fromkeys(
        "abcd", 2000
    )
    done = cursor.load(run.dir, "mlflow")
    assert done is not None
    assert done.dropped == 2000
    assert "val/acc (%)" in done.refusal
    assert said.count("left out val/acc (%)") == 1
