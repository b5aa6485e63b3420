# SPDX-License-Identifier: MIT
"""What a terminal is given: tables in columns, and nothing that could steer it."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import text

HOSTILE = "a\x1b[2J\r\nforged  row\x00\u202e\x9b31m\udcff"


@pytest.mark.parametrize("name", ["final/test_accuracy", "best val/accuracy_top5", "sparsity"])
def test_shares_are_in_per_cent(name):
    assert text.metric(name, 0.0712) == "7.12 %"


def test_columns_are_aligned():
    lines = text.columns([("name", "rows"), ("a", "1"), ("long name", "12,345")], right=(1,))
    assert lines == ["name         rows", "a               1", "long name  12,345"]


def test_wide_and_combining_characters_take_the_columns_that_a_terminal_gives_them():
    lines = text.columns([("数据", "x"), ("e\u0301tat", "x"), ("four", "x")])
    assert lines == ["数据  x", "e\u0301tat  x", "four  x"]


def test_no_cell_steers_the_terminal_or_forges_a_row():
    (line,) = text.columns([(HOSTILE, "end")])
    assert line == "a\N{REPLACEMENT CHARACTER}[2J forged row" + "\N{REPLACEMENT CHARACTER}" * 2 + (
        "\N{REPLACEMENT CHARACTER}31m\N{REPLACEMENT CHARACTER}  end"
    )


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5))
def test_whatever_the_cells_hold_each_row_is_one_printable_line(rows):
    lines = text.columns(rows)
    assert len(lines) == len(rows) and all(line.isprintable() for line in lines)


def test_printable_text_keeps_its_lines():
    assert text.printable("a\tb\n\x07\x1b]0;title\x07c") == (
        "a\tb\n\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER}c"
    )


class Terminal(io.StringIO):
    """A terminal as far as isatty can tell."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("status", ["running", "interrupted", "retrying", "failed"])
def test_a_status_has_a_colour_on_a_terminal_alone(monkeypatch, status):
    monkeypatch.delenv("NO_COLOR", raising=False)
    line = text.coloured("x", status, Terminal())
    assert line.startswith("\x1b[") and line.endswith("mx\x1b[0m")
    assert text.coloured("x", status, io.StringIO()) == "x"
    assert text.coloured("x", "completed", Terminal()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert text.coloured("x", status, Terminal()) == "x"
