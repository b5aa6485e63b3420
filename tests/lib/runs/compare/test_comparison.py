# SPDX-License-Identifier: MIT
"""What differs between runs, and nothing else; the best values; the code in a real repository."""

import math
import os
import subprocess

import pytest

from lib.errors import BadUse
from lib.files import write_atomic
from lib.runs.compare.code import compare_code
from lib.runs.compare.comparison import compare
from lib.runs.compare.differences import (
    ABSENT,
    UNKNOWN,
    differing,
    spelt,
    tell_apart,
    without_science,
)
from lib.runs.compare.metrics import best_of, direction, matching, side_by_side
from lib.runs.stored import StoredRun, find_runs
from tests.lib.runs.compare.conftest import make


def test_only_what_differs():
    assert differing([{"a": 1, "b": 2}, {"b": 3, "a": 1, "c": ""}]) == {
        "b": [2, 3],
        "c": [ABSENT, ""],
    }
    assert differing([{"a": 1}, None, {"a": 1}]) == {}  # what is not known does not differ
    assert differing([{"a": 1}, None, {"a": 2}]) == {"a": [1, UNKNOWN, 2]}
    assert differing([{"a": True}, {"a": 1}]) == {"a": [True, 1]}
    assert differing([{"a": math.nan}, {"a": math.nan}]) == {}
    assert [spelt(v) for v in (True, False, "", 0.1, ABSENT, None)] == [
        "y", "n", '""', "0.1", "–", "–",
    ]  # fmt: skip


def test_settings_with_and_without_an_effect(out):
    a = make(out, "a", SEED=1, DESCRIPTION="one")
    b = make(
        out, "b", SEED=2, TRACKER_RUN_NAME="b", LEARNING_RATE=0.2, OPTIMIZER="adam", ADAM_BETA1=0.9
    )
    found = compare([a, b])
    assert found.seeds == [1, 2]
    assert found.science == {
        "LEARNING_RATE": [0.1, 0.2],
        "OPTIMIZER": ["sgd", "adam"],
        "ADAM_BETA1": [ABSENT, 0.9],
    }
    assert found.others == {"DESCRIPTION": ["one", ""]}
    assert (found.data, found.machine, found.code.fields) == ({}, {}, {})


def test_what_is_no_science_of_this_tree():
    assert {"TRACKER_RUN_NAME", "DESCRIPTION", "CHECKPOINT_KEEP"} <= without_science()
    assert not {"LEARNING_RATE", "OPTIMIZER", "SEED", "BATCH_SIZE"} & without_science()


def test_a_legend_says_what_is_special(out):
    runs = [
        make(out, "a", LEARNING_RATE=0.2),
        make(out, "b", LEARNING_RATE=0.3, OPTIMIZER="adam", ADAM_BETA1=0.9, NUM_EPOCHS=4),
    ]
    assert tell_apart(runs) == [
        "NUM_EPOCHS=3 LEARNING_RATE=0.2 OPTIMIZER=sgd",
        "NUM_EPOCHS=4 LEARNING_RATE=0.3 OPTIMIZER=adam …",
    ]
    seeds = [make(out, f"s{seed}", SEED=seed) for seed in (1, 2)]
    assert tell_apart(seeds) == ["seed 1", "seed 2"]
    assert tell_apart([seeds[0], *seeds]) == ["seed 1 s1", "seed 1 s1", "seed 2"]
    assert tell_apart([make(out, "x"), make(out, "y")]) == ["x", "y"]


@pytest.mark.parametrize(
    ("values", "lower", "best"),
    [
        ([3.0, 1.0, 2.0], True, {1}),
        ([3.0, 1.0, 2.0], False, {0}),
        ([1.0, 1.0, 2.0], True, {0, 1}),
        ([1.0, 1.0], True, set()),
        ([math.nan, 2.0, None], True, {1}),
        ([math.inf, 2.0, -math.inf], True, {1}),
        ([math.nan, math.nan], True, set()),
        ([2.0, None], True, set()),  # nothing to be better than
        ([1.0, 2.0], None, set()),
        ([], True, set()),
    ],
)
def test_the_best(values, lower, best):
    assert best_of(values, lower) == best


def test_metrics_side_by_side(out):
    rows = [(1, {"train/loss": 1.0, "system/ram": 1.0, "lr": 0.1, "sparsity": 0.5})]
    a = make(out, "a", loss=0.5, rows=rows, info={"final_metrics": {"final/best_val_loss": 0.5}})
    b = make(out, "b", loss=0.4)
    found = {row.name: row for row in side_by_side([a, b])}
    assert list(found) == [
        "val/accuracy",
        "val/loss",
        "train/loss",
        "final/best_val_loss",
        "sparsity",
    ]
    assert (found["val/loss"].values, found["val/loss"].best) == ([0.5, 0.4], {1})
    assert found["val/accuracy"].best == {1}
    assert found["train/loss"].values == [1.0, None]
    (row,) = side_by_side([a, b], ["val/loss:max"])
    assert (row.name, row.values) == ("val/loss:max", [0.5, 0.4])
    assert matching([a, b], ["val/*:last", "lr"]) == ["val/accuracy:last", "val/loss:last", "lr"]
    with pytest.raises(BadUse, match="no run has the metric val/los; did you mean val/loss"):
        side_by_side([a, b], ["val/los"])


def test_the_result_is_shown_once(out):
    ended = {"final_metrics": {"final/best_val_loss": 0.5, "final/training_time_s": 3.0}}
    runs = [make(out, name, loss=0.5, info=ended) for name in "ab"]
    names = [row.name for row in side_by_side(runs)]
    assert names == ["val/accuracy", "val/loss", "final/training_time_s"]


def test_a_direction_that_only_the_runs_know(out):
    runs = [
        make(out, name, info={"checkpoint": {"metric": "score", "mode": mode}})
        for name, mode in (("a", "max"), ("b", "min"))
    ]
    assert direction("score", runs[:1]) is False
    assert direction("score", runs) is None
    assert direction("val/loss:max", runs) is True


def test_too_few(out):
    a = make(out, "a")
    (out / "broken" / "logs").mkdir(parents=True)
    (out / "broken" / "metadata.yaml").write_text("- 1")
    broken = next(run for run in find_runs(out) if run.name == "broken")
    with pytest.raises(BadUse, match=r"only a was chosen.*make show RUN=a"):
        compare([a])
    with pytest.raises(BadUse, match="broken is unreadable"):
        compare([a, broken])
    found = compare([a, broken, make(out, "b")])
    assert [run.name for run in found.runs] == ["a", "b"]
    assert found.notes[0].startswith("broken is unreadable and left out: ")


def test_notes(out):
    running = make(out, "b", status="running")
    changed = [{"step": 5, "changed": {"LEARNING_RATE": [1, 2]}}, {"step": 7, "changed": {}}]
    resumed = make(out, "c", info={"resumes": changed})
    kept = StoredRun(out / "d", {"status": "kept", "seed": 1, "final_metrics": {"final/x": 1.0}})
    (out / "c" / "config.yaml").unlink()
    found = compare([StoredRun(running.dir, {**running.metadata}), resumed, kept])
    assert "c: config.yaml is missing or damaged, its settings are not known" in found.notes
    assert "c went on from step 5 with other LEARNING_RATE" in found.notes
    assert any("make pull RUN=d" in note for note in found.notes)
    assert found.science == {}
    assert {row.name: row.values for row in found.metrics}["final/x"] == [None, None, 1.0]


# -- code


def git(root, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A repository with a fork: base ← left, base ← right ← right."""
    root = tmp_path_factory.mktemp("checkout")
    git(root, "init", "-q", "-b", "main")
    commits = []
    for branch, start, text in (
        ("main", None, "base"),
        ("left", "main", "left"),
        ("right", "main", "one"),
        ("right", "right", "two"),
    ):
        if start:
            git(root, "checkout", "-q", "-B", branch, start)
        (root / "train.py").write_text(text)
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", text)
        commits.append(git(root, "rev-parse", "HEAD"))
    return root, commits


def of_commit(commit, **more):
    return {"git": {"commit": commit, "branch": "main", "dirty": False, **more}}


def test_commits_between(out, checkout):
    root, (base, left, _, right) = checkout
    runs = [make(out, "r", info=of_commit(c)) for c in (left, right, left, base, "f" * 40)]
    found = compare_code(runs, root)
    short = [c[:10] for c in (left, right, left, base, "f" * 40)]
    assert found.fields == {"commit": short}
    assert [(b.new, b.ahead, b.behind) for b in found.between] == [
        (right[:10], 2, 1),
        (base[:10], 0, 1),
    ]
    assert found.between[0].stat[-1].strip() == "1 file changed, 1 insertion(+), 1 deletion(-)"
    assert found.not_here == ["f" * 10]


def test_uncommitted_changes(out, checkout):
    root, (base, *_) = checkout
    runs = [
        make(out, name, info=of_commit(base, dirty=True, diff="git.diff"))
        for name in ("a", "b", "c", "d")
    ]
    for run, diff in zip(runs, ("+x", "+x", "+y"), strict=False):
        write_atomic(run.dir / "git.diff", diff)
    assert compare_code(runs[:2], root).fields == {}
    (first, second, third, fourth) = compare_code(runs, root).fields["uncommitted"]
    assert first == second != third
    assert fourth is UNKNOWN


def test_a_commit_is_never_an_option_of_git(out, checkout):
    root, (base, *_) = checkout
    runs = [make(out, "a", info=of_commit(base)), make(out, "b", info=of_commit("--output=x"))]
    found = compare_code(runs, root)
    assert (found.between, found.not_here) == ([], [])
    assert not (root / "x").exists()


def test_outside_of_a_checkout(out, tmp_path):
    runs = [make(out, name, info=of_commit(name * 40)) for name in "ab"]
    assert compare_code(runs, tmp_path).not_here == ["a" * 10, "b" * 10]
