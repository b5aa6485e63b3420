# SPDX-License-Identifier: MIT
"""index.json comes back as it was written; anything else is told from it."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.files import ROOT
from lib.train.checkpoint import CheckpointError
from lib.train.checkpoint.index import Entry, read_index, write_index

ENTRY = Entry("step_00000120.pt", 120, {"val/loss": 0.5}, 10, "ab", "2026-01-01", True, False)
NUMBERS = st.floats(allow_nan=False)
ENTRIES = st.lists(
    st.builds(
        Entry,
        file=st.text(), step=st.integers(0), metrics=st.dictionaries(st.text(), NUMBERS),
        size=st.integers(0), sha256=st.text(), time=st.text(), best=st.booleans(),
        milestone=st.booleans(),
    )
)  # fmt: skip


@settings(max_examples=50)
@given(entries=ENTRIES)
def test_what_is_written_is_read(tmp_path_factory, entries):
    folder = tmp_path_factory.getbasetemp()
    write_index(folder, entries)
    assert read_index(folder) == entries


def test_it_is_plain_json(tmp_path):
    write_index(tmp_path, [ENTRY])
    assert json.loads((tmp_path / "index.json").read_text()) == {"checkpoints": [asdict(ENTRY)]}


def test_no_index_lists_nothing(tmp_path):
    assert read_index(tmp_path) == []
    assert read_index(tmp_path / "missing") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.pop("step"),
        lambda fields: fields.update(step="120"),
        lambda fields: fields.update(best=1),
        lambda fields: fields.update(metrics=[]),
        lambda fields: fields.update(more=1),
        lambda fields: fields.update(file=None),
    ],
)
def test_entries_of_another_form_are_refused(tmp_path, change):
    fields = asdict(ENTRY)
    change(fields)
    (tmp_path / "index.json").write_text(json.dumps({"checkpoints": [fields]}))
    with pytest.raises(CheckpointError, match=r"index\.json is damaged"):
        read_index(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"checkpoints": [1]}', "\0"])
def test_a_damaged_index_is_named(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"index\.json is damaged"):
        read_index(tmp_path)


def test_reading_needs_no_torch():
    code = "import lib.train.checkpoint.index, lib.train.checkpoint.find, sys; "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
