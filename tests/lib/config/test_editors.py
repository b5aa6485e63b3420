# SPDX-License-Identifier: MIT
"""What menuconfig and guiconfig load and save; a terminal test is with the make targets."""

import pytest

from lib.config.editors import EditedTree, _adapted
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


def test_a_file_with_problems_is_an_error_that_the_dialogs_show(tree, tmp_path):
    (tmp_path / "config").write_text("CONFIG_SEED=x\nCONFIG_GONE=y\n")
    with pytest.raises(OSError, match=r"SEED=x.*\n.*GONE=y") as error:
        tree.load_config()
    assert error.value.errno
    assert error.value.filename == str(tmp_path / "config")


@pytest.mark.parametrize("program", ["menuconfig", "guiconfig"])
def test_the_editors_have_what_is_adapted(program, monkeypatch):
    pytest.importorskip("tkinter" if program == "guiconfig" else "curses")
    module = editor(program)
    monkeypatch.setattr(module, "_node_str", lambda node: f"(1) {node} (NEW)")  # both must exist
    monkeypatch.setattr(module, "_needs_save", lambda: True)
    adapted = _adapted(module)
    assert adapted._node_str("Seed") == "(1) Seed"
    assert adapted._needs_save() is False
