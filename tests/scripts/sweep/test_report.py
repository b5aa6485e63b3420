# SPDX-License-Identifier: MIT
"""`make sweep-report`: its formats, where they go, and what it refuses."""

import csv
import io

import pytest

from lib.errors import BadUse, Failure
from scripts.sweep import report


@pytest.fixture
def said(sweeps_done, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(**variables):
        for name in ("FORMAT", "OUT", "TABLE", "BASELINE", "LIMIT", "STORAGE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in ({"SWEEP": "grid"} | variables).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["report", "--output-dir", str(sweeps_done)])
        report.main()
        return capsys.readouterr().out

    return call


def test_the_leaderboard_is_printed(said):
    lines = said().splitlines()
    assert lines[0] == "grid: 3 configurations, 9 complete, 1 tried again"
    ranked = [line.split() for line in lines if line.lstrip()[:1].isdigit()]
    assert [words[1] for words in ranked] == ["dense", "magnitude", "magnitude"]
    assert ranked[0][-4:] == ["3", "0", "2", "9"]
    assert "  Mean ± sample standard deviation over seeds." in lines
    assert lines[-1].split()[:2] == ["magnitude", "–"]  # the grid as rows and columns


def test_differences_name_the_tests(said):
    text = said(BASELINE="arm=dense", TABLE="differences")
    assert "2 comparisons, 2 tested, paired by seed" in text
    assert "sign-flip" in text and "with 3 seeds it cannot be below 0.25" in text


def test_each_format(said, sweeps_done):
    assert said(FORMAT="markdown").count("\n| ---") == 2
    assert said(FORMAT="latex", TABLE="leaderboard").startswith("\\begin{table}")
    lines = list(csv.DictReader(io.StringIO(said(FORMAT="csv", BASELINE="arm=dense"))))
    assert [line["baseline"] for line in lines] == ["arm=dense"] * 2
    page = sweeps_done / ".sweeps" / "grid" / "report.html"
    assert said(FORMAT="html", BASELINE="arm=dense").splitlines()[0] == str(page)
    assert "difference from arm=dense" in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("ending", [".html", ".md", ".tex", ".csv"])
def test_the_ending_of_out_is_the_format(said, tmp_path, ending):
    path = tmp_path / f"out{ending}"
    said(OUT=str(path))
    begins = {".html": "<!doctype", ".md": "**Leader", ".tex": "\\begin", ".csv": "arm,"}
    assert path.read_text().lstrip().startswith(begins[ending])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"SWEEP": ""}, "which sweep.*there are: broken, grid"),
        ({"SWEEP": "gird"}, "did you mean grid"),
        ({"FORMAT": "latx"}, "did you mean latex"),
        ({"OUT": "report.txt"}, "without FORMAT: the formats are"),
        ({"OUT": "report.txt", "FORMAT": "table"}, "for the terminal"),
        ({"OUT": "nowhere/a.md"}, "no directory nowhere"),
        ({"TABLE": "pivit"}, "did you mean pivot"),
        ({"TABLE": "pivot", "SWEEP": "broken"}, "only a grid of two axes"),
        ({"TABLE": "differences"}, "BASELINE="),
        ({"TABLE": "pivot", "FORMAT": "html"}, "has all tables"),
        ({"LIMIT": "0"}, "from 1 on"),
        ({"BASELINE": "arm=dens"}, "did you mean dense"),
        ({"STORAGE": "mysql://x"}, "STORAGE="),
        ({"STORAGE": "sqlite:///nowhere.sqlite"}, "nowhere.sqlite"),
    ],
)
def test_what_is_refused(said, tmp_path, given, words):
    with pytest.raises(BadUse, match=words):
        said(**given)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_older_page(said, tmp_path, file_size_limit):
    path = tmp_path / "report.html"
    path.write_text("the older one")
    with file_size_limit(100_000), pytest.raises(Failure, match="Free some space"):
        said(OUT=str(path))
    assert path.read_text() == "the older one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
