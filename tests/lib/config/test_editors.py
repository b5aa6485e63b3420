# SPDX-License-Identifier: MIT
"""What menuconfig and guiconfig load and save; a terminal test is with the make targets."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config.editors import EditedTree, _adapted, _fitting
from lib.config.tree import editor


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setenv("KCONFIG_CONFIG", str(tmp_path / "config"))
    return EditedTree()


def test_what_is_saved_is_loaded_again(tree, tmp_path):
    assert "There is no" in tree.load_config()
    tree.syms["DESCRIPTION"].set_value('a\n"b"\r\\n #')
    tree.syms["OPTIMIZER_SGD"].set_value("y")
    tree.write_config()
    again = EditedTree()
    assert again.load_config() == f"Loaded {tmp_path / 'config'}"
    assert again.values() == tree.values()
    tree.write_min_config(str(tmp_path / "minimal"))
    again.load_config(str(tmp_path / "minimal"))
    assert again.values() == tree.values()


def test_defaults_follow_what_is_chosen(tree):
    tree.write_config()
    tree.load_config()
    tree.syms["OPTIMIZER_SGD"].set_value("y")
    assert tree.values()["LEARNING_RATE"] == 0.05


def test_a_real_number_is_made_canonical_or_refused(tree, tmp_path):
    tree.syms["LEARNING_RATE"].set_value("1e-2")
    tree.write_config()
    saved = (tmp_path / "config").read_text()
    assert 'CONFIG_LEARNING_RATE="0.01"\n' in saved
    for bad in ("much", "-1", ""):
        tree.syms["LEARNING_RATE"].set_value(bad)
        for write in (tree.write_config, lambda: tree.write_min_config("unused")):
            with pytest.raises(OSError, match=r"LEARNING_RATE=.*lib/optim/Kconfig:"):
                write()
    assert (tmp_path / "config").read_text() == saved


def test_values_that_do_not_go_together_are_not_saved(tree, tmp_path):
    tree.syms["OUTPUT_DIR"].set_value("")
    with pytest.raises(OSError, match='OUTPUT_DIR="": its files would go into'):
        tree.write_config()
    assert not (tmp_path / "config").exists()


def test_another_file_with_problems_is_an_error_that_the_dialogs_show(tree, tmp_path):
    (tmp_path / "other").write_text("CONFIG_SEED=x\nCONFIG_GONE=y\n")
    with pytest.raises(OSError, match=r"SEED=x.*\n.*GONE=y") as error:
        tree.load_config(str(tmp_path / "other"))
    assert error.value.errno
    assert error.value.filename == str(tmp_path / "other")
    assert tree.problems == []


def test_of_a_present_file_with_problems_the_rest_is_loaded(tree, tmp_path):
    """All problems are known, also those that show only when the first ones are gone."""
    (tmp_path / "config").write_text(
        "CONFIG_SEED=x\nno assignment\nCONFIG_BATCH_SIZE=32\nCONFIG_GONE=y\nCONFIG_NESTEROV=y\n"
        'CONFIG_OUTPUT_DIR=""\n'
    )
    tree.load_config()
    assert tree.values()["BATCH_SIZE"] == 32
    assert tree.values()["SEED"] == 0
    assert tree.values()["OUTPUT_DIR"] == ""  # stands until it is changed, and is not saved
    found = "\n".join(tree.problems)
    for name in ("config:2", "SEED=x", "GONE=y", "NESTEROV=y", 'OUTPUT_DIR=""'):
        assert name in found
    tree.syms["OUTPUT_DIR"].set_value("runs")
    tree.write_config()
    again = EditedTree()
    again.load_config()
    assert again.problems == [] and again.values()["BATCH_SIZE"] == 32


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        (
            "LEARNING_RATE",
            "abc",
            r"LEARNING_RATE=abc: wrong type, want a real number in \(0, inf\)",
        ),
        ("LEARNING_RATE", "-1", "LEARNING_RATE=-1: out of range"),
        ("BATCH_SIZE", "1_0", "BATCH_SIZE=1_0: wrong type, want an integer"),
        ("SEED", "-1", r"SEED=-1: out of range, want an integer in \[0, "),
        ("LEARNING_RATE", "1e-3", ""),
        ("SEED", "7", ""),
        ("DESCRIPTION", "any text", ""),
    ],
)
def test_what_is_typed_is_judged_at_once(tree, name, text, complaint):
    assert re.match(complaint or "$", tree.why_not(tree.syms[name], text))


@given(st.text(), st.integers(2, 60), st.integers(10, 200))
def test_messages_fit_the_dialog(text, height, width):
    lines = _fitting(text, height, width).split("\n")
    assert len(lines) <= height
    assert all(len(line) <= max(width, 30) for line in lines)


def test_a_message_that_fits_keeps_its_words():
    text = "SEED=x: wrong type\n\n" + "word " * 40
    assert _fitting(text, 30, 40).split() == text.split()
    assert _fitting(text, 3, 40).endswith("… and 5 more lines")


@pytest.mark.parametrize("program", ["menuconfig", "guiconfig"])
def test_the_editors_have_what_is_adapted(tree, program, monkeypatch):
    pytest.importorskip("tkinter" if program == "guiconfig" else "curses")
    module = editor(program)
    names = ["_node_str", "_needs_save", "_range_info", "_check_valid"]
    names += ["_error", "_init"] if program == "menuconfig" else ["_create_ui"]
    for name in names:  # each of them must exist, and is put back
        monkeypatch.setattr(module, name, getattr(module, name))
    monkeypatch.setattr(module, "_node_str", lambda node: f"(1) {node} (NEW)")
    adapted = _adapted(module, tree)
    assert adapted._node_str("Seed") == "(1) Seed"
    assert adapted._needs_save() is False
    assert adapted._range_info(tree.syms["LEARNING_RATE"]) == "Real number in (0, inf)"
    assert adapted._range_info(tree.syms["DESCRIPTION"]) is None
    tree.problems = ["SEED=x: wrong type"]
    assert adapted._needs_save() is True
