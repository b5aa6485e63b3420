# SPDX-License-Identifier: MIT
"""`make compare` and `make leaderboard` as a user types them."""

import contextlib
import csv
import io
import json
import math
import subprocess
import sys

import pytest

from lib.errors import BadUse
from lib.runs.compare.grid import Grid, Screen
from scripts.runs import compare, leaderboard
from tests.lib.runs.compare.conftest import make

WIDE = "a_run_with_a_rather_long_name_such_as_make_gives_it_20250101-120000"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two learning rates with three seeds, one run of another optimizer, one that diverged."""
    out = tmp_path_factory.mktemp("out") / "training"
    for lr, base in ((0.1, 0.5), (0.2, 0.3)):
        for seed in range(3):
            rows = [(step, {"train/loss": base + 1 / step}) for step in (1, 2, 4)]
            loss = base + 0.01 * seed * seed + lr * seed / 50
            make(out, f"lr{lr}_{seed}", loss=loss, rows=rows, LEARNING_RATE=lr, SEED=seed)
    make(out, WIDE, loss=0.7, OPTIMIZER="adam", DESCRIPTION="x" * 100, NUM_EPOCHS=9)
    make(out, "diverged", loss=float("nan"), LEARNING_RATE=9.0, info={"device": "cuda:0"})
    make(out, "stopped", loss=0.1, status="interrupted", LEARNING_RATE=7.0)
    return out


@pytest.fixture
def call(runs, monkeypatch, capsys):
    """Run a program; returns what it prints."""
    for name in ("RUN", "RUNS", "WHERE", "FORMAT", "OUT", "LIMIT", "GROUP", "STATUS"):
        monkeypatch.delenv(name, raising=False)

    def call(program, *arguments, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["x", "--output-dir", str(runs), *arguments])
        assert program.main() == 0
        return capsys.readouterr().out

    return call


def files(folder):
    """What is in the runs, without the index beside them."""
    return {p: p.read_bytes() for p in folder.rglob("[!.]*") if p.is_file()}


def rows_of(printed):
    """The first line that begins with a word; cells are at least two spaces apart."""
    found = {}
    for line in filter(None, map(str.strip, printed.splitlines())):
        first, *cells = (cell.strip() for cell in line.split("  ") if cell)
        found.setdefault(first, cells)
    return found


def test_compare(call, runs):
    before = files(runs)
    printed = call(compare, RUNS=f"lr0.[12]_0 {WIDE}")
    found = rows_of(printed)
    assert found["A"][:2] == ["lr0.1_0", "completed"]
    assert found["LEARNING_RATE"] == ["0.1", "0.2", "0.1"]
    assert found["OPTIMIZER"] == ["sgd", "sgd", "adam"]
    assert found["val/loss"] == ["0.5", "0.3 *", "0.7"]
    assert found["DESCRIPTION"] == ['""', "x" * 59 + "…"]  # A and B are one column
    assert "Environment" not in found and "SEED" not in found
    (picture,) = (runs.parent / "compare").iterdir()
    assert printed.endswith(f"curves: {picture}\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert files(runs) == before
    again = call(compare, RUNS=f"lr0.[12]_0 {WIDE}", METRICS="val/accuracy", OUT="none")
    assert "curves:" not in again and "val/loss" not in again
    assert list((runs.parent / "compare").iterdir()) == [picture]


def test_compare_chooses_by_where(call):
    printed = call(compare, WHERE="LEARNING_RATE<0.15 and seed<2 and optimizer!=x", OUT="none")
    assert {"lr0.1_0", "lr0.1_1"} <= set(printed.split())
    assert "lr0.2_0" not in printed


def test_compare_as_json_and_csv(call, runs, tmp_path):
    names = "lr0.1_0 diverged"
    place = tmp_path / "curves.svg"
    found = json.loads(call(compare, RUNS=names, FORMAT="json", METRICS="val/loss"))
    assert found["runs"] == ["lr0.1_0", "diverged"]
    assert found["settings"] == {"LEARNING_RATE": [0.1, 9.0]}
    assert found["metrics"]["val/loss"] == {
        "values": [0.5, "NaN"],
        "lower_is_better": True,
        "best": ["lr0.1_0"],
    }
    assert found["environment"] == {"device": ["cpu", "cuda:0"]}
    printed = call(compare, RUNS=names, FORMAT="csv", OUT=str(place))
    first, second = csv.DictReader(io.StringIO(printed))
    assert (first["run"], first["LEARNING_RATE"], first["val/loss"]) == ("lr0.1_0", "0.1", "0.5")
    assert second["val/loss"] == "NaN"
    assert b"<svg" in place.read_bytes()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RUNS": "lr0.1_0"}, "only lr0.1_0 was chosen"),
        ({"RUNS": "lr0.1_0 lr0.3_0"}, "lr0.3_0"),
        ({"RUNS": "lr*", "METRICS": "val/los"}, "did you mean val/loss"),
        ({"RUNS": "lr*", "FORMAT": "xml"}, "FORMAT=xml: must be one of table, json, csv"),
        ({"RUNS": "lr*", "SCALE": "cubic"}, "must be log or linear"),
        ({"RUNS": "lr*", "OUT": "x.pdf"}, "must end in .png or .svg"),
    ],
)
def test_compare_refuses(call, environment, said):
    with pytest.raises(BadUse) as error:
        call(compare, **environment)
    assert said in str(error.value)


def test_nothing_to_draw(call, runs, tmp_path):
    """Not fatal, unless a picture was asked for."""
    for name in ("nan1", "nan2"):
        make(tmp_path, name, loss=math.nan, info={"seed": name})
    where = ("--output-dir", str(tmp_path), "nan1", "nan2")
    assert call(compare, *where).endswith("no curves: none of the runs has logged val/loss\n")
    place = tmp_path / "x.png"
    with pytest.raises(BadUse, match="none of the runs has logged val/loss"):
        call(compare, *where, OUT=str(place))
    assert not place.exists()


def test_the_picture_never_lies_in_a_run(call, runs):
    inside = runs / "lr0.1_0" / "plots" / "x.png"
    with pytest.raises(BadUse, match="lies in a run"):
        call(compare, RUNS="lr0.1_0 lr0.2_0", OUT=str(inside))
    assert not inside.exists()


def test_leaderboard(call):
    printed = call(leaderboard)
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert lines[0] == "val/loss: 4 rows, low is better"
    assert lines[1].startswith("left out: 1 interrupted")
    first = next(line for line in lines if line.startswith("1 "))
    assert first.startswith("1 NUM_EPOCHS=3 LEARNING_RATE=0.2 OPTIMIZER=sgd 3 0.32067 ± 0.024")
    assert first.endswith(" first")
    second = next(line for line in lines if line.startswith("2 "))
    assert "significant p = " in second and second.endswith("(paired)")
    assert "not tested: n = 1 in this row" in printed
    assert "corrected for 1 test by Holm's method; significant: p < 0.05" in printed
    assert any(line.endswith("NaN NaN NaN not tested: n = 1 in this row") for line in lines)


def test_leaderboard_as_json_and_csv(call):
    found = json.loads(call(leaderboard, FORMAT="json", BY="val/accuracy", ALPHA="0.01"))
    assert (found["by"], found["alpha"], found["lower_is_better"]) == ("val/accuracy", 0.01, False)
    best, second, *_, last = found["rows"]
    assert best["runs"] == ["lr0.2_0", "lr0.2_1", "lr0.2_2"]
    assert set(best["values"]) == {"0", "1", "2"}
    assert (best["test"], second["test"]) == (None, "paired t-test")
    assert second["significant"] == (second["p_holm"] < 0.01)
    assert (last["mean"], last["std"]) == ("NaN", None)
    table = list(csv.DictReader(io.StringIO(call(leaderboard, FORMAT="csv", BY="val/accuracy"))))
    assert [row["rank"] for row in table] == ["1", "2", "3", "4"]
    assert table[0]["runs"] == "lr0.2_0 lr0.2_1 lr0.2_2"


def test_leaderboard_of_some_runs(call):
    printed = call(leaderboard, STATUS="all", LIMIT="1", GROUP="OPTIMIZER,LEARNING_RATE")
    assert "LEARNING_RATE=7.0" in printed
    assert "4 rows more: LIMIT=5" in printed
    assert "warning: row 1: not finished: 1 interrupted" in printed
    one = "LEARNING_RATE=0.1 and OPTIMIZER=sgd"
    printed = call(leaderboard, WHERE=one, GROUP="", STATUS="completed", LIMIT="")
    assert printed.startswith("val/loss: 1 row, low is better\n")
    assert "1  LEARNING_RATE=0.1  3  0.51867" in printed
    printed = call(leaderboard, WHERE="seed=0 and LEARNING_RATE<1")
    assert (
        "\nnothing is tested: n = 1 in the first row (train more seeds: make SET=SEED=1)" in printed
    )


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"BY": "val/los"}, "did you mean val/loss"),
        ({"GROUP": "OPTIMISER"}, "did you mean OPTIMIZER"),
        ({"LIMIT": "0"}, "LIMIT=0"),
        ({"ALPHA": "5"}, "ALPHA=5"),
        ({"ALPHA": "nan"}, "ALPHA=nan"),
        ({"MODE": "best"}, "must be min or max"),
        ({"STATUS": "done"}, "STATUS=done"),
        ({"FORMAT": "xml"}, "FORMAT=xml"),
        ({"WHERE": "seed=1 and"}, "WHERE"),
    ],
)
def test_leaderboard_refuses(call, environment, said):
    with pytest.raises(BadUse) as error:
        call(leaderboard, **environment)
    assert said in str(error.value)


def test_only_drawing_imports_matplotlib(runs):
    code = (
        "import sys; from scripts.runs import compare, leaderboard\n"
        f"sys.argv = ['x', '--output-dir', {str(runs)!r}, '--out', 'none', 'lr0.1_0', 'lr0.2_0']\n"
        "compare.main()\n"
        "sys.argv[3:] = []\n"
        "leaderboard.main()\n"
        "print({'matplotlib', 'torch', 'pandas', 'mlflow', 'scipy', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


# -- a terminal


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    """What a function prints on a terminal of 80 columns without colours."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")

    def shown(function, *arguments):
        screen = Terminal()
        with contextlib.redirect_stdout(screen):
            function(*arguments)
        return screen.getvalue()

    return shown


def test_five_runs_in_80_columns(runs, shown, monkeypatch):
    names = ["lr0.1_0", "lr0.1_1", "lr0.2_0", WIDE, "diverged"]
    monkeypatch.setattr(sys, "argv", ["x", "--output-dir", str(runs), "--out", "none", *names])
    printed = shown(compare.main)
    assert max(map(len, printed.splitlines())) <= 80
    for piece in ("0.1 ", "adam", "NaN", "0.3 *", "cuda:0"):
        assert piece in printed
    assert WIDE[:20] in printed


def test_the_leaderboard_in_80_columns(runs, shown, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--output-dir", str(runs)])
    printed = shown(leaderboard.main)
    assert max(map(len, printed.splitlines())) <= 80
    assert "0.32067 ± 0.024" in printed


def test_tables_turn_or_fold(shown):
    many = [f"value{i:02}" for i in range(20)]
    heads = [f"R{i}" for i in range(20)]
    turned = shown(lambda: Screen().show(Grid("t", heads, [("a", many), ("b", many)])))
    assert len(turned.splitlines()) == 23  # blank, title, head, one for each run
    rows = [(f"name{i}", many) for i in range(20)]
    folded = shown(lambda: Screen().show(Grid("t", heads, rows)))
    assert max(map(len, folded.splitlines())) <= 80
    assert all(folded.count(value) == 20 for value in many)
    assert folded.count("name7") == folded.count("name0 ") > 1


def test_in_a_pipe_nothing_is_cut(capsys):
    Screen().show(Grid("t", ["A", "B"], [("name", ["x" * 300, "two\nlines \033[1m"])]))
    _, _, head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["A", "B"]
    assert line.split() == ["name", "x" * 300, "two", "lines", "\N{REPLACEMENT CHARACTER}[1m"]


def test_letters():
    assert compare.letters(3) == ["A", "B", "C"]
    assert compare.letters(28)[-3:] == ["Z", "AA", "AB"]
    assert len(set(compare.letters(700))) == 700
