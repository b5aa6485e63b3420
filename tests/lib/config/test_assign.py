# SPDX-License-Identifier: MIT
"""Each assignment takes or is refused with its reason: shown on a small Kconfig tree."""

import re

import pytest

from lib.config.assign import apply
from lib.config.dotconfig import ConfigError, parse, parse_words
from lib.config.tree import Tree

KCONFIG = """\
mainmenu "Toy"

choice
    prompt "Fruit"
    default FRUIT_APPLE
config FRUIT_APPLE
    bool "apple"
config FRUIT_PEAR
    bool "pear"
config FRUIT_LEMON
    bool "lemon"
    depends on SOUR
endchoice

config FRUIT
    string
    default "apple" if FRUIT_APPLE
    default "pear" if FRUIT_PEAR
    default "lemon" if FRUIT_LEMON

config SOUR
    bool "Sour"

config COUNT
    int "How many"
    range 1 10
    default 3

config ANY
    int "Any integer"
    default 0

config WEIGHT
    string "Weight"
    default "0.5"
    help
      In kg.
      Real number in [0, 1).

config LABEL
    string "Label"
    depends on FRUIT_PEAR

config DETAIL
    bool "Detail"
    depends on LABEL != "" && SOUR
"""


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "Kconfig").write_text(KCONFIG)
    return Tree(tmp_path)


def assign(tree, *layers, **options):
    """Apply layers given as the text of SET."""
    parsed = []
    for number, text in enumerate(layers):
        assignments, problems = parse_words(text, f"SET{number}")
        assert not problems
        parsed.append(assignments)
    return apply(tree, parsed, **options)


def problems(tree, *layers):
    with pytest.raises(ConfigError) as error:
        assign(tree, *layers)
    return error.value.problems


def test_values_are_typed_and_absent_where_dependencies_are_not_met(tree):
    assert tree.values() == {
        "ANY": 0,
        "COUNT": 3,
        "DETAIL": False,
        "FRUIT": "apple",
        "FRUIT_APPLE": True,
        "FRUIT_LEMON": False,
        "FRUIT_PEAR": False,
        "LABEL": "",
        "SOUR": False,
        "WEIGHT": 0.5,
    }


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("COUNT=10", "COUNT", 10),
        ("COUNT=+007", "COUNT", 7),
        ("ANY=-5", "ANY", -5),
        ("WEIGHT=2e-1", "WEIGHT", 0.2),
        ("WEIGHT=0", "WEIGHT", 0.0),
        ("SOUR=y", "SOUR", True),
        ("FRUIT=pear", "FRUIT_PEAR", True),
        ("FRUIT_PEAR=y", "FRUIT", "pear"),
        ("FRUIT_PEAR=n", "FRUIT", "apple"),
        ("FRUIT=pear LABEL='a \"b\"'", "LABEL", 'a "b"'),
        ("LABEL=x FRUIT=pear", "LABEL", "x"),  # in whatever order
        ("FRUIT=lemon SOUR=y", "FRUIT", "lemon"),
        ("DETAIL=n", "DETAIL", False),
    ],
)
def test_what_takes(tree, text, name, value):
    assert assign(tree, text) == []
    assert tree.values()[name] == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CUONT=3", "no such symbol; did you mean COUNT @COUNT?"),
        ("XYZZY=3", "no such symbol"),
        ("COUNT=0", "out of range, want an integer in [1, 10] @COUNT"),
        ("COUNT=11", "out of range, want an integer in [1, 10] @COUNT"),
        ("COUNT=x", "wrong type, want an integer in [1, 10] @COUNT"),
        ("COUNT=1_0", "wrong type"),
        ("COUNT=0x3", "wrong type"),
        ("COUNT=3.0", "wrong type"),
        ("COUNT=", "wrong type"),
        ("ANY=" + "9" * 5000, "wrong type, want an integer @ANY"),
        ("WEIGHT=1", "out of range, want a real number in [0, 1) @WEIGHT"),
        ("WEIGHT=-1e-9", "out of range"),
        ("WEIGHT=inf", "out of range"),
        ("WEIGHT=nan", "wrong type, want a real number in [0, 1) @WEIGHT"),
        ("WEIGHT=", "wrong type"),
        ("SOUR=yes", "wrong type, want y or n @SOUR"),
        ("SOUR=m", "wrong type"),
        ("FRUIT=pearl", "is not one of apple, pear, lemon; did you mean pear? @FRUIT"),
        ("FRUIT=", "is not one of apple, pear, lemon @FRUIT"),
        ("FRUIT=lemon", "unmet dependency, needs SOUR @FRUIT_LEMON"),
        ("FRUIT_APPLE=n", "would leave its choice without a value; select another one"),
        ("LABEL=x", "unmet dependency, needs FRUIT_PEAR @LABEL"),
        ("DETAIL=y", 'unmet dependency, needs LABEL != "" and SOUR @DETAIL'),
        ("COUNT=3 COUNT=4", "contradicts COUNT=3 (SET0)"),
        ("FRUIT=pear FRUIT_APPLE=y", "contradicts FRUIT=pear (SET0)"),
        ("SOUR=y SOUR=n", "contradicts SOUR=y"),
        ("LABEL='\udcff'", "not UTF-8"),
    ],
)
def test_what_does_not_take_is_named_with_value_reason_and_place(tree, text, reason):
    (problem,) = problems(tree, text)
    assert problem.startswith(f"SET0: {text.split()[-1].split('=')[0]}=")
    assert re.sub(r"@(\w+)", place, reason) in problem


def place(match):
    """@COUNT as messages write it."""
    line = KCONFIG[: KCONFIG.index(f"config {match.group(1)}\n")].count("\n") + 1
    return f"(Kconfig:{line})"


def test_nul_is_refused(tree):
    assignments, _ = parse_words("FRUIT=pear LABEL='a\0b'", "SET")
    with pytest.raises(ConfigError, match="NUL"):
        apply(tree, [assignments])


def test_all_problems_are_reported_at_once(tree):
    found = problems(tree, "CUONT=3 COUNT=99", "WEIGHT=x DETAIL=y")
    assert len(found) == 4


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('CONFIG_COUNT="3"', "wrong type"),
        ('CONFIG_SOUR="y"', "wrong type"),
        ("CONFIG_WEIGHT=0.5", 'write CONFIG_WEIGHT="…"'),
        ("# CONFIG_COUNT is not set", "wrong type"),
    ],
)
def test_quotes_in_files_follow_the_type(tree, line, reason):
    with pytest.raises(ConfigError, match=reason):
        apply(tree, [parse(line, "f")[0]])


def test_a_later_layer_wins(tree):
    assert assign(tree, "COUNT=1 FRUIT=pear", "COUNT=2 FRUIT=apple") == []
    assert tree.values()["COUNT"] == 2
    assert tree.values()["FRUIT"] == "apple"
    assert tree.origins == {"COUNT": "SET1", "FRUIT": "SET1"}


def test_a_layer_may_rest_on_a_later_one(tree):
    assert assign(tree, "LABEL=x", "FRUIT=pear") == []
    assert tree.values()["LABEL"] == "x"


def test_a_layer_that_lost_its_effect_to_a_later_one_is_noted(tree):
    (note,) = assign(tree, "FRUIT=pear LABEL=x", "FRUIT=apple")
    assert note.startswith("SET0: LABEL=x has no effect: unmet dependency, needs FRUIT_PEAR")
    assert "LABEL" not in tree.origins


def test_tolerance_drops_what_is_gone_or_unmet_and_nothing_else(tree):
    notes = assign(tree, "GONE=1 LABEL=x COUNT=4", tolerant=True)
    assert [note.split()[1] for note in notes] == ["GONE=1:", "LABEL=x"]
    assert tree.values()["COUNT"] == 4
    with pytest.raises(ConfigError, match="out of range"):
        assign(tree, "COUNT=99", tolerant=True)


def test_the_texts_hold_what_was_set_and_no_more(tree):
    assign(tree, 'FRUIT=pear LABEL="a\'\nb" WEIGHT=0.250')
    assert tree.defconfig_text() == (
        'CONFIG_FRUIT_PEAR=y\nCONFIG_WEIGHT="0.25"\nCONFIG_LABEL="a\'\\nb"\n'
    )
    full = tree.config_text()
    assert "# CONFIG_FRUIT_APPLE is not set\n" in full
    assert "CONFIG_COUNT=3\n" in full
    assert "CONFIG_FRUIT=" not in full  # it follows from the bools
    assert "DETAIL" not in full
