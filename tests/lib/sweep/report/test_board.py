# SPDX-License-Identifier: MIT
"""Which trials make a configuration, which one is the best, and the tables of them."""

import csv
import io
import math
import re
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.runs.compare.export import csv_text
from lib.sweep.report.board import board_of, pareto_front
from lib.sweep.report.pivot import pivot_of
from lib.sweep.report.records import leaderboard_records, pivot_records
from lib.sweep.report.tables import Cell, Table, leaderboard, pivot_table, spread
from lib.sweep.report.writing import as_latex, as_markdown
from tests.lib.sweep.report.conftest import arm, cells, sweep, trial


def labels(board):
    return [row.label for row in board.rows]


def test_seeds_are_aggregated_and_the_best_mean_is_first():
    values = {"dense": [3.0, 3.5, 4.0], "magnitude": [1.0, 2.0, 6.0], "movement": [2.0, 2.5, 2.0]}
    board = board_of(sweep(axes={}), cells([(arm(name), v) for name, v in values.items()]))
    assert labels(board) == ["arm=movement", "arm=magnitude", "arm=dense"]
    first = board.rows[0]
    assert (first.n, first.seeds) == (3, 3)
    assert first.mean() == pytest.approx(statistics.mean(values["movement"]))
    assert first.std() == pytest.approx(statistics.stdev(values["movement"]))
    assert board.best is first


def test_a_high_metric_turns_the_order():
    trials = cells([(arm("dense"), [0.5]), (arm("magnitude"), [0.6])])
    board = board_of(sweep(axes={}, metric={"name": "val/accuracy"}), trials)
    assert labels(board) == ["arm=magnitude", "arm=dense"]


def test_nothing_wins_by_missing_something():
    trials = [
        *cells([(arm("dense"), [2.0, 2.0])]),
        trial(10, arm("magnitude"), 1, 1.0),
        trial(11, arm("magnitude"), 2, state="failed", reason="NaN"),
        trial(12, arm("movement"), 1, 0.5),
        trial(13, arm("movement"), 2, 0.5, feasible=False),
    ]
    board = board_of(sweep(axes={}), trials)
    assert labels(board) == ["arm=dense", "arm=magnitude", "arm=movement"]
    rows = leaderboard(board).rows
    assert [row[-1].text for row in rows] == ["", "1 failed", "1 infeasible"]
    assert [row[-3].text for row in rows] == ["2", "1 of 2", "2"]


def test_of_infeasible_trials_alone_none_is_the_best():
    board = board_of(sweep(axes={}), [trial(0, arm("dense"), 1, 1.0, feasible=False)])
    assert board.best is None
    assert [row[-1].text for row in leaderboard(board).rows] == ["infeasible"]


def test_a_further_attempt_counts_and_the_one_before_does_not():
    trials = [
        trial(0, arm("dense"), 1, state="failed", reason="out of memory", superseded=True),
        trial(1, arm("dense"), 1, 2.0, attempt=1, reused=True),
        trial(2, arm("magnitude"), 1, state="failed", superseded=True),
        trial(3, arm("magnitude"), 1, state="waiting", attempt=1),
    ]
    board = board_of(sweep(axes={}), trials)
    assert board.rows[0].values == {1: (2.0,)}
    assert board.rows[0].reused == 1
    assert board.rows[1].missing == {"waiting": 1}
    assert board.counts == {"complete": 1, "tried again": 2, "waiting": 1}


def test_what_a_search_could_not_resolve_is_no_configuration():
    refused = trial(0, {}, None, state="failed", key="", reason="out of range")
    board = board_of(sweep(axes={}), [refused, trial(1, arm("dense"), 1, 1.0)])
    assert labels(board) == ["arm=dense"]
    assert len(board.trials) == 2


def test_a_cell_that_a_search_drew_again_counts_once():
    again = {"reused": True, "reason": "the same configuration as trial 0"}
    trials = [
        trial(0, arm("dense"), 1, 1.0),
        trial(1, arm("dense"), 1, 1.0, **again),
        trial(2, arm("dense"), 1, state="failed", **again),
    ]
    board = board_of(sweep(axes={}), trials)
    (row,) = board.rows
    assert ([t.number for t in row.trials], row.n, row.reused) == ([0], 1, 0)
    assert board.counts == {"complete": 1, "drawn again": 2}


def test_an_infinite_value_is_last_among_those_that_have_one():
    trials = cells([(arm("dense"), [math.inf]), (arm("magnitude"), [9.0])])
    assert labels(board_of(sweep(axes={}), trials)) == ["arm=magnitude", "arm=dense"]


TWO = {"metric": [{"name": "val/loss"}, {"name": "val/accuracy"}], "method": "nsga2"}


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_dominates(points):
    trials = [trial(i, {"arm": f"a{i}"}, 1, *map(float, p)) for i, p in enumerate(points)]
    board = board_of(sweep(axes={}, seeds=["1"], trials="9", **TWO), trials)

    def dominates(a, b):  # the loss is to be low, the accuracy high
        return a != b and a[0] <= b[0] and a[1] >= b[1]

    best = {f"arm=a{i}" for i, p in enumerate(points) if not any(dominates(q, p) for q in points)}
    assert {row.label for row in pareto_front(board.rows, [True, False])} == best
    on_front = [row.key in board.front for row in board.rows]
    assert sum(on_front) == len(best)
    assert all(on_front[: len(best)])


# ------------------------------------------------------------------------------------- the tables

GRID = [
    (arm("dense"), [1.0, 1.2, 1.1]),
    (arm("magnitude", 0.5), [1.3, 1.4, 1.5]),
    (arm("magnitude", 0.9), [2.3, 2.4]),
    (arm("movement", 0.5), [1.6, 1.8, 1.7]),
    (arm("movement", 0.9), [2.1, 2.0, 2.2]),
]


def test_a_grid_of_two_axes_is_a_table_and_marks_the_best_of_each_column():
    board = board_of(sweep(), cells(GRID))
    table = pivot_table(board, pivot_of(board), 0)
    assert table.heads == ["arm", "–", "TARGET_SPARSITY=0.5", "TARGET_SPARSITY=0.9"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["dense", "1.10 ± 0.10", "–", "–"],
        ["magnitude", "–", "1.40 ± 0.10", "2.350 ± 0.071 (n = 2)"],
        ["movement", "–", "1.70 ± 0.10", "2.10 ± 0.10"],
    ]
    best = [(i, j) for i, row in enumerate(table.rows) for j, c in enumerate(row) if c.best]
    assert best == [(1, 2), (2, 3)]
    assert "over 3 seeds" in table.title


def test_one_axis_and_a_search_are_no_table():
    one = cells([(arm("dense"), [1.0]), (arm("magnitude"), [2.0])])
    assert pivot_of(board_of(sweep(axes={}), one)) is None
    search = sweep(method="tpe", trials="5", seeds=["1"])
    assert pivot_of(board_of(search, cells(GRID))) is None


def test_of_three_axes_two_are_down():
    grid = [
        ({**arm("magnitude", sparsity), "LEARNING_RATE": rate}, [sparsity + rate])
        for sparsity in (0.5, 0.9)
        for rate in (0.1, 0.2)
    ]
    axes = {"TARGET_SPARSITY": ["0.5", "0.9"], "LEARNING_RATE": ["0.1", "0.2"]}
    grid += [({"arm": "dense", "LEARNING_RATE": rate}, [rate]) for rate in (0.1, 0.2)]
    board = board_of(sweep(axes=axes), cells(grid))
    table = pivot_table(board, pivot_of(board), 0)
    assert table.heads == ["arm", "TARGET_SPARSITY", "LEARNING_RATE=0.1", "LEARNING_RATE=0.2"]
    assert [cell.text for cell in table.rows[1]] == ["magnitude", "0.9", "1", "1.1"]
    assert {len(row) for row in table.rows} == {4}


def test_csv_has_all_digits():
    board = board_of(sweep(), cells([(params, [v / 3 for v in vs]) for params, vs in GRID]))
    lines = list(csv.DictReader(io.StringIO(csv_text(leaderboard_records(board)))))
    for line, row in zip(lines, board.rows, strict=True):
        assert float(line["val/loss mean"]) == row.mean()
        assert float(line["val/loss std"]) == row.std()
        values = dict(pair.split(":") for pair in line["val/loss values"].split())
        assert {int(seed): float(v) for seed, v in values.items()} == row.sample()
    pivot = list(csv.DictReader(io.StringIO(csv_text(pivot_records(board, pivot_of(board))))))
    by_label = {row.label: row for row in board.rows}
    found = float(pivot[1]["val/loss TARGET_SPARSITY=0.9 mean"])
    assert found == by_label["arm=magnitude TARGET_SPARSITY=0.9"].mean()
    assert pivot[0]["val/loss TARGET_SPARSITY=0.9 mean"] == ""


@pytest.mark.parametrize(
    ("name", "mean", "std", "said"),
    [
        ("val/loss", 1.23456, 0.0123, "1.235 ± 0.012"),
        ("val/loss", 1.23456, math.nan, "1.2346"),
        ("val/loss", 1.5, 0.0, "1.5"),
        ("val/loss", math.nan, math.nan, "–"),
        ("val/loss", math.inf, math.nan, "inf"),
        ("val/loss", 12345.6, 234.5, "12346 ± 234.5"),
        ("val/accuracy", 0.97214, 0.00351, "97.21 ± 0.35 %"),
        ("final/training_time_s", 61.0, 2.0, "1 min 01 s ± 2.0 s"),
    ],
)
def test_two_digits_of_the_deviation(name, mean, std, said):
    assert spread(name, mean, std) == said


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3))
def test_markdown_cells_come_back(rows):
    table = Table("t", ["a", "b"], [[Cell(a), Cell(b)] for a, b in rows])
    lines = as_markdown(table).removeprefix("**t**\n\n").removesuffix("\n").split("\n")[2:]
    for line, row in zip(lines, rows, strict=True):
        cells_of = re.fullmatch(r"\| ((?:[^\\|]|\\.)*) \| ((?:[^\\|]|\\.)*) \|", line).groups()
        assert [re.sub(r"\\(.)", r"\1", c) for c in cells_of] == [" ".join(c.split()) for c in row]


@given(TEXTS)
def test_latex_interprets_nothing_in_a_cell(text):
    line = as_latex(Table("t", ["a", "b"], [[Cell(text), Cell("end")]])).split("\n")[6]
    assert line.endswith(r" & end \\")
    commands = r"\\(?:text[a-z]+|ldots)\{\}|\\[&%$#_{}]|\$\\pm\$|\{\[\}"
    rest = re.sub(commands, "", line.removesuffix(r" & end \\"))
    assert not set(rest) & set('\\&%$#_{}~^<>|"')


def test_a_limit_says_how_many_are_not_shown():
    table = leaderboard(board_of(sweep(), cells(GRID)), 2)
    assert len(table.rows) == 2
    assert "3 more configurations are not shown." in table.notes
