# SPDX-License-Identifier: MIT
"""The project's own Kconfig files keep the conventions that the code builds on."""

import itertools
import re
from pathlib import Path

import pytest

from lib.config import dotconfig
from lib.config.assign import apply, resolve
from lib.config.dotconfig import Assignment
from lib.config.symbols import has_prompt, help_of, home, selectors, unmet
from lib.config.trackers import SYMBOLS
from lib.config.tree import BOOL, INT, STRING, Tree
from lib.files import ROOT


@pytest.fixture(scope="module")
def tree():
    return Tree()


@pytest.fixture(autouse=True)
def defaults(tree):
    yield
    tree.unset_values()


def test_it_parses_without_a_warning(tree):
    assert tree.warnings == []


def test_every_symbol_has_a_type_that_config_py_knows(tree):
    assert {symbol.orig_type for symbol in tree.unique_defined_syms} <= {BOOL, INT, STRING}


def test_every_symbol_and_choice_explains_itself(tree):
    for item in [*tree.unique_defined_syms, *tree.unique_choices]:
        text = item.nodes[0].help if item in tree.unique_choices else help_of(item)
        assert len((text or "").split()) >= 3, item.name_and_loc
        assert len(item.nodes[0].prompt or "x") > 0


def test_every_choice_has_its_string(tree):
    for choice in tree.unique_choices:
        for symbol in choice.syms:
            name, value = tree.choice_names[symbol]
            assert symbol.name == f"{name}_{value.upper().replace('-', '_')}"


def test_a_symbol_without_prompt_is_the_string_of_a_choice_or_a_capability(tree):
    """A capability is a bool HAS_… that a model or a data set selects and nothing else sets."""
    without = {symbol.name for symbol in tree.unique_defined_syms if not has_prompt(symbol)}
    capabilities = {name for name in without if name.startswith("HAS_")}
    assert without - capabilities == set(tree.choice_options)
    for name in capabilities:
        symbol = tree.syms[name]
        assert symbol.orig_type is BOOL and not symbol.orig_defaults
        choices = {tree.public_name(selector) for selector in selectors(symbol)}
        assert choices and choices <= {"MODEL", "DATASET"}


def test_what_a_model_lacks_is_explained_by_the_models_that_have_it(tree):
    assert unmet(tree.syms["WINDOWS_RANDOM"]) == ["HAS_TEXT_DATA (of MODEL=gpt2)"]


def test_only_the_model_menu_and_a_model_s_folder_name_a_model(tree):
    """A new model is its folder, an entry and a `source` line: no room of lib/ asks which it is."""
    models = tree.choice_options["MODEL"]
    for path in sorted((ROOT / "lib").rglob("Kconfig*")):
        for name, symbol in models.items():
            words = re.findall(r"\w+", "".join(code_lines(path)))
            assert symbol.name not in words, f"{path}: asks for {name}"


def code_lines(path):
    """The lines of a Kconfig file without its help texts and comments."""
    helping = False
    for line in path.read_text().splitlines(keepends=True):
        helping = (helping and not re.match(r"\S", line)) or line.strip() == "help"
        if not helping and not line.startswith("#"):
            yield line


def test_no_help_text_declares_an_interval_that_is_not_understood(tree):
    for symbol in tree.unique_defined_syms:
        if re.search(r"real number", help_of(symbol), re.IGNORECASE):
            assert symbol.name in tree.intervals


def test_every_default_is_canonical_and_allowed(tree):
    """Also those of symbols and models that are not chosen at present."""
    for symbol in tree.settable:
        for default, _ in symbol.orig_defaults:
            if symbol.orig_type is not BOOL:
                text = default.str_value
                given = Assignment(symbol.name, text, "default")
                assert resolve(tree, given) == (symbol, text), symbol.name_and_loc
        for low, high, _ in symbol.orig_ranges:
            for default, _ in symbol.orig_defaults:
                assert int(low.str_value) <= int(default.str_value) <= int(high.str_value)


def test_every_integer_has_a_range(tree):
    for symbol in tree.settable:
        assert symbol.orig_type is not INT or symbol.orig_ranges, symbol.name_and_loc


def test_the_home_directory_is_expanded_in_paths_alone(tree, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    given = {
        "OUTPUT_DIR": ("~/runs", "/home/me/runs"),
        "DATA_DIR": ("~", "/home/me"),
        "DATA_FILES": ("~/a b/~c ~/*.txt", "/home/me/a b/~c /home/me/*.txt"),
        "INIT_FROM": ("~/runs/old", "/home/me/runs/old"),
        "GPT2_PRETRAINED": ("~/model.safetensors", "/home/me/model.safetensors"),
        "DESCRIPTION": ("~/not a path", "~/not a path"),
    }
    of_models = {name for name in tree.paths if home(tree.syms[name]).filename[:4] != "lib/"}
    assert tree.paths - of_models == given.keys() - {"DESCRIPTION", "GPT2_PRETRAINED"}
    assert "GPT2_PRETRAINED" in of_models
    words = [Assignment(name, text, "SET") for name, (text, _) in given.items()]
    model = [Assignment("MODEL", "gpt2", "SET"), Assignment("DATASET", "custom", "SET")]
    apply(tree, [model, words])
    assert {name: tree.values()[name] for name in given} == {n: p for n, (_, p) in given.items()}
    assert 'CONFIG_OUTPUT_DIR="~/runs"\n' in tree.config_text()  # as it was written


def test_the_tracking_menu(tree):
    values = tree.values()
    assert values["ENABLE_TRACKIO"] is False
    assert values["ENABLE_WANDB"] is False
    assert re.fullmatch(rf"{values['MODEL']}-[0-9a-f]{{5}}", values["TRACKER_PROJECT"])
    assert values["TRACKER_RUN_NAME"] == ""
    assert values["WANDB_ENTITY"] == ""
    assert values["WANDB_PROJECT"] == values["TRACKER_PROJECT"]
    assert values["WANDB_OFFLINE"] is False
    assert values["TRACKIO_PORT"] == 7860
    enabled = {s.name for s in tree.settable if s.name.startswith("ENABLE_")}
    assert enabled == set(SYMBOLS.values())  # a row of lib/config/trackers.py for each
    for name in enabled:
        assert home(tree.syms[name]).filename == "lib/tracking/Kconfig"


def test_tracker_in_the_environment_is_no_default(monkeypatch):
    """Or a minimal configuration would lack what TRACKER enabled."""
    monkeypatch.setenv("TRACKER", "wandb")
    tree = Tree()
    assert tree.values()["ENABLE_WANDB"] is False
    apply(tree, [[Assignment("ENABLE_WANDB", "y", "TRACKER")]])
    assert tree.defconfig_text() == "CONFIG_ENABLE_WANDB=y\n"


def test_the_tree_parses_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("srctree", "/nowhere")
    assert Tree().values()["MODEL"] == "lenet5"
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize(
    "path", sorted((ROOT / "defconfigs").iterdir()), ids=lambda path: path.name
)
def test_every_defconfig_is_minimal_and_says_what_it_is(tree, path):
    """The first lines are comments; of these the first one says what it is."""
    lines = path.read_text().splitlines(keepends=True)
    comments = [*itertools.takewhile(lambda line: line.startswith("# "), lines)]
    assert re.fullmatch(r"# \S.{10,}\n", comments[0])
    rest = "".join(lines[len(comments) :])
    assignments, problems = dotconfig.read(path)
    assert not problems
    assert apply(tree, [assignments]) == []
    assert tree.defconfig_text() == rest
    model, _, dataset = path.name.partition("-")
    assert tree.values()["MODEL"] == model
    assert dataset.split("-")[0] == tree.values()["DATASET"]
