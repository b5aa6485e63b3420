# SPDX-License-Identifier: MIT
"""The picture shows the curves of the journals: all of them, told apart, no outlier in the way."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from lib.errors import BadUse
from lib.runs.compare.curves import MOST_RUNS, draw, is_noisy, smoothed, style, thinned
from lib.runs.series import Series
from tests.lib.runs.compare.conftest import make


def series(values):
    values = np.array(values, np.float64)
    return Series(np.arange(len(values)), values, values)


@pytest.fixture
def drawn(monkeypatch):
    """The last figure that was drawn."""
    figures = []
    original = Figure.savefig

    def savefig(figure, *arguments, **options):
        figures.append(figure)
        return original(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def test_two_runs_in_two_panels(out, drawn):
    runs = [
        make(out, name, loss=None, rows=[(s, {"val/loss": v / s, "lr": 0.1}) for s in (1, 2, 4)])
        for name, v in (("a", 1.0), ("b", 2.0))
    ]
    picture = draw(runs, ["A $x", "B y$"], ["val/loss", "lr", "missing"])
    assert picture.startswith(b"\x89PNG")
    loss, lr = drawn[0].axes
    assert [axes.get_title(loc="left") for axes in (loss, lr)] == ["val/loss", "lr"]
    curves = [line for line in loss.get_lines() if len(line.get_xdata()) == 3]
    assert [list(line.get_ydata()) for line in curves] == [[1.0, 0.5, 0.25], [2.0, 1.0, 0.5]]
    assert len({line.get_color() for line in curves}) == 2
    dots = [line for line in loss.get_lines() if line.get_marker() == "o"]
    assert [list(dot.get_xdata()) for dot in dots] == [[4], [4]]
    assert not [line for line in lr.get_lines() if line.get_marker() == "o"]
    assert [t.get_text() for t in drawn[0].legends[0].get_texts()] == ["A $x", "B y$"]


def test_a_logarithmic_axis_only_where_it_can_be(out, drawn):
    rows = [(s, {"a/loss": 10.0**-s, "b/loss": float(s - 2)}) for s in range(1, 5)]
    runs = [make(out, name, rows=rows) for name in "ab"]
    draw(runs, ["A", "B"], ["a/loss", "b/loss"], log=True)
    assert [axes.get_yscale() for axes in drawn[0].axes] == ["log", "linear"]


def test_equal_runs_give_equal_files(out):
    runs = [make(out, name, rows=[(1, {"val/loss": 1.0})]) for name in "ab"]
    first, again = (draw(runs, ["A", "B"], ["val/loss"], kind="svg") for _ in range(2))
    assert first == again
    assert first.lstrip().startswith(b"<?xml")
    assert b">B</text>" in first


def test_what_cannot_be_drawn(out):
    runs = [make(out, "a", loss=math.nan), make(out, "b", loss=math.inf)]
    with pytest.raises(BadUse, match="none of the runs has logged val/loss"):
        draw(runs, ["A", "B"], ["val/loss"])
    with pytest.raises(BadUse, match=f"more than {MOST_RUNS}"):
        draw(runs * MOST_RUNS, [], ["val/loss"])


def test_many_runs_are_told_apart():
    looks = [style(number) for number in range(MOST_RUNS)]
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == MOST_RUNS >= 20


def test_a_long_curve_keeps_its_mean():
    values = np.sin(np.arange(12_345)) + np.arange(12_345)
    values[7] = math.nan
    steps, means = thinned(series(values))
    assert len(steps) == len(means) == 1000
    assert (np.diff(steps) > 0).all() and steps[-1] == 12_344
    counts = np.diff(np.searchsorted(np.flatnonzero(~np.isnan(values)), steps, "right"), prepend=0)
    assert (means * counts).sum() == pytest.approx(np.nansum(values))
    short = thinned(series([1.0, math.inf, 1e200, 2.0]))
    assert [list(part) for part in short] == [[0, 3], [1.0, 2.0]]


def test_only_a_noisy_curve_is_smoothed():
    line, noise = np.linspace(2, 1, 400), np.random.default_rng(0).normal(0, 0.1, 400)
    assert not is_noisy(line)
    assert not is_noisy(np.ones(400))
    assert is_noisy(line + noise)
    assert not is_noisy((line + noise)[:20])
    smooth = smoothed(line + noise)
    assert np.std(smooth - line) < 0.3 * np.std(noise)
    assert smoothed(line)[:-10] == pytest.approx(line[:-10])  # it does not lag
    assert smoothed(line + noise)[-1] == pytest.approx((line + noise)[-11:].mean())
    wanted = (line + noise)[90:111].mean()
    assert smooth[100] == pytest.approx(wanted)
