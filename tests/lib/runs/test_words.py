# SPDX-License-Identifier: MIT
"""Notes, tags and conclusions: what is stored, and that no writer undoes what another one wrote."""

import signal
import time
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import BadUse, Failure
from lib.runs import amend, metadata, status, words
from lib.runs.amend import WORDS
from lib.runs.branch import branch
from lib.runs.run import Run
from lib.runs.stored import load_run
from lib.runs.verify import verify_files
from lib.runs.words import add_note, change_tags, conclude
from tests.forked import in_child, kill_self

TAGS = st.lists(st.sampled_from("abcde"), unique=True)


def make(output_dir, name="x", **info) -> Run:
    run = Run.create(output_dir, name, info={"tags": ["wip", "base"], **info})
    assert isinstance(run, Run)
    return run


def ended(output_dir, **info):
    with make(output_dir, hypothesis="half is enough", **info) as run:
        run.log({"train/loss": 0.5, "val/loss": 0.25, "system/cpu_percent": 3.0}, 7)
    return load_run(run.dir)


def stored(run) -> dict:
    return metadata.load(run.dir / "metadata.yaml")


def test_notes_are_kept_in_order_with_their_time(tmp_path):
    run = ended(tmp_path)
    texts = ['a "quoted" line\nand $another: {one}', "  ünïcode ☃\x1b[2J  ", "no: [yaml"]
    for text in texts:
        add_note(run, text)
    notes = stored(run)["notes"]
    assert [note["text"] for note in notes] == [text.strip() for text in texts]
    assert sorted(note["time"] for note in notes) == [note["time"] for note in notes]
    assert stored(run)["status"] == "completed"
    assert not [p.damage for p in verify_files(run.dir) if p.damage and p.name == "metadata.yaml"]


def test_secrets_are_not_kept(tmp_path):
    run = ended(tmp_path)
    secret = "hf_" + "abcdefghijklmnopqrstuvwxyz0123"
    assert secret not in add_note(run, f"pushed with {secret}")["text"]
    conclude(run, f"token={secret}")
    assert secret not in (run.dir / "metadata.yaml").read_text()


def test_a_conclusion_has_what_was_expected_and_the_numbers_of_now(tmp_path):
    run = ended(tmp_path)
    first = conclude(run, "it is", "confirmed")
    assert (first["expected"], first["actual"]) == ("half is enough", "it is")
    assert first["metrics"] == {"train/loss": 0.5, "val/loss": 0.25}
    second = conclude(run, "not with another seed", "refuted")
    third = conclude(run, "who knows")
    fields = stored(run)
    assert fields["conclusion"] == third
    assert third["verdict"] == "open"
    assert fields["earlier_conclusions"] == [first, second]


def test_tags_are_added_and_removed_with_their_history(tmp_path):
    run = ended(tmp_path)
    assert change_tags(run, "+kept -wip, v1.0 base") == ["base", "kept", "v1.0"]
    history = stored(run)["tag_changes"]
    assert [(e["added"], e["removed"]) for e in history] == [(["kept", "v1.0"], ["wip"])]
    before = (run.dir / "metadata.yaml").stat()
    assert change_tags(run, "kept") == ["base", "kept", "v1.0"]
    assert (run.dir / "metadata.yaml").stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("+new -wpi", "no tag wpi to remove; did you mean wip"),
        ("-zzzzz", "it has wip, base"),
        ("+a -a", "both added and removed"),
        ("a b!c", "b!c is not a tag"),
        ("--x", "--x is not a tag"),
        ("x" * 65, "is not a tag"),
        (" , ", "TAGS= is missing"),
        (" ".join(f"t{i}" for i in range(99)), "101 tags"),
    ],
)
def test_wrong_tags_change_nothing(tmp_path, changes, said):
    run = ended(tmp_path)
    before = stored(run)
    with pytest.raises(BadUse, match=said):
        change_tags(run, changes)
    assert stored(run) == before


def test_texts_are_limited_one_by_one_and_together(tmp_path, monkeypatch):
    run = ended(tmp_path)
    for text, said in (("x" * 10_001, "10,001 characters"), (" \n", "TEXT= is missing")):
        with pytest.raises(BadUse, match=said):
            add_note(run, text)
    with pytest.raises(BadUse, match=r"VERDICT=confirmd.*did you mean confirmed"):
        conclude(run, "x", "confirmd")
    monkeypatch.setattr(words, "_LONGEST_TOGETHER", 1000)
    add_note(run, "x" * 800)
    with pytest.raises(BadUse, match="at most 1,000"):
        conclude(run, "y" * 300)
    assert "conclusion" not in stored(run)


@given(TAGS, st.lists(st.tuples(TAGS, TAGS)))
def test_a_new_run_from_this_one_has_the_tags_that_were_configured(configured, steps):
    fields = {"tags": configured, "tag_changes": [], "seed": 1}
    for added, removed in steps:
        now = fields["tags"]
        entry = {"added": [t for t in added if t not in now]}
        entry["removed"] = [t for t in removed if t in now and t not in added]
        fields["tags"] = words.applied(now, [entry])
        fields["tag_changes"].append(entry)
    assert set(words.applied(configured, fields["tag_changes"])) == set(fields["tags"])
    fresh = words.without({**fields, "notes": [{}], "conclusion": {}})
    assert set(fresh.pop("tags")) == set(configured)
    assert fresh == {"seed": 1}


# ------------------------------------------------------------------- a training that writes, too


def test_both_writing_at_once_lose_nothing(tmp_path):
    def annotate(letter):
        for number in range(8):
            add_note(load_run(run.dir), f"{letter}{number}")
            change_tags(load_run(run.dir), f"+{letter}{number}")

    with make(tmp_path) as run:
        threads = [Thread(target=in_child, args=(partial(annotate, c),)) for c in "ab"]
        for thread in threads:
            thread.start()
        written = 0
        while any(thread.is_alive() for thread in threads):
            run.set_info(results={f"n{written}": written})
            written += 1
            time.sleep(0.01)
    fields = stored(run)
    wanted = {f"{letter}{number}" for letter in "ab" for number in range(8)}
    assert {note["text"] for note in fields["notes"]} == wanted
    assert set(fields["tags"]) == {"wip", "base"} | wanted
    assert fields["results"] == {f"n{n}": n for n in range(written)}
    assert written > 1
    assert fields["status"] == "completed"


@pytest.mark.parametrize("moment", ["load", "save", "os.replace", "after"])
def test_a_kill_leaves_the_old_words_or_the_new_ones_and_stops_nobody(
    tmp_path, monkeypatch, moment
):
    def killed() -> None:
        if moment == "os.replace":
            monkeypatch.setattr(Path, "replace", lambda *_: kill_self())
        elif moment != "after":
            monkeypatch.setattr(metadata, moment, lambda *_, **__: kill_self())
        run = load_run(directory) if moment != "load" else at_first
        add_note(run, "second")
        kill_self()

    with make(tmp_path) as run:
        directory, at_first = run.dir, load_run(run.dir)
        add_note(at_first, "first")
        assert in_child(killed) == -signal.SIGKILL
        started = time.monotonic()
        run.set_info(results={"n": 1})
        add_note(at_first, "third")
        assert time.monotonic() - started < 4  # the lock went with the killed process
    said = ["first", "second", "third"] if moment == "after" else ["first", "third"]
    assert [note["text"] for note in stored(run)["notes"]] == said
    assert stored(run)["results"] == {"n": 1}


def test_a_training_does_not_wait_for_a_stopped_writer(tmp_path, monkeypatch):
    monkeypatch.setattr(status, "_MARKING_S", 0.2)
    with make(tmp_path) as run, status.status_lock(run.dir):
        started = time.monotonic()
        run.set_info(results={"n": 1})
        assert time.monotonic() - started < 2
        with pytest.raises(Failure, match="changed by another process"):
            add_note(load_run(run.dir), "x")
    assert stored(run)["results"] == {"n": 1}


def test_words_said_between_the_trainings_of_a_run_stay(tmp_path):
    with pytest.raises(KeyboardInterrupt), make(tmp_path) as run:
        run.log({"train/loss": 1.0}, 1)
        add_note(load_run(run.dir), "while it runs")
        raise KeyboardInterrupt
    change_tags(load_run(run.dir), "+mine -wip")
    conclude(load_run(run.dir), "not yet")
    with Run.resume(run.dir, step=1, offset=0, info={"tags": ["wip", "new"]}) as resumed:
        resumed.log({"train/loss": 0.5}, 2)
    fields = stored(run)
    assert [note["text"] for note in fields["notes"]] == ["while it runs"]
    assert fields["conclusion"]["actual"] == "not yet"
    assert fields["tags"] == ["new", "mine"]


def test_a_branch_does_not_inherit_what_was_said_of_its_parent(tmp_path):
    run = ended(tmp_path)
    add_note(run, "x")
    conclude(run, "y")
    change_tags(run, "+kept -wip")
    offset = run.journal.stat().st_size
    made = branch(
        load_run(run.dir), "y", step=7, offset=offset, duration_s=1.0, fill=lambda _: None
    )
    fields = metadata.load(made / "metadata.yaml")
    assert sorted(fields["tags"]) == ["base", "wip"]
    assert not fields.keys() & {*WORDS} - {"tags"}


def test_a_run_that_cannot_be_written_is_one_clear_error(tmp_path, monkeypatch):
    run = ended(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(amend.metadata, "save", full)
    with pytest.raises(Failure, match="cannot be changed: No space left"):
        add_note(run, "x")
    (run.dir / "metadata.yaml").write_text("a: [")
    with pytest.raises(Failure, match=r"metadata\.yaml"):
        add_note(run, "x")
