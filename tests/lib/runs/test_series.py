# SPDX-License-Identifier: MIT
"""Metrics as arrays and in numbers, whether lower is better, and choosing runs."""

import math

import numpy as np
import pytest

from lib.errors import BadUse
from lib.runs import open_run, open_runs
from lib.runs.choose import chosen_runs
from lib.runs.direction import lower_is_better
from lib.runs.run import Run
from lib.runs.series import Summary
from lib.runs.stored import load_run
from lib.runs.stored_run import _rendered, read_settings


@pytest.fixture
def output_dir(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    for name in ("ab_1", "ab_2", "c"):
        with Run.create(tmp_path, name) as run:
            for step, loss in enumerate([2.0, math.nan, 0.5, 1.0]):
                run.log({"val/loss": loss, "val/accuracy": step / 4}, step)
                run.log({"train/loss": float(step)}, step)
            run.summary({"final/best_val_loss": 0.5})
    return tmp_path


def test_metrics_of_a_run(output_dir):
    for run in (load_run(output_dir / "c"), open_runs(output_dir)[-1]):  # without and by the index
        series = run.metric("val/loss")
        assert series.steps.dtype == np.int64 and series.steps.tolist() == [0, 1, 2, 3]
        np.testing.assert_array_equal(series.values, [2.0, math.nan, 0.5, 1.0])
        assert (np.diff(series.times) >= 0).all() and len(run.metric("loss")) == 0
        assert run.metric_names == ["val/loss", "val/accuracy", "train/loss"]
        assert run.summary["val/loss"] == Summary(1.0, 0.5, 2.0, 3.5 / 3, 4, 0, 3, 2, 0)
        assert (run.value("val/loss"), run.value("val/accuracy")) == (0.5, 0.5)  # at the best one
        assert (run.value("train/loss"), run.value("train/loss:max")) == (3.0, 3.0)
        assert (run.value("val/accuracy:last"), run.value("val/loss:mean")) == (0.75, 3.5 / 3)
        assert run.value("final/best_val_loss") == 0.5 and run.value("loss") is None
        frame = run.frame()
        assert frame.index.tolist() == [0, 1, 2, 3] and frame["train/loss"].tolist() == [0, 1, 2, 3]


def test_superseded_rows_do_not_count(output_dir):
    journal = output_dir / "c" / "logs" / "metrics.jsonl"
    size = journal.stat().st_size
    open_runs(output_dir)
    with Run.resume(output_dir / "c", step=0, offset=0) as run:
        run.log({"val/loss": 7.0}, 1)
    assert journal.stat().st_size > size
    (found,) = open_runs(output_dir, where="name=c")
    assert found.metric("val/loss").values.tolist() == [7.0]
    assert found.summary["val/loss"].count == 1 and found.metric_names == ["val/loss"]


def test_the_settings_of_a_run_are_those_that_yaml_reads(tmp_path):
    path = tmp_path / "config.yaml"
    for line in (
        "A: 1", "A: 0x1F", "A: -2.5", "A: 1.0e-05", "A: 1e5", "A: yes", "A: No", "A: ~", "A: null",
        "A: 2025-01-01", "A: 12:30:00",
        "A: 010", "A: ''", "A: 'a ''b'''", 'A: "x\\ny"', "A: [1, 2]",
        "A: a: b", "A: a #b", "A: a#b", "A: sqlite:///x.db", "A: a:", "A: two words", "A: .inf",
        "A: |\n    text", "A: long\n    text", "A: é", "A: *x", "A: 123456789012345678901", "A:",
    ):  # fmt: skip
        path.write_text(f"Some menu:\n  {line}\n  B: true\n")
        menus = [menu for menu in _rendered(path).values() if isinstance(menu, dict)]
        by_yaml = {name: value for menu in menus for name, value in menu.items()}
        assert read_settings(path) == by_yaml, line


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        ("val/loss", True),
        ("final/best_val_perplexity", True),
        ("val/error_top5", True),
        ("perf/step_ms", True),
        ("final/training_time_s", True),
        ("val/accuracy", False),
        ("val/f1", False),
        ("perf/tokens_per_s", False),
        ("perf/mfu", False),
        ("val/accuracy_top5", False),
        ("lr", None),
        ("sparsity", None),
    ],
)
def test_direction(name, lower):
    assert lower_is_better(name) is lower


def test_choosing_runs(output_dir):
    def names(*given):
        return [run.name for run in chosen_runs(output_dir, *given)]

    assert names("c ab*") == ["c", "ab_1", "ab_2"]
    assert names("ab_2,c,ab_2") == ["ab_2", "c"]
    assert names(f"{output_dir}/c") == ["c"]
    assert names("", "name~ab*") == ["ab_1", "ab_2"]
    assert names("c ab*", "name!=ab_1") == ["c", "ab_2"]
    assert open_run("c", output_dir).name == open_run(output_dir=output_dir).name == "c"
    assert [run.name for run in open_runs(output_dir, sort="-name", limit=2)] == ["c", "ab_2"]
    assert [run.name for run in open_runs(output_dir, limit=2)] == ["ab_2", "c"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("", ""), "which runs?"),
        (("ab",), "RUN=ab fits 2 runs"),
        (("x*",), "RUNS=x*: no run in"),
        (("bc_1*",), "did you mean"),
        (("", "name=x"), "fits WHERE=name=x"),
        (("c", "name=ab_1"), "none of RUNS=c fits WHERE=name=ab_1"),
        (("c", "val/los<1"), "did you mean val/loss"),
    ],
)
def test_choosing_none_is_refused(output_dir, given, said):
    with pytest.raises(BadUse) as error:
        chosen_runs(output_dir, *given)
    assert said in str(error.value)
