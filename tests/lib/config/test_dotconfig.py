# SPDX-License-Identifier: MIT
"""The text format of .config and of SET."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config.dotconfig import Assignment, ConfigError, escape, parse, parse_words, read, shorten

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(TEXTS)
def test_any_text_survives_a_line_of_config(text):
    line = f'CONFIG_NAME="{escape(text)}"'
    assert "\n" not in line
    assert "\r" not in line
    assignments, problems = parse(line, "f")
    assert not problems
    assert assignments == [Assignment("NAME", text, "f:1", quoted=True)]


@given(st.lists(TEXTS, max_size=4))
def test_any_texts_survive_set_once_quoted_for_a_shell(texts):
    words = " ".join(shlex.quote(f"NAME{i}={text}") for i, text in enumerate(texts))
    assignments, problems = parse_words(words, "SET")
    assert not problems
    assert [(a.name, a.value) for a in assignments] == [
        (f"NAME{i}", text) for i, text in enumerate(texts)
    ]


def test_lines_of_every_kind():
    text = '# a comment\n\nCONFIG_A=y\r\n# CONFIG_B is not set\n   # indented\nCONFIG_C="x" \n'
    assignments, problems = parse(text, "f")
    assert not problems
    assert [(a.name, a.value, a.origin, a.quoted) for a in assignments] == [
        ("A", "y", "f:3", False),
        ("B", "n", "f:4", False),
        ("C", "x", "f:6", True),
    ]


@pytest.mark.parametrize(
    "line", ["A=y", "CONFIG_=y", "CONFIG_A", "CONFIG_A y", 'CONFIG_A="x', 'CONFIG_A="x"y', "what"]
)
def test_a_malformed_line_is_named_with_its_number(line):
    assignments, problems = parse(f"\n{line}\nCONFIG_OK=y\n", "file")
    assert [a.name for a in assignments] == ["OK"]
    assert len(problems) == 1
    assert problems[0].startswith("file:2: malformed")


def test_a_backslash_before_any_other_character_stands_for_that_character():
    assert parse(r'CONFIG_A="\a\\n\"\n"', "f")[0][0].value == 'a\\n"\n'


@pytest.mark.parametrize("text", ["SEED", "SEED = 3", "=3", "A-B=3"])
def test_set_that_is_no_list_of_assignments(text):
    problems = parse_words(text, "SET")[1]
    assert problems
    assert "is not NAME=value" in problems[0]


def test_an_open_quote_is_said():
    with pytest.raises(ConfigError, match="SET: `A='x`: no closing quotation"):
        parse_words("A='x", "SET")


def test_set_takes_the_prefix_equals_signs_and_quotes():
    assignments, problems = parse_words("""CONFIG_A=1 B="two words" C=x=y D=""", "SET")
    assert not problems
    assert [(a.name, a.value) for a in assignments] == [
        ("A", "1"),
        ("B", "two words"),
        ("C", "x=y"),
        ("D", ""),
    ]


def test_files_that_can_not_be_read(tmp_path):
    binary = tmp_path / "binary"
    binary.write_bytes(b"CONFIG_A=\xff\n")
    for path, complaint in [(binary, "UTF-8"), (tmp_path / "none", "No such file")]:
        with pytest.raises(ConfigError, match=complaint):
            read(path)


def test_messages_stay_on_one_short_line():
    assert shorten("a\nb") == r"'a\nb'"
    assert len(shorten("x" * 10_000)) < 100
