# SPDX-License-Identifier: MIT
"""`make report`: which runs, where the file goes, and what it refuses."""

import pytest
import yaml

from lib.runs.run import Run
from tests.scripts.runs.test_runs import call


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, loss in (("one", 0.5), ("two", 0.25), ("other", 1.0)):
        with Run.create(folder, name, info={"model": {"name": "small"}}) as run:
            run.log({"val/loss": loss}, 1)
    return folder


@pytest.mark.parametrize(
    ("given", "place", "names"),
    [
        ({}, "other/report.html", ["other"]),  # the latest
        ({"RUN": "one"}, "one/report.html", ["one"]),
        ({"RUNS": "t*"}, "two/report.html", ["two"]),
        ({"RUNS": "one two"}, "report.html", ["one", "two"]),
        ({"WHERE": "val/loss<0.9", "OUT": "{}/here.html"}, "here.html", ["one", "two"]),
    ],
)
def test_the_path_is_said_and_the_runs_are_in_it(output_dir, given, place, names):
    done = call("report", output_dir, **{k: v.format(output_dir) for k, v in given.items()})
    assert (done.returncode, done.stderr) == (0, "")
    path = output_dir / place
    assert done.stdout.splitlines()[0] == str(path)
    page = path.read_text()
    assert [n for n in ("one", "two", "other") if f"make replay RUN={n}<" in page] == names
    path.unlink()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"RUN": "on", "RUNS": "two"}, "either RUN, or RUNS"),
        ({"RUNS": "thre*"}, "RUNS=thre*"),
        ({"RUN": "tow"}, "did you mean two"),
        ({"OUT": "one/.config"}, "ends in .html"),
        ({"OUT": "nowhere/x.html"}, "there is no directory nowhere"),
    ],
)
def test_what_is_refused(output_dir, given, said):
    done = call("report", output_dir, **given)
    assert done.returncode == 2 and done.stdout == ""
    assert said in done.stderr
    assert not list(output_dir.rglob("*.html"))


def test_damaged_metadata(output_dir, tmp_path):
    with Run.create(tmp_path, "torn") as run:
        run.log({"val/loss": 0.5}, 1)
    (run.dir / "metadata.yaml").write_text("{[")
    done = call("report", tmp_path, RUN="torn")
    assert done.returncode == 0, done.stderr
    assert "The metadata cannot be read" in (run.dir / "report.html").read_text()
    run.journal.path.unlink()
    done = call("report", tmp_path, RUN="torn")
    assert done.returncode == 1 and "metadata.yaml" in done.stderr


def test_a_run_that_is_kept_elsewhere(tmp_path):
    """Its summary and .dvc file, as make keep writes them, are all that is here."""
    fields = {"run_name": "gone", "status": "completed", "best_step": 7, "description": "old one"}
    (tmp_path / "gone.summary.yaml").write_text(yaml.safe_dump(fields))
    (tmp_path / "gone.dvc").write_text("outs:\n- path: gone\n")
    done = call("report", tmp_path, RUNS="gone")
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "report.html").read_text()
    assert "make pull RUN=gone" in page and "old one" in page
