# SPDX-License-Identifier: MIT
"""What the programs behind make print and refuse, and who is told of partial and discarded runs."""

import json
import os
import pty
import subprocess
import sys

import pytest

from lib.config.settings import Settings
from lib.config.tree import Tree
from lib.files import ROOT
from lib.runs.keep.discard import discard
from lib.runs.keep.git import git
from lib.runs.run import Run
from lib.runs.stored import find_runs, load_run
from tests.lib.runs.keep.conftest import RUNS, train, tree  # noqa: F401, the fixture

GIVEN = ("RUN", "RUNS", "TAG", "ONLY", "REASON", "MESSAGE", "FORMAT", "REMOTE", "YES")


def call(program, *arguments, folder="keep", **variables):
    """The program in the current directory, with make's variables in the environment."""
    environment = {k: v for k, v in os.environ.items() if k not in GIVEN}
    return subprocess.run(
        [sys.executable, "-m", f"scripts.{folder}.{program}", f"--output-dir={RUNS}", *arguments],
        env={**environment, "PYTHONPATH": str(ROOT), **variables}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def names():
    return [run.name for run in find_runs(RUNS)]


@pytest.mark.slow
def test_keep_and_kept(tree):  # noqa: F811
    train(tree, "a")
    with pytest.raises(ZeroDivisionError), Run.create(RUNS, "failed"):
        raise ZeroDivisionError
    first = call("keep", RUN="fail", MESSAGE="to look at")
    assert (first.returncode, first.stderr) == (0, "")
    assert "tag run/failed" in first.stdout
    assert "note: the run is not completed, it is failed" in first.stdout
    assert first.stdout.endswith("next: make push RUN=failed, then git push --follow-tags\n")
    assert "kept already, and has not changed since" in call("keep", "failed").stdout
    listed = call("kept").stdout.splitlines()
    files = [path for path in (RUNS / "failed").rglob("*") if path.is_file()]
    count = len([path for path in files if not path.name.endswith("lock")])
    assert listed[1].split()[:4] == ["failed", "failed", "run/failed", str(count)]
    assert listed[1].endswith("to look at")
    (told,) = json.loads(call("kept", FORMAT="json").stdout)
    assert (told["name"], told["here"], told["in_cache"]) == ("failed", "yes", "yes")
    assert told["tags"] == ["run/failed"]
    assert told["pointer"]["files"] == count
    git("reset", "-q", "--soft", "HEAD~1", at=tree)
    (RUNS / "cut.dvc").write_text("outs:\n- md5: 8")
    again = call("kept").stdout
    assert "not committed" in again.splitlines()[1]
    assert again.endswith("cut.dvc cannot be read: make keep RUN=cut writes it anew\n")
    for program, variables, said in (
        ("kept", {"FORMAT": "xml"}, "FORMAT=xml: must be table or json"),
        ("push", {"RUN": "faild"}, "RUN=faild is not kept; did you mean failed?"),
        ("pull", {}, "RUN= is missing; kept are failed"),
        ("pull", {"TAG": "run/b"}, "TAG=run/b: no such tag"),
        ("keep", {"RUN": "b"}, "RUN=b: no such run"),
    ):
        done = call(program, **variables)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


def test_discard_asks_and_takes_all_or_none(tree):  # noqa: F811
    for name in ("a", "b1", "b2"):
        train(tree, name)
    (RUNS / "b2.dvc").touch()
    refused = call("discard", RUNS="b*", YES="1")
    assert refused.returncode == 2
    assert "b2 is kept. To keep it no longer" in refused.stderr
    assert len(names()) == 3
    (RUNS / "b2.dvc").unlink()
    unasked = call("discard", RUNS="b*")
    assert unasked.returncode == 2
    assert "discard 2 runs: nothing was done; to do it, add YES=1" in unasked.stderr
    assert call("discard").stderr.startswith("error: which runs? RUN=name, or RUNS=")
    assert call("discard", RUN="a", RUNS="b*").returncode == 2
    assert len(names()) == 3
    done = call("discard", RUNS="b*", REASON="too slow", YES="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert names() == ["a"]
    rows = call("discarded").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["run", "b1", "b2"]
    assert rows[1].endswith("30 d  too slow")
    assert json.loads(call("discarded", FORMAT="json").stdout)[1]["reason"] == "too slow"
    assert call("undiscard", RUN="b2").stdout.endswith("b2 is back: make show RUN=b2\n")
    assert sorted(names()) == ["a", "b2"]


@pytest.mark.parametrize(("answer", "left"), [("y", []), ("", ["a"])])
def test_on_a_terminal_discard_asks(tree, answer, left):  # noqa: F811
    train(tree, "a")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "scripts.keep.discard", "--output-dir", str(RUNS), "a"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.write(ours, f"{answer}\n".encode())
        assert process.wait(timeout=60) == 0
    os.close(theirs)
    printed = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "discard 1 run? [y/N]" in printed
    assert names() == left


@pytest.mark.slow
def test_gc_asks(tree):  # noqa: F811
    train(tree, "a")
    assert call("gc").stdout == "nothing to free\n"
    unused = tree / ".dvc/cache/files/md5/6f/8db599de986fab7a21625b7916589c"
    unused.parent.mkdir(parents=True)
    unused.write_text("test string")
    os.utime(unused, (0, 0))
    refused = call("gc")
    assert refused.returncode == 2
    assert "nothing was done; to do it, add YES=1" in refused.stderr
    assert " are free again" in call("gc", YES="1").stdout
    assert not unused.exists()


def test_a_partial_run_is_named_as_such(tree):  # noqa: F811
    train(tree, "a")
    (RUNS / "a" / ".partial").touch()
    said = "only some files of a are here; make pull RUN=a gets the rest"
    verified = call("verify", "a", folder="runs")
    assert verified.stdout.startswith(f"a: PARTIAL: {said}\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RUN": "a"}
    resumed = subprocess.run(
        [sys.executable, "-m", "scripts.train.resume"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (resumed.returncode, resumed.stderr) == (2, f"error: {said}\n")


@pytest.mark.slow
def test_a_training_with_settings_that_were_discarded_says_so(tree, monkeypatch, capsys):  # noqa: F811
    import torch

    from lib.train.runtime import Runtime
    from lib.train.start import Start

    monkeypatch.chdir(ROOT)
    configured = Tree()
    monkeypatch.chdir(tree)
    settings = Settings(configured)
    train(tree, "warm", science_hash=settings.science_hash)
    start = Start(Runtime(torch.device("cpu"), "float32", rank=0, world_size=1))
    with start.open_run(settings, 0) as run:
        run.log({"val/loss": 1.0}, 1)
    assert "tried before" not in capsys.readouterr().out
    discard(load_run(RUNS / "warm"), "diverges")
    with start.open_run(settings, 0):
        pass
    said = capsys.readouterr().out
    assert "note: the same settings and seed were tried before: warm, discarded on " in said
    assert "best val loss 0.5; diverges" in said
