# SPDX-License-Identifier: MIT
"""The page: which figures there are, what they hold, and how a browser draws them."""

import json
import math
import os
import random
import re
from pathlib import Path

import pytest

from lib.runs.report.html import write_page
from lib.sweep.report.board import board_of
from lib.sweep.report.differences import differences
from lib.sweep.report.figures import figures_of
from lib.sweep.report.importance import Importances, importances
from lib.sweep.report.page import render
from tests.lib.runs.report.browser import log_of, open_browser
from tests.lib.sweep.report.conftest import arm, sweep, trial

HOSTILE = "<img src=x onerror=pwned=1>"


def grid():
    """Dense, and two ways to prune to two sparsities, five seeds; one trial failed."""
    generator = random.Random(0)
    points = [arm("dense")]
    points += [arm(name, s) for name in ("magnitude", "movement") for s in (0.5, 0.9)]
    trials = []
    for params in points:
        for seed in range(1, 6):
            number = len(trials)
            value = 2 + seed / 100 + 0.3 * params.get("TARGET_SPARSITY", 0) ** 2
            value += 0.02 * (params["arm"] == "movement") + generator.gauss(0, 0.004)
            made = trial(number, params, seed, value, reused=number < 3)
            if number == 13:
                made = trial(number, params, seed, state="failed", reason=f"NaN {HOSTILE}")
            trials.append(made)
    return board_of(sweep(seeds=list("12345"), description=f"by which score? {HOSTILE}"), trials)


SPACE = {
    "LEARNING_RATE": {"min": "1e-4", "max": "0.1", "log": True},
    "WEIGHT_DECAY": {"min": "0", "max": "0.3"},
    "OPTIMIZER": ["adamw", "sgd"],
}


def search(trials=60, **given):
    """The rate matters most, the decay hardly."""
    generator = random.Random(1)
    made = []
    for number in range(trials):
        rate = 10 ** generator.uniform(-4, -1)
        params = {"LEARNING_RATE": rate, "WEIGHT_DECAY": generator.uniform(0, 0.3)}
        params["OPTIMIZER"] = generator.choice(["adamw", "sgd"])
        value = (math.log10(rate) + 2.3) ** 2 + 0.5 * (params["OPTIMIZER"] == "sgd")
        values = [value, 0.9 - value / 5 + generator.gauss(0, 0.1)]
        values = values if "metric" in given else values[:1]
        made.append(trial(number, params, 1, *values, feasible=number % 10 != 3))
    usual = {"arms": None, "axes": SPACE, "method": "tpe", "trials": "60", "seeds": ["1"]}
    return board_of(sweep(**(usual | given)), made)


TWO = {"metric": [{"name": "val/loss"}, {"name": "val/accuracy"}], "method": "nsga2"}


def titles(board):
    return {(f.section, f.title) for f in figures_of(board, importances(board))}


def test_importance_knows_what_matters():
    found = importances(search())
    assert found.evaluator == "fANOVA"
    assert list(found.shares) == ["LEARNING_RATE", "OPTIMIZER", "WEIGHT_DECAY"]
    assert found.shares["LEARNING_RATE"] > 0.6 > 0.1 > found.shares["WEIGHT_DECAY"]
    assert sum(found.shares.values()) == pytest.approx(1)


def test_importance_counts_the_seed_and_leaves_out_what_is_not_everywhere():
    found = importances(grid())
    assert set(found.shares) == {"arm", "seed"}
    assert found.left_out == ("TARGET_SPARSITY",)
    assert found.trials == 24


@pytest.mark.parametrize(
    ("board", "why"),
    [
        (lambda: search(9), "9 trials have a value"),
        (lambda: search(**TWO), "two metrics"),
        (
            lambda: board_of(sweep(axes={}), [trial(i, arm("dense"), i, i) for i in range(12)]),
            "few",
        ),
    ],
)
def test_importance_says_why_there_is_none(board, why):
    found = importances(board())
    assert why in found.why_not
    assert not found.shares


def test_figures_are_those_that_say_something():
    sections = {section for section, _ in titles(grid())}
    assert sections == {"history", "importance", "parallel", "slices", "contours"}
    assert {title for section, title in titles(search()) if section == "contours"} == {
        "LEARNING_RATE and WEIGHT_DECAY"  # names against random numbers would be mostly empty
    }
    assert ("pareto", "Pareto front") in titles(search(**TWO))
    assert titles(board_of(sweep(), [])) == set()


def test_the_history_is_the_best_feasible_value_so_far():
    board = search()
    (history,) = (f for f in figures_of(board, Importances()) if f.section == "history")
    feasible, infeasible, best = history.data
    assert len(feasible["x"]) == 54 and len(infeasible["x"]) == 6
    lowest = [min(feasible["y"][: i + 1]) for i in range(54)]
    assert best["y"] == lowest


def test_a_contour_passes_through_its_points():
    board = search()
    (contour,) = (f for f in figures_of(board, Importances()) if f.section == "contours")
    surface, points = contour.data
    row = next(r for r in board.rows if 0.1 < r.params["WEIGHT_DECAY"] < 0.2)
    i = min(range(40), key=lambda i: abs(math.log(surface["x"][i] / row.params["LEARNING_RATE"])))
    j = min(range(40), key=lambda j: abs(surface["y"][j] - row.params["WEIGHT_DECAY"]))
    assert surface["z"][j][i] == pytest.approx(row.mean(), abs=0.25)
    assert len(points["x"]) == 60


def test_markup_is_text_and_the_data_are_json():
    board = grid()
    page = render(board, differences(board, "arm=magnitude"))
    assert HOSTILE not in page
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    assert not set("<>&") & set(text)
    assert json.loads(text, parse_constant=pytest.fail)
    assert "Content-Security-Policy" in page and "unsafe-eval" not in page
    assert len(page) < 6_000_000


def test_a_sweep_that_has_nothing_yet_has_a_page():
    waiting = [trial(i, arm("dense"), i, state="waiting", started=None, ended=None) for i in (1, 2)]
    page = render(board_of(sweep(axes={}), waiting))
    assert "2 waiting" in page


DRAWN = "return [...document.querySelectorAll('.chart')].map((chart) => chart.dataset.drawn)"
# How many marks each chart shows.
MARKS = """
const marks = ['.scatterlayer path', '.barlayer path', '.heatmaplayer image', '.contourlayer path'];
return [...document.querySelectorAll('.chart')].map(
  (chart) => chart.querySelectorAll(marks.join(', ')).length);
"""


@pytest.mark.ui
def test_a_browser_draws_all_of_it(tmp_path):
    """Screenshots go to $SCREENSHOTS, if that is set, as docs/images/sweep.png was made."""
    board = grid()
    pages = {
        "sweep": render(board, differences(board, "arm=magnitude")),
        "sweep-search": render(search()),
        "sweep-pareto": render(search(**TWO)),
    }
    browser = open_browser(tmp_path / "profile")
    try:
        for name, page in pages.items():
            path = tmp_path / f"{name}.html"
            write_page(page, path)
            assert path.stat().st_mode & 0o777 == 0o600
            look_at(browser, path, name)
    finally:
        browser.quit()


def look_at(browser, path, name):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.set_window_size(1200, 900)
    browser.get(path.as_uri())
    browser.set_window_size(1200, browser.execute_script("return document.body.scrollHeight") + 150)
    drawn = WebDriverWait(browser, 60).until(
        lambda _: all(found := browser.execute_script(DRAWN)) and found
    )
    assert len(drawn) >= 6
    assert min(browser.execute_script(MARKS)) > 0
    entries = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert [e for e in browser.execute_script(entries) if not e.startswith("data:")] == []
    assert browser.execute_script("return window.pwned") is None
    assert log_of(browser) == []
    if folder := os.environ.get("SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))
