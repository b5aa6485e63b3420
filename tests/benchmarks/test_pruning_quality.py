# SPDX-License-Identifier: MIT
"""The table of pruning methods: kept trainings are not repeated, spreads are what they say."""

import json
import math
import random
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from scipy import stats

from benchmarks import pruning_quality
from benchmarks.pruning_quality import cells, complete_seeds, read_results
from benchmarks.pruning_tables import DENSE, Cell, differences, markdown, mean_and_interval, means
from benchmarks.pruning_training import STATE_SCORES
from lib.files import ROOT

METHODS = ("magnitude", "movement", "bitter7")


@pytest.fixture
def results(tmp_path):
    """Made-up trainings with 4 seeds at two sparsities; movement is 0.1 below magnitude always."""
    chance = random.Random(0)
    rows = []
    for seed in range(4):
        dense = {"accuracy": 0.9, "correlations": dict.fromkeys(STATE_SCORES, 0.5)}
        rows.append((Cell(DENSE, 0.0, seed, 20), dense))
        for sparsity in (0.5, 0.9):
            magnitude = chance.uniform(0.5, 0.9)
            for method, value in zip(METHODS, (magnitude, magnitude - 0.1, 0.7), strict=True):
                rows.append((Cell(method, sparsity, seed, 20), {"accuracy": value}))
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps({"cell": c, "result": r}) + "\n" for c, r in rows))
    return path


def run(monkeypatch, results, *flags: str) -> None:
    chosen = ["--methods", *METHODS, "--sparsities", "0.5", "0.9", "--seeds", "4"]
    argv = ["pruning_quality", "--results", str(results), "--jobs", "1", *chosen, *flags]
    monkeypatch.setattr(sys, "argv", argv)
    pruning_quality.main()


def test_kept_trainings_are_printed_and_drawn(results, monkeypatch, capsys, tmp_path):
    before = results.read_bytes()
    run(monkeypatch, results, "--plot", str(tmp_path / "figure.png"))
    out = capsys.readouterr().out
    assert results.read_bytes() == before
    assert out.count("-10.00 ± 0.00") == 2  # movement against magnitude: paired, without spread
    assert "dense                          90.00 ± 0.00  90.00 ± 0.00\n" in out
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_torn_line_is_trained_again_and_the_next_is_whole(results, monkeypatch):
    *kept, last = results.read_text().splitlines(keepends=True)
    results.write_text("".join(kept) + last[:20])
    missing = Cell(*json.loads(last)["cell"])
    assert missing not in read_results(results)
    trained = []

    def train(network, cell):
        assert network == "lenet5"
        trained.append(cell)
        return {"accuracy": 0.25}

    monkeypatch.setattr(pruning_quality, "train", train)
    monkeypatch.setattr(pruning_quality, "ProcessPoolExecutor", ThreadPoolExecutor)
    run(monkeypatch, results)
    assert trained == [missing]
    assert read_results(results)[missing] == {"accuracy": 0.25}


def test_kept_seeds_are_printed_without_training(results, monkeypatch, capsys):
    """The last seed lacks a training, so it does not count."""
    *kept, _ = results.read_text().splitlines(keepends=True)
    results.write_text("".join(kept))
    run(monkeypatch, results, "--kept", "--markdown")
    out = capsys.readouterr().out
    assert f"{results}: 3 seeds" in out
    assert "| dense | 90.00 ± 0.00 | |\n" in out
    assert "| movement | -10.00 ± 0.00 | -10.00 ± 0.00 |\n" in out
    assert results.read_text() == "".join(kept)


@pytest.mark.parametrize(
    ("network", "sparsities"),
    [("lenet5", (0.9, 0.95, 0.98)), ("resnet50", (0.9, 0.95, 0.98, 0.99))],
)
def test_the_page_has_the_tables_of_the_kept_trainings(network, sparsities):
    """docs/pruning.md, from benchmarks/pruning_quality_….jsonl; only seeds that are complete."""
    page = (ROOT / "docs" / "pruning.md").read_text()
    done = read_results(ROOT / f"benchmarks/pruning_quality_{network}.jsonl")
    trained = [*{cell.method: None for cell in done if cell.method != DENSE}]
    last = max(cell.seed for cell in done)
    seeds = complete_seeds([*cells(trained, sparsities, last + 1, epochs=20)], done)
    done = {cell: result for cell, result in done.items() if cell.seed < seeds}
    assert len(done) == seeds * (1 + len(trained) * len(sparsities)) > 0
    assert f"standard deviation over seeds 0 to {seeds - 1}:" in " ".join(page.split())
    options = SimpleNamespace(methods=trained, sparsities=sparsities)
    for table in means(done, options), differences(done, options):
        rows = [(method, *(str(row[s]) for s in sparsities)) for method, row in table.items()]
        for line in markdown([], rows)[2:]:
            assert f"{line}\n" in page


def test_the_interval_is_student_s():
    chance = random.Random(1)
    values = [chance.gauss(0.1, 0.05) for _ in range(10)]
    low, high = stats.t.interval(0.95, 9, statistics.mean(values), stats.sem(values))
    found = mean_and_interval(values)
    assert (found.mean - found.spread, found.mean + found.spread) == pytest.approx((low, high))
    assert mean_and_interval([0.5]).spread == math.inf
