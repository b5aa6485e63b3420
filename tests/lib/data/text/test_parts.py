# SPDX-License-Identifier: MIT
"""A corpus prepared in parts and merged is, byte for byte, what one machine makes of it."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.text import parts, prepare, staging
from lib.data.text.corpora import HUBS, HubCorpus, open_corpus
from lib.data.text.parts import Part
from lib.data.text.shards import HEADER_BYTES, DataError
from lib.data.text.tokens import TokenSet
from lib.errors import BadUse
from tests.lib.data.text.test_corpora import SCHEMAS, repository, write_own, write_parquet
from tests.lib.data.text.test_prepare import ROOT, contents, run


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Tokenise here: a worker process takes a third of a second to start."""

    class Here:
        def __init__(self, function, count):
            self.function = function

        def map(self, works):
            return map(self.function, works)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(prepare, "Workers", Here)


NUMBERS = random.Random(1)
TEXTS = ["".join(NUMBERS.choices("abc é\n", k=NUMBERS.randrange(300))) for _ in range(300)]
COUNTS = (1, 2, 3, 7)


def jsonl(folder: Path) -> str:
    """Five files of uneven length, one without text."""
    folder.mkdir()
    for index, (first, end) in enumerate([(0, 40), (40, 41), (41, 41), (41, 220), (220, 300)]):
        lines = (json.dumps({"text": text}) + "\n" for text in TEXTS[first:end])
        (folder / f"{index}.jsonl").write_text("".join(lines))
    return str(folder)


def text(folder: Path) -> str:
    folder.mkdir()
    for index in range(4):
        (folder / f"{index}.txt").write_text("\n\n".join(TEXTS[index * 70 :]), encoding="utf-8")
    return str(folder)


def parquet(folder: Path) -> str:
    for index in range(3):
        write_parquet(folder / f"{index}.parquet", TEXTS[index * 90 :][:90], SCHEMAS["finewebedu"])
    return str(folder)


def tokens(folder: Path) -> str:
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name, count in (("a_train", 30_000), ("b_val", 9_000), ("c_train", 21_500)):
        write_own(folder / f"{name}.bin", draw.integers(0, 257, count))
    return str(folder)


@pytest.mark.parametrize("make", [jsonl, text, parquet, tokens])
def test_any_number_of_parts_merges_into_the_bytes_of_one_machine(tmp_path, make):
    corpus = open_corpus("custom", make(tmp_path / "files"))
    alone = run(tmp_path / "alone", corpus, shard_tokens=5000)
    assert len(list(alone.glob("train-*"))) > 3
    for of in COUNTS:
        data = tmp_path / f"of-{of}"
        for number in NUMBERS.sample(range(1, of + 1), of):  # in any order
            made = run(data, corpus, shard_tokens=5000, part=Part(number, of))
            assert made.name == f"custom-bytes.part-{number}-of-{of}"
        whole = run(data, corpus, shard_tokens=5000)
        assert contents(whole) == contents(alone)
        assert TokenSet.open(whole).fingerprint == TokenSet.open(alone).fingerprint
        assert [path for path in data.iterdir() if not path.name.startswith(".")] == [whole]


@pytest.mark.parametrize("name", ["openwebtext", "finewebedu"])
def test_a_set_of_the_hub_is_divided_by_files(tmp_path, name):
    """Streamed by the data set library, from a repository of the same schema on the disk."""
    hub = repository(tmp_path / "repository", HUBS[name], SCHEMAS[name])
    corpus = HubCorpus(name, hub)
    assert [Part(n, 2).files(corpus) for n in (1, 2)] == [(0, 1), (1, 3)]
    settings = {"shard_tokens": 1024, "val_fraction": 0.3}
    alone = run(tmp_path / "alone", corpus, **settings)
    for number in (1, 2):
        run(tmp_path / "parts", HubCorpus(name, hub), part=Part(number, 2), **settings)
    assert contents(run(tmp_path / "parts", corpus, **settings)) == contents(alone)


@given(st.lists(st.integers(0, 1000), max_size=30), st.integers(1, 9))
def test_parts_hold_each_file_once_and_in_order(sizes, of):
    class Sized:
        files = len(sizes)

    Sized.sizes = sizes
    ranges = [Part(number, of).files(Sized) for number in range(1, of + 1)]
    assert [i for first, end in ranges for i in range(first, end)] == list(range(len(sizes)))
    share, longest = sum(sizes) / of, max(sizes, default=0)
    assert all(sum(sizes[first:end]) <= share + longest for first, end in ranges)


@pytest.mark.parametrize(
    "word", ["0/8", "9/8", "2-8", "2/", "/8", "2/8/9", "02/8", "2/99999", "٢/٨", "2 / 8", "two"]
)
def test_a_part_that_makes_no_sense_is_refused(word):
    with pytest.raises(BadUse, match=f"PART={word}: write the number of the part.*PART=1/8"):
        Part.parse(word)


def test_whole_shards_of_the_first_part_are_linked(tmp_path, monkeypatch):
    corpus = open_corpus("custom", jsonl(tmp_path / "files"))
    made = [run(tmp_path / "data", corpus, shard_tokens=2000, part=Part(n, 2)) for n in (1, 2)]
    first = {path.name: path.stat().st_ino for path in made[0].glob("train-*.bin")}
    whole = run(tmp_path / "data", corpus, shard_tokens=2000)
    linked = [name for name, node in first.items() if (whole / name).stat().st_ino == node]
    assert sorted(linked) == sorted(first)[:-1]  # the last one goes on with the second part


@pytest.fixture
def three(tmp_path):
    """A corpus, a folder with its three parts, and what one machine makes of it."""
    corpus = open_corpus("custom", jsonl(tmp_path / "files"))
    for number in (1, 2, 3):
        run(tmp_path / "data", corpus, shard_tokens=2000, part=Part(number, 3))
    return corpus, tmp_path / "data", contents(run(tmp_path / "alone", corpus, shard_tokens=2000))


def test_a_missing_part_is_named_and_nothing_is_begun(three):
    corpus, data, expected = three
    away = data.with_name("away")
    for number in (1, 3):
        (data / f"custom-bytes.part-{number}-of-3").rename(away.with_name(f"away-{number}"))
    (data / ".custom-bytes.part-3-of-3.partial").mkdir()
    with pytest.raises(DataError, match=r"part 1/3 is missing, part 3/3 is not finished") as raised:
        run(data, corpus, shard_tokens=2000)
    assert "rm -r" in str(raised.value) and "make data PART=…" in str(raised.value)
    for number in (1, 3):  # brought by rsync -a, say
        shutil.copytree(f"{away}-{number}", data / f"custom-bytes.part-{number}-of-3")
    assert contents(run(data, corpus, shard_tokens=2000)) == expected


@pytest.mark.parametrize("damage", ["bit", "cut", "absent", "meta"])
def test_a_damaged_part_is_named_with_its_cure(three, damage):
    corpus, data, expected = three
    part = data / "custom-bytes.part-2-of-3"
    shard = part / ("meta.json" if damage == "meta" else "train-00000.bin")
    whole = shard.read_bytes()
    if damage == "absent":
        shard.unlink()
    elif damage == "bit":
        shard.write_bytes(whole[: HEADER_BYTES + 9] + b"\x07" + whole[HEADER_BYTES + 10 :])
    else:
        shard.write_bytes(whole[:-30])
    with pytest.raises(DataError, match=r"part 2/3 is damaged: .*part-2-of-3/") as raised:
        run(data, corpus, shard_tokens=2000)
    assert "make data PART=2/3" in str(raised.value)
    shard.write_bytes(whole)
    assert contents(run(data, corpus, shard_tokens=2000)) == expected


def test_parts_of_other_settings_or_files_are_refused(three, tmp_path):
    corpus, data, _ = three
    part = data / "custom-bytes.part-2-of-3"
    shutil.rmtree(part)
    run(data, corpus, shard_tokens=2000, val_fraction=0.2, part=Part(2, 3))
    with pytest.raises(DataError, match=r"part-2-of-3 was prepared .*val_fraction 0\.2 → 0\.1"):
        run(data, corpus, shard_tokens=2000)
    with pytest.raises(DataError, match=r"part-2-of-3 was prepared .*val_fraction 0\.2 → 0\.1"):
        run(data, corpus, shard_tokens=2000, part=Part(2, 3))
    shutil.rmtree(part)
    other = shutil.copytree(tmp_path / "files", tmp_path / "other")
    (other / "3.jsonl").write_text('{"text": "changed"}\n')
    run(data, open_corpus("custom", str(other)), shard_tokens=2000, part=Part(2, 3))
    with pytest.raises(DataError, match=r"part-2-of-3 was prepared .*source .*3\.jsonl"):
        run(data, corpus, shard_tokens=2000)


def test_the_files_may_be_elsewhere_on_another_machine(three, tmp_path):
    corpus, data, expected = three
    part = data / "custom-bytes.part-2-of-3"
    shutil.rmtree(part)
    other = shutil.copytree(tmp_path / "files", tmp_path / "mnt" / "files")
    run(tmp_path / "second", open_corpus("custom", str(other)), shard_tokens=2000, part=Part(2, 3))
    shutil.move(tmp_path / "second" / part.name, part)
    assert contents(run(data, corpus, shard_tokens=2000)) == expected


def test_too_little_space_is_said_before_anything_is_copied(three, monkeypatch):
    corpus, data, expected = three
    usage = shutil.disk_usage(data)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(parts.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(DataError, match=r"0\.00 GB are free, merging needs 0\.00 GB"):
            run(data, corpus, shard_tokens=2000)
    assert contents(run(data, corpus, shard_tokens=2000)) == expected


def test_a_merge_that_was_killed_at_its_end_leaves_no_parts(three):
    corpus, data, expected = three
    copies = shutil.copytree(data / "custom-bytes.part-1-of-3", data.with_name("copy"))
    whole = run(data, corpus, shard_tokens=2000)
    shutil.copytree(copies, data / "custom-bytes.part-1-of-3")
    assert run(data, corpus, shard_tokens=2000) == whole
    assert not list(data.glob("custom-bytes.*")) and contents(whole) == expected


def test_a_merge_removes_what_other_divisions_left_and_keeps_what_is_of_use(three, monkeypatch):
    corpus, data, expected = three
    monkeypatch.setattr(staging, "CHECKPOINT_SECONDS", 0.0)
    for number, fraction in ((4, 0.1), (5, 0.2)):  # killed: the second with other settings
        part = Part(1, number)
        with pytest.raises(InterruptedError):
            run(data, corpus, part=part, val_fraction=fraction, shard_tokens=2000, on_progress=kill)
    other = {"val_fraction": 0.2, "shard_tokens": 2000}
    run(data, corpus, part=Part(1, 6), **other)
    being_made = data / ".custom-bytes.part-1-of-7.partial"
    being_made.mkdir()
    with staging.locked(data / "custom-bytes.part-1-of-7"):
        assert contents(run(data, corpus, shard_tokens=2000)) == expected
    kept = {"custom-bytes", ".custom-bytes.part-1-of-5.partial", "custom-bytes.part-1-of-6"}
    assert {path.name for path in data.iterdir() if path.is_dir()} == kept | {being_made.name}
    run(data, corpus, shard_tokens=2000)
    assert {path.name for path in data.iterdir() if path.is_dir()} == kept


def kill(state):
    raise InterruptedError


# Pauses after each shard that it merges and each piece of text that it tokenises.
PROGRAM = """
from lib.cli import begin
begin()
import sys, time
from pathlib import Path
from lib.data.text import prepare, staging
from lib.data.text.corpora import open_corpus
from lib.data.text.parts import Part
from lib.data.text.shards import SplitWriter
from lib.data.text.tokenizers import load_tokenizer
staging.CHECKPOINT_SECONDS = 0.01
prepare.WORK_CHARACTERS = 500
append = SplitWriter.append_shard
SplitWriter.append_shard = lambda self, header: (append(self, header), time.sleep(0.02))
files, data, part = sys.argv[1:]
prepare.prepare(Path(data), "custom", open_corpus("custom", files), load_tokenizer("bytes"),
    val_fraction=0.1, shard_tokens=2000, workers=1, part=Part.parse(part) if part else None,
    on_progress=lambda state: time.sleep(0.02))
"""


def start(files: Path, data: Path, part: str = "") -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, str(files), str(data), part]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def killed_until_done(files: Path, data: Path, part: str, staged: Path) -> str:
    """Kill the program three times after it has saved its progress, then let it end."""
    said, progress = "", staged / "progress.json"
    for _ in range(3):
        process = start(files, data, part)
        before = progress.stat().st_mtime_ns if progress.exists() else 0
        while process.poll() is None:
            if progress.exists() and progress.stat().st_mtime_ns != before:
                break
            time.sleep(0.002)
        time.sleep(NUMBERS.uniform(0, 0.05))
        process.kill()
        said += process.communicate()[0]
        assert process.returncode == -signal.SIGKILL  # there was work left
    last = start(files, data, part)
    said += last.communicate()[0]
    assert last.returncode == 0
    return said


@pytest.mark.slow
def test_kill_9_within_a_part_and_within_the_merge(three, tmp_path):
    _, data, expected = three
    shutil.rmtree(data / "custom-bytes.part-2-of-3")
    files = tmp_path / "files"
    part = killed_until_done(files, data, "2/3", data / ".custom-bytes.part-2-of-3.partial")
    merge = killed_until_done(files, data, "", data / ".custom-bytes.partial")
    assert "resuming after" in part and "resuming after" in merge
    assert contents(data / "custom-bytes") == expected


@pytest.mark.slow
def test_of_two_machines_with_the_same_part_one_works(three, tmp_path):
    corpus, data, expected = three
    shutil.rmtree(data / "custom-bytes.part-2-of-3")
    both = [start(tmp_path / "files", data, "2/3") for _ in range(2)]
    assert [process.communicate()[0] for process in both] == ["", ""]
    assert [process.returncode for process in both] == [0, 0]
    assert contents(run(data, corpus, shard_tokens=2000)) == expected
    assert not list(data.glob(".*.partial"))
