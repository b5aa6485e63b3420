# SPDX-License-Identifier: MIT
"""The newest checkpoint that can be loaded is found, whatever a kill or a bad disk left."""

import pytest

from lib.train import checkpoint
from lib.train.checkpoint import CheckpointError
from lib.train.checkpoint.find import listed, load_at, load_newest, step_file
from lib.train.checkpoint.index import read_index, write_index
from lib.train.checkpoint.writer import Writer


@pytest.fixture
def folder(tmp_path):
    """Steps 1, 2 and 3, of which 2 is the best."""
    writer = Writer(tmp_path, keep=3, every=0, compress=False)
    for step in (1, 2, 3):
        metrics = {"val/loss": 1 / step}
        writer.write({"step": step}, step=step, metrics=metrics, best=step == 2, nbytes=0)
    return tmp_path


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def newest(folder):
    said = []
    path, state = load_newest(folder, said.append)
    return path.name, state["step"], said


def test_the_newest(folder):
    assert newest(folder) == (step_file(3), 3, [])


def test_a_damaged_one_is_named_and_the_one_before_used(folder):
    damage(folder / step_file(3))
    name, step, [said] = newest(folder)
    assert (name, step) == (step_file(2), 2)
    assert f"{step_file(3)} is damaged" in said


def test_all_damaged(folder):
    for step in (1, 2, 3):
        damage(folder / step_file(step))
    said = []
    with pytest.raises(CheckpointError, match="none of the checkpoints can be loaded"):
        load_newest(folder, said.append)
    assert len(said) == 3


@pytest.mark.parametrize("exists", [True, False])
def test_none_at_all(tmp_path, exists):
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        load_newest(tmp_path if exists else tmp_path / "none", print)


def test_neither_the_index_nor_the_links_are_needed(folder):
    for name in ("index.json", "last.pt", "best.pt"):
        (folder / name).unlink()
    assert newest(folder) == (step_file(3), 3, [])


def test_an_entry_without_a_file_is_passed_over(folder):
    (folder / step_file(3)).unlink()
    (folder / "last.pt").unlink()
    assert newest(folder) == (step_file(2), 2, [])


def test_the_links_alone_will_do(folder):
    for step in (1, 2, 3):
        (folder / step_file(step)).unlink()
    assert newest(folder) == ("last.pt", 3, [])
    damage(folder / "last.pt")
    name, step, said = newest(folder)
    assert (name, step) == ("best.pt", 2) and len(said) == 1


def test_other_files_are_no_checkpoints(folder):
    for name in ("step_9.pt", "step_00000009.pt.bak", ".step_00000009.pt.1.tmp", "step_x.pt"):
        (folder / name).write_bytes(b"half")
    assert newest(folder) == (step_file(3), 3, [])


def test_steps_of_more_digits_are_newer(folder):
    checkpoint.save(folder / step_file(123_456_789), {"step": 123_456_789})
    assert newest(folder)[1] == 123_456_789


def test_one_of_a_step(folder):
    path, state = load_at(folder, 2)
    assert path.name == step_file(2) and state["step"] == 2
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 7 .*steps: 1, 2, 3$"):
        load_at(folder, 7)
    damage(folder / step_file(2))
    with pytest.raises(CheckpointError, match="is damaged"):
        load_at(folder, 2)


def test_the_list_is_the_index_when_they_agree(folder):
    assert listed(folder) == read_index(folder)
    assert [entry.best for entry in listed(folder)] == [False, True, False]


@pytest.mark.parametrize("lost", ["all", "damaged", "latest"])
def test_the_list_is_made_anew_from_the_files(folder, lost):
    before = read_index(folder)
    if lost == "latest":  # a kill before the index was written
        write_index(folder, before[:-1])
    else:
        (folder / "index.json").write_text("{" if lost == "damaged" else '{"checkpoints": []}')
    now = listed(folder)
    for old, new in zip(before, now, strict=True):
        assert (old.file, old.step, old.size, old.sha256) == (
            new.file, new.step, new.size, new.sha256,
        )  # fmt: skip
        assert old.best == new.best
    assert [entry.milestone for entry in listed(folder, every=2)][-1] is False
    assert now[-1].metrics == {}


def test_a_file_replaced_after_its_entry_was_written_gets_a_new_one(folder):
    old = listed(folder)[-1]
    checkpoint.save(folder / step_file(3), {"step": 3, "more": 1})
    new = listed(folder)[-1]
    assert new.sha256 != old.sha256 and new.size == (folder / step_file(3)).stat().st_size


def test_damaged_files_without_an_entry_are_not_listed(folder):
    (folder / step_file(4)).write_bytes(b"half")
    (folder / step_file(5)).write_bytes(b"")
    assert [entry.step for entry in listed(folder)] == [1, 2, 3]
