# SPDX-License-Identifier: MIT
"""`make note`, `make tag` and `make conclude` as a user types them."""

import subprocess
import sys

import pytest

from lib.files import ROOT
from lib.runs import metadata
from lib.tracking.cursor import Cursor
from tests.scripts.runs.test_runs import call, output_dir  # noqa: F401, a fixture


def test_what_is_said_is_stored_and_shown(output_dir):  # noqa: F811
    text = "50 % \"better\" $(touch x) 'x'\nsecond \033[2Jline"
    done = call("note", output_dir, RUN="on", TEXT=text)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "  second \N{REPLACEMENT CHARACTER}[2Jline"
    assert call("tag", output_dir, "one", "--tags=+kept").stdout == "one: kept\n"
    done = call("conclude", output_dir, RUN="one", RESULT="it is", VERDICT="confirmed")
    assert done.returncode == 0
    assert "expected" in done.stdout and "97.50 %" in done.stdout
    fields = metadata.load(output_dir / "one" / "metadata.yaml")
    assert fields["notes"][0]["text"] == text
    shown = call("show", output_dir, RUN="one").stdout
    for piece in ("\nConclusion\n", "it is", "\nNotes\n", "50 % \"better\" $(touch x) 'x' second"):
        assert piece in shown


def test_trackers_and_the_kept_version_are_named(output_dir):  # noqa: F811
    Cursor().save(output_dir / "one", "mlflow")
    (output_dir / "one.dvc").write_text("")
    out = call("tag", output_dir, RUN="one", TAGS="x").stdout
    assert "make track RUN=one TRACKER=mlflow" in out
    assert "make keep RUN=one" in out


@pytest.mark.parametrize("program", ["note", "tag", "conclude"])
def test_the_latest_run_is_no_default(output_dir, program):  # noqa: F811
    done = call(program, output_dir, TEXT="x", TAGS="x", RESULT="x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"error: which run? make {program} needs RUN=; the latest is two\n")
    done = call(program, output_dir, RUN="onne", TEXT="x", TAGS="x", RESULT="x")
    assert "did you mean one?" in done.stderr


def test_make_takes_the_text_as_it_is(output_dir):  # noqa: F811
    make = ["make", "-C", ROOT, "VENV=system", f"PYTHON3={sys.executable}"]
    text = "$(touch gotcha) $HOME `x` \"'"
    done = subprocess.run(
        [*make, "note", f"RUN={output_dir}/one", f"TEXT={text}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (note,) = metadata.load(output_dir / "one" / "metadata.yaml")["notes"]
    assert note["text"] == text
    done = subprocess.run([*make, "conclude", "RUN=one", "TEXT=x"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "TEXT has no effect here; it is for make note" in done.stderr
