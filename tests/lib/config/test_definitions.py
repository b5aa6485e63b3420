# SPDX-License-Identifier: MIT
"""A tree whose Kconfig files contradict each other is refused, with the name and all places."""

import re
import shutil

import pytest

from lib.config.dotconfig import ConfigError
from lib.config.tree import Tree
from lib.files import ROOT

ENTRY = 'config MODEL_FOURTH\n\tbool "the fourth"\n\tselect HAS_IMAGE_DATA\n'

MODEL = """\
config MODEL
	default "fourth" if MODEL_FOURTH

if MODEL_FOURTH

{}
endif
"""


@pytest.fixture
def project(tmp_path):
    """A copy of the Kconfig files with one more model; called with what its own Kconfig says."""
    for path in [*ROOT.glob("Kconfig"), *ROOT.glob("lib/**/Kconfig"), *ROOT.glob("*/Kconfig*")]:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (tmp_path / "scripts").mkdir()
    for script in (ROOT / "scripts").glob("*.sh"):  # those that the Kconfig files call
        shutil.copy(script, tmp_path / "scripts")
    (tmp_path / "fourth").mkdir()
    (tmp_path / "fourth" / "Kconfig.model").write_text(ENTRY)
    root = (tmp_path / "Kconfig").read_text()
    line = 'source "gpt2/Kconfig"\n'
    (tmp_path / "Kconfig").write_text(root.replace(line, 'source "fourth/Kconfig"\n' + line))

    def with_model(text: str) -> Tree:
        (tmp_path / "fourth" / "Kconfig").write_text(MODEL.format(text))
        return Tree(tmp_path)

    return with_model


def test_a_model_is_an_entry_and_a_source_line(project, capsys):
    """It gets the images that are there, and its defaults win over the general ones."""
    tree = project('config BATCH_SIZE\n\tdefault 96\n\nconfig TRACKER_PROJECT\n\tdefault "p"\n')
    tree.syms["MODEL_FOURTH"].set_value("y")
    values = tree.values()
    assert values["MODEL"] == "fourth"
    assert values["BATCH_SIZE"] == 96
    assert values["DATASET"] == "digits"
    assert values["HAS_TEXT_DATA"] is False
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'choice\n\tprompt "Images"\n\n'
            'config DATASET_DIGITS\n\tbool "ten digits"\n\nendchoice\n',
            r"DATASET_DIGITS is defined by \S+/Kconfig:\d+ and by \S+/Kconfig:\d+: .*one choice",
        ),
        (
            'config BATCH_SIZE\n\tint "Images"\n\tdefault 96\n',
            r"BATCH_SIZE is defined by fourth/Kconfig:6 and by lib/train/Kconfig:\d+: .*rename",
        ),
        (
            "config BATCH_SIZE\n\tstring\n\tdefault 96\n",
            r"BATCH_SIZE \(defined at .*fourth/Kconfig:6, .*lib/train/.*\) .* multiple types$",
        ),
        (
            'config DEPTH\n\tint "Depth"\n\tdepends on HAS_IMAGES\n\trange 1 9\n\tdefault 5\n',
            "HAS_IMAGES is used by fourth/Kconfig:6 and defined nowhere",
        ),
    ],
)
def test_contradictions_are_refused_by_name_and_place(project, capsys, text, expected):
    with pytest.raises(ConfigError) as error:
        project(text)
    assert re.search(expected, str(error.value)), error.value
    assert len(error.value.problems) == 1
    assert "warning" not in str(error.value) + capsys.readouterr().err


def test_what_a_script_says_is_a_warning(project, capsys):
    """A machine without a locale, for instance: no reason to configure nothing."""
    project("config BATCH_SIZE\n\tdefault $(shell,echo 96; echo no locale >&2)\n")
    assert re.fullmatch("warning: .*wrote to stderr: no locale\n", capsys.readouterr().err)
