# SPDX-License-Identifier: MIT
"""`make data` and `make data-check` as programs: what they print, how they end."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from lib.data.text.shards import HEADER_BYTES
from lib.data.text.tokens import TokenSet
from lib.errors import BadUse
from scripts.data import prepare
from tests.image_files import write_classes

ROOT = Path(__file__).resolve().parents[3]


def run_on(config: Path, name: str, *flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"scripts.data.{name}", "--config", str(config), *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


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

    return partial(run_on, config)


def test_data_is_prepared_and_checked(program, tmp_path):
    first = program("prepare")
    assert (first.returncode, first.stderr) == (0, "")
    tokens = TokenSet.open(tmp_path / "data" / "custom-bytes")
    assert f"{tokens.train.count:,} tokens to train on" in first.stdout
    assert program("prepare").stdout == first.stdout
    checked = program("check")
    assert checked.returncode == 0
    assert checked.stdout.count("are sound") == 2


def test_a_second_corpus_has_a_name_of_its_own(program, tmp_path):
    """In the same DATA_DIR, beside the first one."""
    program("prepare")
    (tmp_path / "other.txt").write_text("\n\n".join(f"line {n}" for n in range(9000)))
    flags = ("--data-files", str(tmp_path / "other.txt"), "--dataset-name", "other")
    second = program("prepare", *flags, "--val-fraction", "0.3")
    assert second.returncode == 0, second.stderr
    assert program("check", *flags).stdout.count(f"{tmp_path}/data/other-bytes/") == 2
    assert TokenSet.open(tmp_path / "data" / "other-bytes").meta["recipe"]["dataset"] == "other"
    assert TokenSet.open(tmp_path / "data" / "custom-bytes").meta["recipe"]["dataset"] == "custom"


def test_images_are_prepared_and_checked(tmp_path):
    """The same commands, for a model that learns from images."""
    config, file = tmp_path / ".config", tmp_path / "data" / "digits.safetensors"
    config.write_text(f'CONFIG_MODEL_LENET5=y\nCONFIG_DATA_DIR="{file.parent}"\n')
    absent = run_on(config, "check")
    assert (absent.returncode, absent.stdout) == (1, "")
    assert f"{file}: cannot be read: not there; `make data` prepares it" in absent.stderr
    prepared = run_on(config, "prepare")
    expected = rf"{file}: [\d,]+ train, \d+ val, \d+ test images, fingerprint [0-9a-f]{{16}}\n"
    assert re.fullmatch(expected, prepared.stdout), prepared
    assert run_on(config, "check").stdout == f"{file}: 2 tensors are sound\n"
    raw = file.read_bytes()
    file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    damaged = run_on(config, "check")
    assert damaged.returncode == 1
    assert f"{file}: does not match its fingerprint" in damaged.stderr


@pytest.mark.slow
def test_image_folders_are_prepared_and_checked(tmp_path):
    """Broken and changed images are named; the exit code is 1."""
    folder = write_classes(tmp_path / "images", {"a": 6, "b": 6})
    config = tmp_path / ".config"
    config.write_text(
        'CONFIG_MODEL_LENET5=y\nCONFIG_DATASET_IMAGEFOLDER=y\nCONFIG_VAL_FRACTION="0.5"\n'
        f'CONFIG_DATA_FILES="{folder}"\nCONFIG_DATA_DIR="{tmp_path}/data"\n'
    )
    (folder / "a" / "000.jpg").write_bytes(b"none")
    broken = run_on(config, "prepare")
    assert (broken.returncode, broken.stdout) == (1, "")
    assert broken.stderr.startswith(f"error: 1 of 12 images are broken:\n       {folder}/a/000.jpg")
    skipped = run_on(config, "prepare", "--broken-images", "skip")
    assert skipped.returncode == 0 and "train, " in skipped.stdout, skipped
    (folder / "b" / "000.jpg").write_bytes(b"gone")
    changed = run_on(config, "check")
    assert changed.returncode == 1 and "11 images are as they were prepared" in changed.stdout
    assert f"{folder}/b/000.jpg: changed" in changed.stderr


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


def test_a_part_is_prepared_by_flag_or_environment_and_merged(program, tmp_path, monkeypatch):
    first = program("prepare", "--part", "1/2", "--tracker", "none")
    assert "custom-bytes.part-1-of-2: 0 tokens" in first.stdout
    assert "none of 1 files" in first.stdout
    monkeypatch.setenv("PART", "2/2")
    second = program("prepare")
    assert "files 1 to 1 of 1 files. With all parts here, `make data` merges them" in second.stdout
    monkeypatch.delenv("PART")
    merged = program("prepare")
    assert "merging its parts" in merged.stdout and "tokens to train on" in merged.stdout


@pytest.mark.parametrize(
    ("model", "part", "said"),
    [
        ("GPT2", "3/2", "PART=3/2: write the number of the part"),
        ("LENET5", "1/2", "PART=1/2: only a corpus of text is prepared in parts"),
    ],
)
def test_a_part_that_makes_no_sense_is_refused(tmp_path, monkeypatch, model, part, said):
    config = tmp_path / ".config"
    config.write_text(f'CONFIG_MODEL_{model}=y\nCONFIG_DATA_DIR="{tmp_path}/data"\n')
    monkeypatch.setattr(sys, "argv", ["prepare.py", "--config", str(config)])
    monkeypatch.setenv("PART", part)
    with pytest.raises(BadUse, match=said):
        prepare.main()
    assert not (tmp_path / "data").exists()
