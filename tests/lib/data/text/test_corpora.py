# SPDX-License-Identifier: MIT
"""Corpora: each set's own files are read, in order, from any position; damage is placed."""

import hashlib
import io
import json
import re
import sysconfig
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.text import corpora
from lib.data.text.corpora import HUBS, Hub, HubCorpus, Shakespeare, find_files, open_corpus
from lib.data.text.documents import PASSAGE, passages
from lib.data.text.ready import ReadyFiles, open_tokens
from lib.data.text.shards import DataError, ShardWriter
from lib.data.text.tokenizers import load_tokenizer

STORIES = [f"Once there was a fox, number {i}. " + "It ran. " * i for i in range(40)]


def documents(corpus, part=0, skip=0) -> list[str]:
    """All documents from a position on."""
    first = corpus.documents(part, skip)
    return [*first, *(t for p in range(part + 1, corpus.files) for t in corpus.documents(p, 0))]


def write_parquet(path: Path, texts, extra=None, row_group_size=7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"text": texts} | {k: [v] * len(texts) for k, v in (extra or {}).items()}
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def assert_resumable(corpus, texts):
    """Reading from any position of the corpus gives the rest of it."""
    assert documents(corpus) == texts
    seen = 0
    for part in range(corpus.files):
        count = len(list(corpus.documents(part, 0)))
        for skip in range(count + 1):
            assert documents(corpus, part, skip) == texts[seen + skip :]
        seen += count


# ---- pystdlib


def test_the_standard_library_comes_in_order_without_its_tests():
    corpus = open_corpus("pystdlib")
    texts = documents(corpus, corpus.files - 40)
    assert texts == documents(open_corpus("pystdlib"), corpus.files - 40)
    assert corpus.files > 400
    assert corpus.size > 5_000_000
    names = [str(path) for path in corpus._paths]
    assert names == sorted(names)
    assert not any(re.search(r"/(tests?|site-packages)/", name) for name in names)
    path = Path(sysconfig.get_path("stdlib")) / "json" / "decoder.py"
    part = corpus._paths.index(path)
    assert list(corpus.documents(part, 0)) == [path.read_text()]
    assert list(corpus.documents(part, 1)) == []


# ---- text files


@given(st.text(st.sampled_from("ab \n"), max_size=30), st.integers(0, 2000))
def test_passages_join_to_the_text(text, repeats):
    text *= repeats
    parts = list(passages(io.StringIO(text)))
    assert "".join(parts) == text
    assert all(parts)
    for part in parts[:-1]:
        assert len(part) >= PASSAGE
    for part in parts:
        assert len(part) <= 2 * PASSAGE + (1 << 16)


def test_a_passage_ends_at_a_blank_line():
    speech = "First Citizen:\n" + "Speak, speak.\n" * 100 + "\n"
    parts = list(passages(io.StringIO(speech * 30)))
    assert len(parts) > 5
    assert all(part.endswith("\n\n") and part.startswith("First") for part in parts)


def test_text_files_are_read_from_any_position(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text(f"{name} is a letter, é too.\n" * 900)
    corpus = open_corpus("custom", str(tmp_path))
    texts = documents(corpus)
    assert "".join(texts).startswith("a is")
    assert len(texts) == 6
    assert_resumable(corpus, texts)


def test_text_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"good\n\xff\xfe")
    with pytest.raises(DataError, match=r"a\.txt: not UTF-8 text .*xff"):
        documents(open_corpus("custom", str(tmp_path / "a.txt")))


# ---- jsonl


def test_jsonl_is_read_from_any_position_by_its_column(tmp_path):
    rows = [{"id": i, "body": text} for i, text in enumerate(STORIES)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines)
    assert_resumable(open_corpus("custom", str(tmp_path / "*.jsonl"), "body"), STORIES)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"a\.jsonl:2: not JSON"),
        ("[1]", r"a\.jsonl:2: not a JSON object"),
        ('{"body": "x"}', r"a\.jsonl:2: no 'text' among body: set TEXT_COLUMN"),
        ('{"text": 5}', r"a\.jsonl:2: 'text' holds a int, not text"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    (tmp_path / "a.jsonl").write_text(f'{{"text": "good"}}\n{line}\n')
    with pytest.raises(DataError, match=message):
        documents(open_corpus("custom", str(tmp_path / "a.jsonl")))


def test_empty_lines_and_nulls_are_empty_documents(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": null}\n{"text": "b"}\n')
    corpus = open_corpus("custom", str(tmp_path / "a.jsonl"))
    assert documents(corpus) == ["a", "", "", "b"]


# ---- parquet, and the schemas of the named sets

SCHEMAS = {
    "tinystories": {},
    "openwebtext": {},
    "finewebedu": {
        "id": "<urn:uuid:0>",
        "dump": "CC-MAIN-2024-10",
        "url": "https://example.com",
        "file_path": "s3://…",
        "language": "en",
        "language_score": 0.97,
        "token_count": 12,
        "score": 3.1,
        "int_score": 3,
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_local_copies_of_a_named_set_are_read_from_any_position(tmp_path, name):
    write_parquet(tmp_path / "001.parquet", STORIES[23:], SCHEMAS[name])
    write_parquet(tmp_path / "000.parquet", STORIES[:23], SCHEMAS[name])
    assert_resumable(open_corpus(name, str(tmp_path)), STORIES)


def repository(root: Path, hub: Hub, extra: dict) -> Hub:
    """A data set repository as the hub has it, on the disk: the folder, the card, the config."""
    for index, texts in enumerate((STORIES[:15], STORIES[15:30], STORIES[30:])):
        write_parquet(root / "part" / f"{index:03d}_00000.parquet", texts, extra)
    config = hub.config or "default"
    card = {"configs": [{"config_name": config, "data_files": "part/*.parquet"}]}
    (root / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")
    return hub._replace(path=str(root), revision=None, size=5000)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_set_of_the_hub_is_streamed_from_any_position(tmp_path, name):
    hub = repository(tmp_path / "repository", HUBS[name], SCHEMAS[name])
    corpus = HubCorpus(name, hub)
    assert corpus.files == 3
    assert documents(corpus) == STORIES
    assert documents(corpus, 1, 9) == STORIES[24:]
    assert documents(corpus, 2, 10) == []


def test_the_sets_of_the_hub_are_pinned_and_recorded():
    for name, hub in HUBS.items():
        assert re.fullmatch(r"[0-9a-f]{40}", hub.revision)
        source = open_corpus(name).source
        assert source == {"hub": hub.path, "config": hub.config, "revision": hub.revision}


@pytest.mark.parametrize("name", HUBS)
def test_without_network_the_hub_says_so_before_anything_is_read(name, monkeypatch):
    import huggingface_hub

    def unreachable(*args, **kwargs):
        raise huggingface_hub.errors.OfflineModeIsEnabled("offline mode is enabled")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    corpus = open_corpus(name)
    with pytest.raises(DataError, match=rf"corpus {name}: .*hub cannot be reached") as raised:
        corpus.documents(0, 0).__next__()
    assert "DATA_FILES" in str(raised.value)


def test_a_set_without_a_text_column_is_refused(tmp_path):
    write_parquet(tmp_path / "a.parquet", STORIES)
    with pytest.raises(
        DataError, match=r"a\.parquet: no column 'body' among text: set TEXT_COLUMN"
    ):
        open_corpus("custom", str(tmp_path), "body")
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'text' holds int64, not text"):
        open_corpus("custom", str(tmp_path))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match=r"a\.parquet: not a parquet file"):
        open_corpus("custom", str(tmp_path))


def test_a_parquet_file_damaged_inside_is_named(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", STORIES)
    raw = bytearray(path.read_bytes())
    raw[100:400] = bytes(300)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.parquet: damaged"):
        documents(open_corpus("custom", str(tmp_path)))


# ---- shakespeare


def test_shakespeare_is_fetched_and_checked(tmp_path):
    text = "ROMEO:\nBut soft!\n\n" * 2000
    file = tmp_path / "input.txt"
    file.write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    corpus = Shakespeare(file.as_uri(), digest)
    assert "".join(documents(corpus)) == text
    assert documents(corpus, 0, 3) == documents(corpus)[3:]
    with pytest.raises(DataError, match="did not return the expected file"):
        documents(Shakespeare(file.as_uri(), "0"))


def test_shakespeare_without_network_says_what_to_bring(tmp_path):
    with pytest.raises(DataError, match="set DATA_FILES to it"):
        documents(Shakespeare((tmp_path / "absent").as_uri(), "0"))


# ---- files that are tokens already


def write_llmc(path: Path, tokens: np.ndarray) -> Path:
    header = np.zeros(256, "<i4")
    header[:3] = 20240520, 1, len(tokens)
    path.write_bytes(header.tobytes() + tokens.astype("<u2").tobytes())
    return path


def write_own(path: Path, tokens: np.ndarray) -> Path:
    writer = ShardWriter(path, 257)
    writer.append(tokens)
    writer.finish()
    return path


def write_bare(path: Path, tokens: np.ndarray) -> Path:
    path.write_bytes(tokens.astype("<u2").tobytes())
    return path


@pytest.mark.parametrize("write", [write_llmc, write_own, write_bare])
def test_ready_files_of_every_kind_are_read_from_any_position(tmp_path, write, monkeypatch):
    monkeypatch.setattr("lib.data.text.ready.BLOCK", 100)
    tokens = np.random.default_rng(0).integers(0, 257, 1234)
    write(tmp_path / "corpus_train_000.bin", tokens[:1000])
    write(tmp_path / "corpus_val_000.bin", tokens[1000:])
    corpus = open_corpus("custom", f"{tmp_path}/*.bin")
    assert isinstance(corpus, ReadyFiles)
    results = list(corpus.encoded(load_tokenizer("bytes"), 0, 0, 2))
    for split, expected in (("train", tokens[:1000]), ("val", tokens[1000:])):
        got = np.concatenate([encoded.tokens[split] for _, encoded in results])
        assert np.array_equal(got, expected)
        ends = sum(encoded.documents[split] for _, encoded in results)
        assert ends == np.count_nonzero(expected == 256)
    for index, (end, _) in enumerate(results):
        rest = corpus.encoded(load_tokenizer("bytes"), *end, 2)
        assert len(list(rest)) == len(results) - index - 1


def test_a_token_that_the_tokenizer_lacks_is_placed(tmp_path):
    tokens = np.arange(300) % 256
    tokens[200] = 50000
    write_llmc(tmp_path / "train.bin", tokens)
    write_llmc(tmp_path / "val.bin", tokens[:100])
    corpus = open_corpus("custom", str(tmp_path))
    with pytest.raises(DataError, match=r"train\.bin: offset 1424: token 50000, .* only 257"):
        list(corpus.encoded(load_tokenizer("bytes"), 0, 0, 2))


def test_ready_files_that_are_torn_or_lack_validation_are_refused(tmp_path):
    path = write_llmc(tmp_path / "val.bin", np.arange(100))
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"val\.bin: its header says 1,224 bytes, it has 1,222"):
        open_tokens(path)
    path.write_bytes(b"odd")
    with pytest.raises(DataError, match="not a sequence of uint16"):
        open_tokens(path)
    path.rename(tmp_path / "train.bin")
    with pytest.raises(DataError, match=r"none of the \.bin files is validation data"):
        open_corpus("custom", str(tmp_path))


# ---- names and files


def test_unknown_names_and_missing_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="'wikipedia': there are pystdlib, shakespeare, tiny"):
        open_corpus("wikipedia")
    with pytest.raises(DataError, match="set DATA_FILES"):
        open_corpus("custom")
    with pytest.raises(DataError, match="no such file"):
        open_corpus("custom", str(tmp_path / "*.txt"))
    with pytest.raises(DataError, match=r"no .*parquet.* files there"):
        open_corpus("custom", str(tmp_path))
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DataError, match=r"a\.csv: not one of \.txt, \.jsonl, \.parquet"):
        open_corpus("custom", str(tmp_path / "a.csv"))


def test_files_are_sorted_and_taken_once(tmp_path):
    for name in ("c.txt", "a.txt", "sub/b.txt", "note.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = find_files(f"{tmp_path} {tmp_path}/c.txt {tmp_path}/*.txt", (".txt",))
    names = [str(path.relative_to(tmp_path)) for path in found]
    assert names == ["a.txt", "c.txt", "sub/b.txt"]


def test_texts_and_tokens_are_not_mixed(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "val.bin").write_bytes(b"xx")
    with pytest.raises(DataError, match="cannot be mixed"):
        open_corpus("custom", str(tmp_path))


def test_every_name_opens_without_network():
    assert set(corpora.CORPORA) == {"pystdlib", "shakespeare", *SCHEMAS, "custom"}
    for name in set(corpora.CORPORA) - {"custom"}:
        assert list(islice(open_corpus(name).source.items(), 1))
