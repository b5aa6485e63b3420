# SPDX-License-Identifier: MIT
"""`discard`: the numbers stay, the run can come back, and nothing is lost when it is killed."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib.errors import BadUse
from lib.runs.keep import ledger
from lib.runs.keep.discard import discard, empty, expired, trash_of, undiscard
from lib.runs.keep.ledger import describe, discarded, tried_before
from lib.runs.removal import InUse
from lib.runs.run import Run
from lib.runs.stored import find_runs, load_run
from tests.forked import in_child, kill_self
from tests.lib.runs.keep.conftest import RUNS, train


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("RANK", raising=False)
    train(tmp_path, "a", seed=3, description="token=ghp_" + "a" * 36)
    return tmp_path / RUNS


def names(runs: Path) -> list[str]:
    return [run.name for run in find_runs(runs)]


def test_there_and_back(runs):
    (runs / "a" / "origins.yaml").write_text("LEARNING_RATE: {value: 0.1, origin: SET}\n")
    entry = discard(load_run(runs / "a"), "diverges")
    assert names(runs) == []
    (line,) = (runs / ledger.NAME).read_text().splitlines()
    told = json.loads(line)
    assert told["run_name"] == "a"
    assert told["reason"] == "diverges"
    assert told["final_metrics"] == {"final/best_val_loss": 0.5}
    assert told["settings"] == {"LEARNING_RATE": 0.1}
    assert (told["seed"], told["science_hash"], told["best_step"]) == (3, "hash of a", 1)
    assert "ghp_" not in line
    assert (runs / ".trash").stat().st_mode & 0o777 == 0o700
    assert describe(told) == f"a, discarded on {told['time'][:10]}; best val loss 0.5; diverges"
    assert [found["run_id"] for found in discarded(runs)] == [entry["run_id"]]
    with pytest.raises(BadUse, match=r"RUN=aa: not in .*did you mean a\?"):
        undiscard(runs, "aa")
    assert undiscard(runs, "a") == runs / "a"
    assert load_run(runs / "a").metadata["run_id"] == entry["run_id"]
    assert discarded(runs) == []
    assert len((runs / ledger.NAME).read_text().splitlines()) == 2


def test_of_several_with_a_name_the_last_comes_back(runs):
    first = discard(load_run(runs / "a"))
    train(runs.parent.parent, "a", loss=0.4)
    second = discard(load_run(runs / "a"))
    assert len(discarded(runs)) == 2
    undiscard(runs, "a")
    with pytest.raises(BadUse, match=r"there is another run .*a by now: rename it first"):
        undiscard(runs, "a")
    (runs / "a").rename(runs / "b")
    assert load_run(runs / "b").metadata["run_id"] == second["run_id"]
    undiscard(runs, first["trash"])
    assert load_run(runs / "a").metadata["run_id"] == first["run_id"]


def test_running_and_kept_runs_are_refused(runs):
    with Run.create(runs, "busy") as busy, pytest.raises(InUse, match="busy is running"):
        discard(load_run(busy.dir))
    (runs / "a.dvc").write_text("")
    with pytest.raises(BadUse, match=r"a is kept. To keep it no longer: git rm .*/a.dvc"):
        discard(load_run(runs / "a"))
    assert sorted(names(runs)) == ["a", "busy"]
    assert not (runs / ledger.NAME).exists()


def test_killed_between_the_line_and_the_move(runs):
    def killed():
        ledger.append = lambda *arguments: (append(*arguments), kill_self())
        discard(load_run(runs / "a"))

    append = ledger.append
    assert in_child(killed) == -signal.SIGKILL
    assert names(runs) == ["a"]
    assert discarded(runs) == []
    assert tried_before(runs, "hash of a") is None
    discard(load_run(runs / "a"))
    assert len(discarded(runs)) == 1

    def killed_on_the_way_back():
        ledger.append = lambda *arguments: kill_self()
        undiscard(runs, "a")

    assert in_child(killed_on_the_way_back) == -signal.SIGKILL
    assert names(runs) == ["a"]
    assert discarded(runs) == []


def test_a_later_training_is_told(runs):
    discard(load_run(runs / "a"), "too slow")
    empty(trash_of(runs))
    train(runs.parent.parent, "a", loss=0.4)  # another run of the name
    found = tried_before(runs, "hash of a")
    assert found is not None
    assert found["reason"] == "too slow"
    assert tried_before(runs, "hash of") is None
    assert tried_before(runs / "missing", "hash of a") is None


def test_the_trash_is_emptied_by_age(runs):
    discard(load_run(runs / "a"))
    (trashed,) = trash_of(runs)
    day = time.strftime("%Y%m%d", time.localtime(time.time() - 31 * 86400))
    old = trashed.rename(trashed.with_name(f"a@{day}-120000.0-1"))
    train(runs.parent.parent, "b")
    discard(load_run(runs / "b"))
    assert expired(runs) == [old]
    empty(expired(runs))
    assert [path.name.split("@")[0] for path in trash_of(runs)] == ["b"]
    assert [entry["run_name"] for entry in discarded(runs)] == ["a", "b"]


def test_a_full_disk_leaves_the_run(runs, file_size_limit):
    (runs / ledger.NAME).write_text("{}\n" * 100)
    with file_size_limit(310), pytest.raises(OSError, match="the disk is full"):
        discard(load_run(runs / "a"))
    assert names(runs) == ["a"]
    discard(load_run(runs / "a"))
    assert [entry["run_name"] for entry in discarded(runs)] == ["a"]


def test_many_writers_each_write_a_whole_line(tmp_path):
    def write():
        for number in range(50):
            ledger.append(tmp_path, {"event": "discarded", "run_id": f"{os.getpid()}-{number}"})

    children = []
    for _ in range(3):
        if (child := os.fork()) == 0:
            try:
                write()
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert len({entry["run_id"] for entry in ledger.entries(tmp_path)}) == 150


@hypothesis_settings(max_examples=20)
@given(
    reason=st.text(),
    value=st.floats(),
    damage=st.binary(max_size=20).filter(lambda text: b"\n" not in text),
)
def test_any_text_and_number_comes_back(tmp_path_factory, reason, value, damage):
    folder = tmp_path_factory.mktemp("ledger")
    (folder / ledger.NAME).write_bytes(damage)
    ledger.append(folder, {"event": "discarded", "run_id": "x", "reason": reason, "loss": value})
    written = (folder / ledger.NAME).read_bytes().removesuffix(b"\n").rpartition(b"\n")[2]
    json.loads(written, parse_constant=pytest.fail)
    found = discarded(folder)[-1]
    assert found["run_id"] == "x"
    assert isinstance(found["reason"], str)
    assert found["loss"] in (value, "NaN", "Infinity", "-Infinity")
