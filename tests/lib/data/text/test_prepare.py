# SPDX-License-Identifier: MIT
"""Preparation: the same bytes for any number of workers and any kills, and clear refusals."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiktoken

from lib.data.text import encoder, prepare, staging
from lib.data.text.corpora import open_corpus
from lib.data.text.encoder import encode_documents, split_of
from lib.data.text.shards import DataError, ShardHeader, ShardWriter
from lib.data.text.tokenizers import Tokenizer, load_tokenizer
from lib.data.text.tokens import TokenSet

ROOT = Path(__file__).resolve().parents[4]
BYTES = load_tokenizer("bytes")


@pytest.fixture
def corpus(tmp_path):
    """Three files of texts of uneven length; some equal, some empty, one long."""
    numbers = random.Random(0)
    texts = ["".join(numbers.choices("abc é\n", k=numbers.randrange(400))) for _ in range(600)]
    texts[50] = texts[60] = texts[500] = "the same text"
    texts[300] = "long " * 40_000
    for index in range(3):
        lines = (json.dumps({"text": text}) + "\n" for text in texts[index * 200 :][:200])
        (tmp_path / f"{index}.jsonl").write_text("".join(lines))
    return open_corpus("custom", f"{tmp_path}/*.jsonl")


def run(data_dir, corpus, tokenizer=BYTES, workers=1, **settings):
    settings = {"val_fraction": 0.1, "shard_tokens": 20_000, "say": lambda text: None} | settings
    return prepare.prepare(data_dir, "custom", corpus, tokenizer, workers=workers, **settings)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def small_bpe() -> Tokenizer:
    ranks = {bytes([b]): b for b in range(256)} | {b"ab": 256, b"ca": 257, b"abc": 258}
    return Tokenizer(
        tiktoken.Encoding(
            "small",
            pat_str=r" ?\w+|\s",
            mergeable_ranks=ranks,
            special_tokens={"<|endoftext|>": 259},
        )
    )


@pytest.mark.parametrize("tokenizer", [BYTES, small_bpe()], ids=["bytes", "bpe"])
def test_any_number_of_workers_writes_the_same_bytes(tmp_path, corpus, tokenizer, monkeypatch):
    monkeypatch.setattr(prepare, "WORK_CHARACTERS", 3000)  # many portions
    directories = [run(tmp_path / str(n), corpus, tokenizer, n) for n in (1, 2, 3)]
    first, *others = map(contents, directories)
    assert {"meta.json", "train-00000.bin", "train-00001.bin", "val-00000.bin"} <= first.keys()
    assert all(other == first for other in others)
    assert all(sorted(d.parent.iterdir()) == [d.parent / f".{d.name}.lock", d] for d in directories)


def test_the_tokens_are_the_documents_in_order_each_ended(tmp_path, corpus):
    tokens = TokenSet.open(run(tmp_path / "data", corpus))
    texts = [t for part in range(3) for t in corpus.documents(part, 0) if t]
    for split in (tokens.train, tokens.val):
        name = split.name.split()[1]
        expected = [t.encode() for t in texts if split_of(t.encode(), 0.1) == name]
        everything = np.empty(split.count, np.int64)
        split.read(0, everything)
        ends = np.flatnonzero(everything == 256)
        got = [bytes(part[part != 256].tolist()) for part in np.split(everything, ends + 1)[:-1]]
        assert got == expected
        assert tokens.meta["splits"][name]["documents"] == len(expected)
    assert tokens.meta["text_bytes"] == sum(len(t.encode()) for t in texts)
    for header in tokens.train.headers:
        header.check_all()


def test_the_split_depends_on_the_text_alone():
    draws = [split_of(str(i).encode(), 0.2) for i in range(5000)]
    assert 0.17 < draws.count("val") / 5000 < 0.23
    held = {i for i in range(5000) if split_of(str(i).encode(), 0.1) == "val"}
    assert all(draws[i] == "val" for i in held)  # a larger fraction keeps what a smaller one held


def test_a_long_document_is_tokenised_in_pieces_that_join(monkeypatch):
    monkeypatch.setattr(encoder, "LONGEST_PIECE", 10)
    text = "one\ntwo\nthree four five six seven\neight"
    pieces = list(encoder._pieces(text))
    assert "".join(pieces) == text
    assert pieces[0] == "one\ntwo\n"
    assert max(map(len, pieces)) <= 10
    encoded = encode_documents(BYTES, 1e-9, [text])
    assert bytes(encoded.tokens["train"][:-1].tolist()).decode() == text


def test_a_prepared_directory_is_taken_as_it_is(tmp_path, corpus):
    directory = run(tmp_path / "data", corpus)
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    (directory.parent / ".custom-bytes.lock").unlink()
    assert run(tmp_path / "data", corpus) == directory
    assert before == {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    assert list(directory.parent.iterdir()) == [directory]  # so it may be a read-only place


def test_other_settings_are_refused_by_name(tmp_path, corpus):
    run(tmp_path / "data", corpus)
    with pytest.raises(DataError, match=r"other settings: val_fraction 0\.1 → 0\.2\. .*remove"):
        run(tmp_path / "data", corpus, val_fraction=0.2)


# Writes in small portions, pausing after each, and records its progress often.
PROGRAM = """
from lib.cli import begin
begin()
import sys, time
from pathlib import Path
from lib.data.text import prepare
from lib.data.text import staging
from lib.data.text.corpora import open_corpus
from lib.data.text.tokenizers import load_tokenizer
staging.CHECKPOINT_SECONDS = 0.02
prepare.WORK_CHARACTERS = 500
files, data, pause = sys.argv[1:]
prepare.prepare(Path(data), "custom", open_corpus("custom", files), load_tokenizer("bytes"),
    val_fraction=0.1, shard_tokens=20_000, workers=2,
    on_progress=lambda state: time.sleep(float(pause)))
"""


@pytest.mark.slow
def test_kills_at_random_instants_leave_the_same_bytes(tmp_path, corpus):
    """Killed as it starts and as it writes, it goes on and comes to the bytes of an undisturbed
    preparation."""
    expected = contents(run(tmp_path / "whole", corpus))
    data = tmp_path / "killed"
    numbers = random.Random(os.getpid())
    said = ""
    for attempt in range(7):
        process = _start(tmp_path, data)
        if attempt % 3:
            _wait_for_a_save(data, process)
        time.sleep(numbers.uniform(0, 0.2))
        process.kill()
        said += process.communicate()[0]
        assert process.returncode == -signal.SIGKILL  # there was work left
        assert not (data / "custom-bytes").exists()
    last = _start(tmp_path, data)
    said += last.communicate()[0]
    assert last.returncode == 0
    assert "resuming after" in said
    assert contents(data / "custom-bytes") == expected


def _start(files: Path, data: Path, pause: float = 0.03) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, f"{files}/*.jsonl", str(data), str(pause)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def _wait_for_a_save(data: Path, process: subprocess.Popen) -> None:
    saved = data / ".custom-bytes.partial" / "progress.json"
    before = saved.stat().st_mtime_ns if saved.exists() else 0
    while process.poll() is None and not (saved.exists() and saved.stat().st_mtime_ns != before):
        time.sleep(0.005)


def test_workers_end_when_the_program_is_killed(tmp_path, corpus):
    process = _start(tmp_path, tmp_path / "data")
    _wait_for_a_save(tmp_path / "data", process)
    os.killpg(process.pid, 0)
    process.kill()
    process.communicate()
    _assert_gone(process.pid)


def test_sigusr1_ends_neither_the_program_nor_its_workers(tmp_path, corpus):
    process = _start(tmp_path, tmp_path / "data", pause=0.01)
    _wait_for_a_save(tmp_path / "data", process)
    os.killpg(process.pid, signal.SIGUSR1)
    process.communicate()
    assert process.returncode == 0


def _assert_gone(session: int) -> None:
    """No process of that session is alive: the workers ended with their program."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail("a worker outlived its program")


def test_an_unfinished_preparation_of_other_settings_is_begun_anew(tmp_path, corpus, monkeypatch):
    _interrupt(tmp_path / "data", corpus, monkeypatch)
    said = []
    directory = run(tmp_path / "data", corpus, val_fraction=0.3, say=said.append)
    assert "starting anew" in said[0] and "val_fraction 0.1 → 0.3" in said[0]
    assert contents(directory) == contents(run(tmp_path / "other", corpus, val_fraction=0.3))


def _interrupt(data_dir, corpus, monkeypatch):
    """Leave a half-done preparation."""

    def stop(state):
        if state.text_bytes > 50_000:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(staging, "CHECKPOINT_SECONDS", 0)
        patch.setattr(prepare, "WORK_CHARACTERS", 2000)
        with pytest.raises(KeyboardInterrupt):
            run(data_dir, corpus, on_progress=stop)


def test_a_full_disk_is_said_and_the_next_run_goes_on(tmp_path, corpus, monkeypatch):
    expected = contents(run(tmp_path / "whole", corpus))
    append, room = ShardWriter.append, 5000

    def append_until_full(self, tokens):
        if self.path.name.startswith("train") and self.count + len(tokens) > room:
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path))
        append(self, tokens)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "WORK_CHARACTERS", 2000)
        patch.setattr(staging, "CHECKPOINT_SECONDS", 0)
        patch.setattr(ShardWriter, "append", append_until_full)
        with pytest.raises(DataError, match=r"data: the disk is full: free some space"):
            run(tmp_path / "data", corpus)
    said = []
    assert contents(run(tmp_path / "data", corpus, say=said.append)) == expected
    assert "resuming after" in said[0]


def test_a_corpus_that_can_not_fit_is_refused_at_once(tmp_path, corpus, monkeypatch):
    usage = prepare.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"0\.00 GB are free, the shards need about 0\.00 GB"):
        run(tmp_path / "data", corpus)


def test_a_data_directory_that_is_a_file_is_refused(tmp_path, corpus):
    (tmp_path / "data").write_text("")
    with pytest.raises(DataError, match="set DATA_DIR"):
        run(tmp_path / "data", corpus)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_corpus_is_refused(tmp_path, text):
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(DataError, match="it has no text"):
        run(tmp_path / "data", open_corpus("custom", f"{tmp_path}/a.jsonl"))


def test_an_empty_split_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "only one"}\n')
    corpus = open_corpus("custom", f"{tmp_path}/a.jsonl")
    with pytest.raises(DataError, match=r"none of its 1 documents fell into the val .*higher"):
        run(tmp_path / "data", corpus, val_fraction=1e-9)
    with pytest.raises(DataError, match=r"fell into the train .*lower"):
        run(tmp_path / "data", corpus, val_fraction=1 - 1e-9)


def test_damage_in_the_corpus_reaches_the_user_and_no_worker_stays(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\nbad\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: not JSON"):
        run(tmp_path / "data", open_corpus("custom", f"{tmp_path}/a.jsonl"), workers=2)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".custom-bytes.lock"]


def test_ready_files_become_shards(tmp_path):
    tokens = np.random.default_rng(0).integers(0, 257, 70_000).astype("<u2")
    (tmp_path / "train.bin").write_bytes(tokens[:60_000].tobytes())
    (tmp_path / "val.bin").write_bytes(tokens[60_000:].tobytes())
    directory = run(tmp_path / "data", open_corpus("custom", f"{tmp_path}/*.bin"))
    prepared = TokenSet.open(directory)
    assert (prepared.train.count, prepared.val.count) == (60_000, 10_000)
    shards = [ShardHeader.read(path).open() for path in sorted(directory.glob("train-*.bin"))]
    assert np.array_equal(np.concatenate(shards), tokens[:60_000])


def test_of_two_callers_one_prepares_and_both_get_it(tmp_path, corpus):
    both = [_start(tmp_path, tmp_path / "data", pause=0.002) for _ in range(2)]
    assert [process.communicate()[0] for process in both] == ["", ""]
    assert [process.returncode for process in both] == [0, 0]
    assert contents(tmp_path / "data" / "custom-bytes") == contents(run(tmp_path / "one", corpus))
