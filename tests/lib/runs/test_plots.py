# SPDX-License-Identifier: MIT
"""The curves say what the journal says."""

import itertools
import math
import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from lib.runs import metadata, plots
from lib.runs.curve import Curve
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
    log(
        directory,
        *((step, {"val/loss": abs(step - 50) / 50}) for step in range(0, 100, 10) if step != 50),
    )
    log(directory, (50, {"val/loss": 0.0, "val/accuracy": 0.25}), (99, {"val/accuracy": 0.5}))
    log(directory, (99, {"train/accuracy": 0.5}), (99, {"grad_norm": 1.0}))
    files = plot_run(directory)
    assert [f.name for f in files] == ["loss.png", "accuracy.png", "learning_rate.png"]
    assert all(f.read_bytes().startswith(b"\x89PNG") for f in files)
    loss = figures["Loss of run_1"]
    labels = {line.get_label(): line for line in loss.get_lines()}
    assert set(labels) >= {"train", "validation", "best: 0 at step 50"}
    assert list(labels["validation"].get_xdata()) == [
        *(s for s in range(0, 100, 10) if s != 50),
        50,
    ]
    assert labels["train"].get_ydata()[30] == pytest.approx(1.7)  # the mean does not lag
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("step", "cross-entropy")
    accuracy = {line.get_label() for line in figures["Accuracy of run_1"].get_lines()}
    assert "best: 0.25 at step 50" in accuracy  # that of the lowest loss


def test_what_is_not_finite_is_left_out(directory, figures):
    values = [1.0, math.nan, math.inf, 0.5]
    log(directory, *((i, {"train/loss": value}) for i, value in enumerate(values)))
    plot_run(directory)
    (line,) = figures["Loss of run_1"].get_lines()
    assert list(line.get_xdata()) == [0, 3]


def test_values_near_the_end_of_the_range_of_a_float(directory, figures):
    values = [1e308, -1e308, 1.0, 1e308, 0.5]
    log(directory, *((2**63 + i, {"train/loss": value}) for i, value in enumerate(values)))
    plot_run(directory)
    (line,) = figures["Loss of run_1"].get_lines()
    assert list(line.get_ydata()) == [1.0, 0.5]


def test_damaged_rows_are_said_once(directory, figures):
    log(directory, (1, {"train/loss": 1.0}))
    with (directory / "logs" / "metrics.jsonl").open("ab") as journal:
        journal.write(b"[1, 2]\n{}}\n\xff\n")
    said: list[str] = []
    plot_run(directory, say=said.append)
    assert said == [f"warning: 3 rows are damaged and left out: {directory}/logs/metrics.jsonl"]


def test_a_pipe_in_place_of_the_configuration_or_the_journal_blocks_nobody(directory):
    log(directory, (1, {"train/loss": 1.0}))
    os.mkfifo(directory / ".config")
    assert [path.name for path in plot_run(directory)] == ["loss.png"]
    (directory / "logs" / "metrics.jsonl").unlink()
    os.mkfifo(directory / "logs" / "metrics.jsonl")
    with pytest.raises(FileNotFoundError, match="no such regular file"):
        plot_run(directory)


def test_nothing_to_draw(directory):
    log(directory, (0, {"grad_norm": 1.0}), (1, {"train/loss": math.nan}))
    assert plot_run(directory) == []


def test_no_journal(directory):
    with pytest.raises(FileNotFoundError):
        plot_run(directory)


def test_long_curves_are_thinned_by_means():
    curve = Curve(plots._MAX_POINTS)
    for step in range(100_001):
        curve.add(step, float(step % 2))
    points = curve.points()
    assert plots._MAX_POINTS // 2 <= len(points) <= plots._MAX_POINTS
    assert {value for _, value in points[:-1]} == {0.5}
    assert points[-1][0] == 100_000
    steps = [step for step, _ in points]
    assert {b - a for a, b in itertools.pairwise(steps[:-1])} == {128}


@given(st.lists(st.floats(-1e6, 1e6), max_size=300), st.sampled_from([2, 4, 10]))
def test_thinning_keeps_the_mean_of_all_values(values, room):
    curve = Curve(room)
    for step, value in enumerate(values):
        curve.add(step, value)
    points = curve.points()
    assert len(points) <= room
    widths = [b - a for (a, _), (b, _) in itertools.pairwise([(-1, 0.0), *points])]
    total = sum(width * mean for width, (_, mean) in zip(widths, points, strict=True))
    assert total == pytest.approx(math.fsum(values), abs=1e-3)
    assert not values or points[-1][0] == len(values) - 1


def test_the_best_of_a_pruned_run_is_of_the_pruned_network(directory, figures):
    log(directory, *((step, {"val/loss": loss}) for step, loss in ((1, 0.1), (5, 0.5), (9, 0.4))))
    metadata.save(directory / "metadata.yaml", {"pruning": {"end_step": 5}})
    plot_run(directory)
    labels = {line.get_label() for line in figures["Loss of run_1"].get_lines()}
    assert "best: 0.4 at step 9" in labels
    metadata.save(directory / "metadata.yaml", {"pruning": {"end_step": 10}})
    plot_run(directory)
    assert not [li for li in figures["Loss of run_1"].get_lines() if "best" in li.get_label()]


def test_the_loss_is_drawn_on_the_axis_that_is_asked_for(directory, figures):
    def scale(**options) -> str:
        plot_run(directory, **options)
        return figures["Loss of run_1"].get_yscale()

    log(directory, *((step, {"train/loss": 1.0 / (1 + step), "lr": 1.0}) for step in range(5)))
    assert scale() == "linear" and scale(log_loss=True) == "log"
    (directory / ".config").write_text("CONFIG_PLOTS_LOG_LOSS=y\n")
    assert scale() == "log" and scale(log_loss=False) == "linear"
    assert figures["Learning rate of run_1"].get_yscale() == "linear"
    log(directory, (5, {"val/loss": 0.0}))
    assert scale() == "linear"  # zero has no place on the other


@pytest.mark.parametrize("value", [1.75e-3, 0.000123456, 123456.7])
def test_no_label_is_cut_off(directory, monkeypatch, value):
    log(directory, *((step, {"lr": value * (1 + step / 100)}) for step in range(5)))
    seen = []

    def savefig(figure, *_, **__):
        seen.append(figure.axes[0].yaxis.get_tightbbox(figure.canvas.get_renderer()).x0)

    monkeypatch.setattr(Figure, "savefig", savefig)
    plot_run(directory)
    assert seen and min(seen) > 0


def test_any_name_makes_a_title(tmp_path, figures):
    directory = tmp_path / ("a$^$\\frac{" + "long" * 40)
    (directory / "logs").mkdir(parents=True)
    log(directory, (1, {"train/loss": 1.0}))
    (file,) = plot_run(directory)
    assert file.read_bytes().startswith(b"\x89PNG")
    (title,) = figures
    assert title.startswith("Loss of a$^$\\frac{long") and title.endswith("…")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_run(directory):
    """200,000 rows take no more than 1000 do, a megabyte aside."""
    path = directory / "logs" / "metrics.jsonl"

    def peak_bytes(rows: int) -> int:
        with path.open("w") as file:
            for step in range(rows):
                file.write(f'{{"step":{step},"metrics":{{"train/loss":0.5,"lr":0.1}}}}\n')
        plots._read_curves(path)
        tracemalloc.start()
        plots._read_curves(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(200_000) < peak_bytes(1000) + 2**20
