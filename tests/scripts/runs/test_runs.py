# SPDX-License-Identifier: MIT
"""`make runs`, `make show` and `make plots` as a user types them."""

import csv
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lib import text
from lib.runs import metadata
from lib.runs.journal import Journal
from lib.runs.query.fields import FIELDS
from lib.runs.run import Run
from lib.runs.stored import load_run

ROOT = Path(__file__).resolve().parents[3]
ORIGINS = "LEARNING_RATE: {value: 0.003, origin: flag --learning-rate}\n"


@pytest.fixture
def output_dir(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    info = {"model": {"name": "lenet5"}, "optimizer": "adamw", "description": "two\nlines \033[31m"}
    with Run.create(tmp_path, "one", files={"origins.yaml": ORIGINS}, info=info) as run:
        for step in range(3):
            run.log({"train/loss": 1.0 / (1 + step), "val/loss": 0.5}, step)
        run.summary({"final/best_val_loss": 0.5, "final/best_val_accuracy": 0.975})
    with pytest.raises(ZeroDivisionError), Run.create(tmp_path, "two", info=info):
        raise ZeroDivisionError
    return tmp_path


def call(program, output_dir, *arguments, **environment):
    command = [sys.executable, "-m", f"scripts.runs.{program}", "--output-dir", str(output_dir)]
    given = ("RUN", "WHERE", "SORT", "LIMIT", "COLS", "FORMAT")
    environment = {**{k: v for k, v in os.environ.items() if k not in given}, **environment}
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )


def test_runs(output_dir):
    done = call("table", output_dir)
    header, one, two = done.stdout.splitlines()
    assert header.split() == [
        "name", "model", "optimizer", "status", "val/loss", "best_epoch", "device", "precision",
        "duration", "age", "size",
    ]  # fmt: skip
    assert one.split()[:5] == ["one", "lenet5", "adamw", "completed", "0.5"]
    assert two.split()[:4] == ["two", "lenet5", "adamw", "failed"]
    assert one.endswith("KiB")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_runs_that_fit_sorted_and_as_other_programs_read_them(output_dir):
    for name, value in (("a", 0.25), ("b", float("nan"))):
        with Run.create(output_dir, name, info={"tags": ["x", "y"]}) as run:
            run.log({"val/loss": value, "final/best_val_accuracy": 0.975}, 3)
    chosen = {"WHERE": "val/loss<9 or tag=y", "SORT": "-val/loss", "COLS": "name val/loss tag"}
    done = call("table", output_dir, **chosen)
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["name", "val/loss", "tag"], ["one", "0.5"], ["a", "0.25", "x,", "y"],
        ["b", "nan", "x,", "y"],
    ]  # fmt: skip
    limited = call("table", output_dir, **chosen, LIMIT="1").stdout
    assert limited.splitlines() == done.stdout.splitlines()[:2]
    newest = call("table", output_dir, LIMIT="2", COLS="name").stdout
    assert newest.split() == ["name", "a", "b"]
    rows = json.loads(call("table", output_dir, **chosen, FORMAT="json").stdout)
    assert rows == [
        {"name": "one", "val/loss": 0.5, "tag": []},
        {"name": "a", "val/loss": 0.25, "tag": ["x", "y"]},
        {"name": "b", "val/loss": "NaN", "tag": ["x", "y"]},
    ]
    lines = call("table", output_dir, **chosen, FORMAT="csv").stdout
    assert lines == "name,val/loss,tag\none,0.5,\na,0.25,x y\nb,NaN,x y\n"


def test_without_columns_json_and_csv_have_every_field_and_metric(output_dir):
    rows = json.loads(call("table", output_dir, FORMAT="json").stdout)
    assert list(rows[0]) == [*FIELDS, "train/loss", "val/loss"]
    assert rows[0]["started"] == load_run(output_dir / "one").started().isoformat(
        timespec="milliseconds"
    )
    text = call("table", output_dir, FORMAT="csv").stdout
    assert next(csv.reader(text.splitlines())) == list(rows[0])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"WHERE": "val/los<3"}, "WHERE: no run has a field, metric or setting val/los; did you"),
        ({"SORT": "-losss"}, "SORT=-losss: no run has"),
        ({"COLS": "nam"}, "COLS: no run has a field, metric or setting nam; did you mean name"),
        ({"LIMIT": "-1"}, "LIMIT=-1 must be a whole number"),
        ({"FORMAT": "xml"}, "FORMAT=xml must be table, json, csv"),
    ],
)
def test_what_is_wrong_is_refused(output_dir, given, said):
    done = call("table", output_dir, **given)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_run_that_is_kept_elsewhere(output_dir):
    summary = {"run_name": "far", "status": "completed", "model": "m", "best_step": 40}
    summary |= {"final_metrics": {"final/best_val_loss": 0.125}, "start_time": "2025-01-01T00:00Z"}
    (output_dir / "far.summary.yaml").write_text(yaml.safe_dump(summary))
    (output_dir / "far.dvc").write_text("")
    lines = call("table", output_dir, WHERE="kept", COLS="name status model val/loss").stdout
    assert lines.splitlines()[1].split() == ["far", "kept", "m", "0.125"]
    shown = call("show", output_dir, RUN="far")
    assert "make pull RUN=far" in shown.stdout
    assert "final/best_val_loss  0.125" in shown.stdout
    refused = call("plots", output_dir, RUN="far")
    assert (refused.returncode, "make pull RUN=far" in refused.stderr) == (2, True)


def test_no_runs_says_what_to_do(tmp_path):
    done = call("table", tmp_path / "missing")
    assert (done.returncode, done.stdout) == (
        0,
        f"no runs in {tmp_path / 'missing'} yet: train one with `make`\n",
    )


def test_show(output_dir):
    out = call("show", output_dir, RUN="one").stdout
    assert re.search("description +two lines \N{REPLACEMENT CHARACTER}\\[31m\n", out)
    for piece in ("status", "completed", "97.50 %", "0.003 (flag --learning-rate)"):
        assert piece in out
    for piece in ("train/loss  0.33333", "logs/metrics.jsonl", "packages", "orjson"):
        assert piece in out


def test_show_takes_the_latest_run(output_dir):
    out = call("show", output_dir).stdout
    assert out.splitlines()[1] == "two"
    assert "ZeroDivisionError" in out


@pytest.mark.parametrize("run", ["onne", "../one", "$(touch gotcha)", "/etc"])
@pytest.mark.parametrize("program", ["show", "plots"])
def test_an_unknown_run(output_dir, program, run):
    done = call(program, output_dir, RUN=run)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: RUN={run}: ")
    assert done.stderr.count("\n") == 1


def test_plots(output_dir):
    done = call("plots", output_dir, "one")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{output_dir}/one/plots/loss.png\n"
    done = call("plots", output_dir, "two")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has logged nothing" in done.stderr


def test_output_may_be_cut_off(output_dir):
    command = f"{sys.executable} -m scripts.runs.show --output-dir {output_dir} one"
    done = subprocess.run(
        ["bash", "-c", f"{command} | true"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""


def test_make_passes_the_name_on_unharmed(output_dir):
    make = ["make", "-C", ROOT, "VENV=system", f"PYTHON3={sys.executable}", "show"]
    done = subprocess.run([*make, "RUN=$(touch x)'\""], capture_output=True, text=True)
    assert "error: RUN=$(touch x)'\": no such run" in done.stderr
    assert not (ROOT / "x").exists()


def test_500_runs_are_listed_within_a_second(output_dir):
    text = (output_dir / "one" / "metadata.yaml").read_text()
    for number in range(498):
        (output_dir / f"copy_{number:03}" / "logs").mkdir(parents=True)
        (output_dir / f"copy_{number:03}" / "metadata.yaml").write_text(text)
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = call("table", output_dir)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time: what the other tests do at the same time is not counted.
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.stdout.count("\n") == 501
    assert min(seconds) < 1.0


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, ""),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (7620, "2 h 07 min"),
        (273_600, "3 d 04 h"),
    ],
)
def test_durations(seconds, expected):
    assert text.duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**50, "1024.0 TiB")]
)
def test_sizes(count, expected):
    assert text.size(count) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("final/best_val_accuracy", 0.98333, "98.33 %"),
        ("final/training_time_s", 65, "1 min 05 s"),
        ("perf/tokens_per_s", 3600.4, "3600.4"),
        ("lr", 3e-4, "0.0003"),
        ("note", "x", "x"),
        ("val/loss", float("nan"), "nan"),
    ],
)
def test_metrics(name, value, expected):
    assert text.metric(name, value) == expected


def test_metadata_without_the_usual_fields_is_still_listed(output_dir):
    metadata.save(output_dir / "two" / "metadata.yaml", {"model": None, "final_metrics": []})
    done = call("table", output_dir)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
    assert call("show", output_dir, "two").returncode == 0


@pytest.mark.parametrize("value", ["abc", ".inf", ".nan", "[1]", "9" * 400])
def test_a_duration_that_is_none_costs_only_itself(output_dir, value):
    path = output_dir / "one" / "metadata.yaml"
    path.write_text(re.sub(r"(?m)^duration_s: .*$", f"duration_s: {value}", path.read_text()))
    done = call("table", output_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split()[:4] == ["one", "lenet5", "adamw", "completed"]
    assert call("show", output_dir, "one").returncode == 0


def test_an_unreadable_run_is_shown_as_one(output_dir):
    (output_dir / "two" / "metadata.yaml").write_text("a: " + "[" * 50_000)
    done = call("table", output_dir)
    _, two, one, reason = done.stdout.splitlines()
    assert (done.returncode, one.split()[0]) == (0, "one")
    assert two.split()[:2] == ["two", "unreadable"]
    assert reason == f"unreadable: {output_dir}/two/metadata.yaml: nested more than 50 levels deep"
    done = call("show", output_dir, "two")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {reason.removeprefix('unreadable: ')}\n"


def test_a_directory_name_that_is_not_utf8(output_dir):
    name = os.fsdecode(b"caf\xe9")
    (output_dir / "one").rename(output_dir / name)
    listed = call("table", output_dir)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "caf\N{REPLACEMENT CHARACTER} " in listed.stdout
    for program in ("show", "plots"):
        done = call(program, output_dir, name)
        assert (done.returncode, done.stderr) == (0, "")
        assert "caf\N{REPLACEMENT CHARACTER}" in done.stdout
    missed = call("show", output_dir, os.fsdecode(b"af\xe9"))
    assert missed.returncode == 2
    assert missed.stderr.count("\n") == 1


HOSTILE = "x\033[2J\r\nfake  lenet5  adamw  completed\u202e\x9b31m"


def test_a_run_cannot_write_to_the_terminal_or_forge_a_row(output_dir):
    fields = {"status": HOSTILE, "model": {"name": HOSTILE}, HOSTILE: HOSTILE, "tags": [HOSTILE]}
    fields["final_metrics"] = {HOSTILE: HOSTILE, "final/best_val_accuracy": HOSTILE}
    journal = Journal(output_dir / "one" / "logs" / "metrics.jsonl")
    journal.record({"metrics": {HOSTILE: HOSTILE}}, 9)
    journal.close()
    metadata.save(output_dir / "one" / "metadata.yaml", fields)
    (output_dir / "one" / HOSTILE).touch()
    (output_dir / "one").rename(output_dir / HOSTILE)
    listed = call("table", output_dir).stdout
    shown = call("show", output_dir, HOSTILE).stdout
    drawn = call("plots", output_dir, HOSTILE).stdout
    missed = call("show", output_dir, "fake").stderr
    assert "did you mean" in missed
    assert (listed.count("\n"), drawn.count("\n"), missed.count("\n")) == (3, 1, 1)
    for printed in (listed, shown, drawn, missed):
        assert all(c.isprintable() for c in printed.replace("\n", ""))
    assert not any(line.lstrip().startswith("fake") for line in (listed + shown).splitlines())
