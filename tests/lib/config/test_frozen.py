# SPDX-License-Identifier: MIT
"""What a launch freezes is what its ranks get, or they say what is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config import frozen
from lib.config.assign import apply
from lib.config.dotconfig import Assignment, ConfigError, parse_words
from lib.config.tree import Tree
from lib.errors import Failure
from lib.files import ROOT


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "launches"


def tree_with(words: str) -> Tree:
    tree = Tree()
    apply(tree, [parse_words(words, "SET")[0]])
    return tree


def test_values_and_origins_come_back(folder):
    tree = tree_with("OPTIMIZER=sgd SEED=4")
    environment = frozen.freeze(tree, "other", folder)
    again = Tree()
    assert frozen.thaw(again, environment) == "other"
    assert again.values() == tree.values()
    assert again.origins == tree.origins == {"OPTIMIZER": "SET", "SEED": "SET"}
    assert again.config_text() == tree.config_text()


TREE = Tree()


@settings(max_examples=25)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_comes_back(tmp_path_factory, text):
    TREE.unset_values()
    apply(TREE, [[Assignment("DESCRIPTION", text, "SET")]])
    values = TREE.values()
    environment = frozen.freeze(TREE, ".config", tmp_path_factory.mktemp("launches"))
    TREE.unset_values()
    frozen.thaw(TREE, environment)
    assert TREE.values() == values


def test_a_full_disk_is_said_and_nothing_half_written_stays(folder):
    code = """
import resource, sys
from pathlib import Path
from lib.cli import run_main
from lib.config import frozen
from lib.config.tree import Tree
resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))  # acts as a disk that is full
run_main(lambda: frozen.freeze(Tree(), ".config", Path(sys.argv[1])) and 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"error: cannot write a file in {folder}: File too large\n"
    assert not list(folder.glob("*.json"))


def test_a_place_that_cannot_be_written_is_said():
    with pytest.raises(Failure, match=r"cannot lock /proc/launches/lock: .*must be writable"):
        frozen.freeze(tree_with("SEED=4"), ".config", Path("/proc/launches"))


def test_a_changed_or_missing_file_is_refused(folder):
    environment = frozen.freeze(tree_with("SEED=4"), ".config", folder)
    path = Path(environment[frozen.PATH])
    text = path.read_text()
    path.write_text(text.replace('"SEED": 4', '"SEED": 5'))
    with pytest.raises(ConfigError, match="not what this launch froze"):
        frozen.thaw(Tree(), environment)
    path.write_text(text)
    assert frozen.thaw(Tree(), environment) == ".config"
    with pytest.raises(ConfigError, match="not what this launch froze"):
        frozen.thaw(Tree(), {frozen.PATH: str(path)})
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        frozen.thaw(Tree(), environment)


def test_kconfig_files_that_changed_meanwhile_are_noticed(folder):
    environment = frozen.freeze(tree_with("SEED=4"), ".config", folder)
    changed = Tree()
    changed.settable = [symbol for symbol in changed.settable if symbol.name != "SEED"]
    with pytest.raises(ConfigError, match=r"SEED=4 resolves to '0'"):
        frozen.thaw(changed, environment)


def test_what_was_out_of_sight_follows_its_default_when_it_comes_into_sight(folder):
    environment = frozen.freeze(tree_with("OPTIMIZER=adamw"), ".config", folder)
    tree = Tree()
    frozen.thaw(tree, environment)
    apply(tree, [[Assignment("OPTIMIZER", "sgd", "flag --optimizer")]])
    assert tree.values() == tree_with("OPTIMIZER=sgd").values()
    assert not [s.name for s in tree.settable if s.user_value is not None and not s.choice]
