# SPDX-License-Identifier: MIT
"""The table of the sweep gpt2-pruning: whole seeds only, and differences that are paired."""

import json

import pytest
from scipy import stats

from benchmarks import pruning_gpt2
from benchmarks.pruning_gpt2 import RESULTS, Row, collect, losses_of, outcomes, read, tables, write
from lib.errors import Failure
from lib.files import ROOT
from lib.sweep.cells import Space
from lib.sweep.reading import read_sweep

SPARSITIES = (0.5, 0.9)
SEEDS = (1, 2, 3)
ABOVE = {"magnitude": 0.0, "bitter7": -0.02, "v-1/8": -0.01, "v-1/2": 0.001, "lamp": 0.1}


def made_up() -> list[Row]:
    rows = []
    for seed in SEEDS:
        rows.append(Row("dense", 0.0, seed, 2.0 + 0.1 * seed, "0" * 16))
        for i, (arm, above) in enumerate(ABOVE.items()):
            for sparsity in SPARSITIES:
                loss = 2.0 + 0.1 * seed + sparsity / 10 + above * (1 + 0.01 * seed * i)
                rows.append(Row(arm, sparsity, seed, loss, "0" * 16))
    return rows


def test_kept_rows_come_back(tmp_path):
    write(tmp_path / "rows.csv", made_up())
    assert read(tmp_path / "rows.csv") == made_up()


def test_differences_are_paired_and_corrected_for_all_of_them():
    losses = losses_of(made_up())
    found = outcomes(losses)
    assert len(found) == 4 * 2
    ours, theirs = losses["bitter7", 0.9], losses["magnitude", 0.9]
    expected = stats.ttest_rel([*ours.values()], [*theirs.values()])
    outcome = found["bitter7", 0.9]
    assert outcome.p == pytest.approx(expected.pvalue)
    assert outcome.interval(0.95) == pytest.approx(tuple(expected.confidence_interval()))
    every = [outcome.p for outcome in found.values()]
    assert min(outcome.p_holm for outcome in found.values()) == pytest.approx(8 * min(every))


def test_tables():
    loss, powers, difference, p = tables(losses_of(made_up())).values()
    assert loss[0] == "| arm | 50 % | 90 % |"
    assert loss[2] == "| dense | 2.2000 ± 0.1000 | |"
    assert loss[3] == "| magnitude | 2.2500 ± 0.1000 | 2.2900 ± 0.1000 |"
    assert powers[2:] == [
        "| 0 | 50 | 90 |",
        "| ⅛ | 40 | 80 |",
        "| ¼ | 30 | 70 |",
        "| ½ | 51 | 91 |",
    ]
    assert difference[2] == "| bitter7 | -0.0204 ± 0.0005 * | -0.0204 ± 0.0005 * |"
    assert len(p) == len(difference) == 2 + 4


def stored(directory, key: str, *losses: float, status="completed") -> None:
    """A run directory with what is looked for in it."""
    run = directory / f"run-{key}-{status}"
    (run / "logs").mkdir(parents=True)
    fields = {"run_name": run.name, "status": status, "science_hash": key}
    (run / "metadata.yaml").write_text(json.dumps(fields))
    rows = [{"step": n, "time": n, "metrics": {"val/loss": x}} for n, x in enumerate(losses, 1)]
    (run / "logs" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_whole_seeds_are_collected_with_their_last_loss(tmp_path):
    runs = tmp_path / "runs"
    cells = Space(read_sweep(pruning_gpt2.SWEEP)).cells()
    *kept, last = [cell for cell in cells if cell.seed in (2, 4)]
    assert last.seed == 4
    for n, cell in enumerate(kept):
        stored(runs, cell.key, 1.0, 2.0 + n / 1000)
    stored(runs, last.key, 2.0, status="failed")
    stored(runs, "f" * 16, 1.5)  # of something else
    with pytest.raises(Failure, match=r"no seed of SWEEP=gpt2-pruning has all its trainings yet"):
        collect(tmp_path)

    rows = collect(runs)

    assert len(rows) == 1 + 9 * 5 and {row.seed for row in rows} == {2}
    by_key = {cell.key: (n, cell) for n, cell in enumerate(kept)}
    for row in rows:
        n, cell = by_key[row.science_hash]
        assert row.val_loss == 2.0 + n / 1000
        assert (row.arm, row.seed) == (cell.params["arm"], cell.seed)
        assert row.sparsity == float(cell.settings.get("TARGET_SPARSITY", 0))


def test_the_page_has_the_tables_of_the_kept_trainings():
    """docs/pruning.md, from benchmarks/pruning_gpt2.csv."""
    page = (ROOT / "docs" / "pruning.md").read_text()
    for title, lines in tables(losses_of(read(ROOT / RESULTS))).items():
        assert "\n".join(lines) in page, title


def test_the_program_prints_and_draws_them(tmp_path, monkeypatch, capsys):
    argv = ["pruning_gpt2", "--results", str(ROOT / RESULTS), "--plot", str(tmp_path / "a.svg")]
    monkeypatch.setattr("sys.argv", argv)
    pruning_gpt2.main()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(last["against_magnitude"]) == 8 * 5
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_one_seed_is_not_enough(tmp_path, monkeypatch):
    write(tmp_path / "one.csv", [row for row in made_up() if row.seed == 1])
    monkeypatch.setattr("sys.argv", ["pruning_gpt2", "--results", str(tmp_path / "one.csv")])
    with pytest.raises(Failure, match="one seed has no spread"):
        pruning_gpt2.main()
