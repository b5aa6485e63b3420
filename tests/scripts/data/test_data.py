# SPDX-License-Identifier: MIT
"""`make data` and `make data-check` as programs: what they print, how they end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lib.data.text.shards import HEADER_BYTES
from lib.data.text.tokens import TokenSet

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def program(tmp_path):
    """Runs a program of scripts/ on a configuration of a small corpus of its own."""
    rows = (json.dumps({"text": f"document {i}"}) + "\n" for i in range(400))
    (tmp_path / "texts.jsonl").write_text("".join(rows))
    config = tmp_path / ".config"
    config.write_text(
        "CONFIG_MODEL_GPT2=y\nCONFIG_DATASET_CUSTOM=y\nCONFIG_TOKENIZER_BYTES=y\n"
        f'CONFIG_DATA_FILES="{tmp_path}/texts.jsonl"\nCONFIG_DATA_DIR="{tmp_path}/data"\n'
    )

    def run(name: str, *flags: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", f"scripts.data.{name}", "--config", str(config), *flags]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    return run


def test_data_is_prepared_and_checked(program, tmp_path):
    first = program("prepare")
    assert (first.returncode, first.stderr) == (0, "")
    tokens = TokenSet.open(tmp_path / "data" / "custom-bytes")
    assert f"{tokens.train.count:,} tokens to train on" in first.stdout
    assert program("prepare").stdout == first.stdout
    checked = program("check")
    assert checked.returncode == 0
    assert checked.stdout.count("are sound") == 2


def test_every_damaged_shard_is_named(program, tmp_path):
    program("prepare")
    directory = tmp_path / "data" / "custom-bytes"
    for path in directory.glob("*.bin"):
        raw = bytearray(path.read_bytes())
        raw[HEADER_BYTES + 20] ^= 1
        path.write_bytes(raw)
    checked = program("check")
    assert checked.returncode == 1
    for name in ("train-00000.bin", "val-00000.bin"):
        assert f"{directory / name}: corrupt between offset {HEADER_BYTES}" in checked.stderr


def test_what_is_wrong_is_one_message(program, tmp_path):
    unprepared = program("check")
    assert unprepared.returncode == 1
    assert "`make data` prepares it" in unprepared.stderr
    absent = program("prepare", "--data-files", str(tmp_path / "absent.txt"))
    assert absent.returncode == 1
    assert absent.stderr.startswith("error: DATA_FILES: ")
    assert len(absent.stderr.splitlines()) == 1
