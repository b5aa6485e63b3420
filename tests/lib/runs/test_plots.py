# SPDX-License-Identifier: MIT
"""The curves say what the journal says."""

import math

import pytest
from matplotlib.figure import Figure

from lib.runs import plots
from lib.runs.journal import Journal
from lib.runs.plots import plot_run


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "run_1" / "logs").mkdir(parents=True)
    return tmp_path / "run_1"


def log(directory, *rows):
    journal = Journal(directory / "logs" / "metrics.jsonl")
    for step, metrics in rows:
        journal.log(metrics, step)
    journal.close()


@pytest.fixture
def figures(monkeypatch):
    """The figures as drawn, by title, while PNG files are written from them."""
    drawn = {}
    original = Figure.savefig

    def savefig(figure, *arguments, **options):
        drawn[figure.axes[0].get_title(loc="left")] = figure.axes[0]
        return original(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return drawn


def test_train_against_validation(directory, figures):
    for step in range(100):
        log(directory, (step, {"train/loss": 2.0 - step / 100, "lr": 0.1}))
    log(directory, *((step, {"val/loss": abs(step - 50) / 50}) for step in range(0, 100, 10)))
    log(directory, (99, {"train/accuracy": 0.5, "val/accuracy": 0.25}), (99, {"grad_norm": 1.0}))
    files = plot_run(directory)
    assert [f.name for f in files] == ["loss.png", "accuracy.png", "learning_rate.png"]
    assert all(f.read_bytes().startswith(b"\x89PNG") for f in files)
    loss = figures["Loss of run_1"]
    labels = {line.get_label(): line for line in loss.get_lines()}
    assert set(labels) >= {"train", "validation", "best: 0 at step 50"}
    assert list(labels["validation"].get_xdata()) == list(range(0, 100, 10))
    assert labels["train"].get_ydata()[30] == pytest.approx(1.7)  # the mean does not lag
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("step", "cross-entropy")
    accuracy = {line.get_label() for line in figures["Accuracy of run_1"].get_lines()}
    assert "best: 0.25 at step 99" in accuracy


def test_what_is_not_finite_is_left_out(directory, figures):
    values = [1.0, math.nan, math.inf, 0.5]
    log(directory, *((i, {"train/loss": value}) for i, value in enumerate(values)))
    plot_run(directory)
    (line,) = figures["Loss of run_1"].get_lines()
    assert list(line.get_xdata()) == [0, 3]


def test_nothing_to_draw(directory):
    log(directory, (0, {"grad_norm": 1.0}), (1, {"train/loss": math.nan}))
    assert plot_run(directory) == []


def test_no_journal(directory):
    with pytest.raises(FileNotFoundError):
        plot_run(directory)


def test_long_curves_are_thinned_by_means():
    curve = [(step, float(step % 2)) for step in range(100_000)]
    thin = plots._thin(curve)
    assert len(thin) == 2000
    assert {value for _, value in thin} == {0.5}
    assert thin[-1][0] == 99_999
