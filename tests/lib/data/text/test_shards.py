# SPDX-License-Identifier: MIT
"""Shards: what is written is read, and any damage is named with its place."""

import hashlib

import numpy as np
import pytest

from lib.data.text.shards import (
    CHUNK_BYTES,
    HEADER_BYTES,
    DataError,
    ShardHeader,
    ShardWriter,
    SplitWriter,
    check_entry,
    read_meta,
    token_dtype,
)

VOCAB = 300


def tokens_of(count: int, vocab: int = VOCAB) -> np.ndarray:
    return np.random.default_rng(count).integers(0, vocab, count)


def write(path, tokens, vocab=VOCAB) -> ShardHeader:
    writer = ShardWriter(path, vocab)
    for part in np.array_split(tokens, 3):
        writer.append(part)
    writer.finish()
    return ShardHeader.read(path)


def flip(path, offset) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(("vocab", "dtype"), [(257, "<u2"), (65536, "<u2"), (65537, "<u4")])
def test_written_tokens_are_read(tmp_path, vocab, dtype):
    tokens = tokens_of(300_000, vocab)
    header = write(tmp_path / "a.bin", tokens, vocab)
    assert header.dtype == token_dtype(vocab) == np.dtype(dtype)
    assert np.array_equal(header.open(), tokens)
    header.check_sample()
    header.check_all()
    payload = tokens.astype(dtype).tobytes()
    assert header.digest == hashlib.sha256(payload).hexdigest()
    assert (tmp_path / "a.bin").read_bytes()[HEADER_BYTES : HEADER_BYTES + len(payload)] == payload


def test_the_header_is_as_documented(tmp_path):
    write(tmp_path / "a.bin", tokens_of(1000))
    raw = (tmp_path / "a.bin").read_bytes()
    assert raw[:8] == b"AWPTOKEN"
    assert np.frombuffer(raw[8:16], "<u4").tolist() == [1, 2]
    assert np.frombuffer(raw[16:24], "<u8").tolist() == [1000]
    assert np.frombuffer(raw[24:32], "<u4").tolist() == [VOCAB, CHUNK_BYTES]


def test_a_shard_that_was_not_finished_is_none(tmp_path):
    writer = ShardWriter(tmp_path / "a.bin", VOCAB)
    writer.append(tokens_of(1000))
    writer.sync()
    with pytest.raises(DataError, match=r"a\.bin: offset 0: not a token shard"):
        ShardHeader.read(tmp_path / "a.bin")
    writer.close()


@pytest.mark.parametrize("keep", [1, 999, CHUNK_BYTES // 2, CHUNK_BYTES // 2 + 1, 200_000])
def test_a_writer_goes_on_after_any_number_of_tokens(tmp_path, keep):
    tokens = tokens_of(300_000)
    whole = write(tmp_path / "whole.bin", tokens)
    write(tmp_path / "again.bin", tokens_of(250_000))  # was even finished, with other tokens
    first = ShardWriter(tmp_path / "again.bin", VOCAB)
    first.append(tokens[:250_000])
    first.close()
    second = ShardWriter(tmp_path / "again.bin", VOCAB, keep=keep)
    second.append(tokens[keep:])
    second.finish()
    assert (tmp_path / "again.bin").read_bytes() == whole.path.read_bytes()


@pytest.mark.parametrize("size", [0, 10, HEADER_BYTES, HEADER_BYTES + 777, -1])
def test_a_truncated_shard_is_named_with_its_end(tmp_path, size):
    path = write(tmp_path / "a.bin", tokens_of(1000)).path
    raw = path.read_bytes()
    path.write_bytes(raw[:size])
    end = size % len(raw)
    with pytest.raises(DataError, match=rf"a\.bin: truncated at offset {end}\b"):
        ShardHeader.read(path)


def test_a_shard_with_more_behind_it_is_refused(tmp_path):
    path = write(tmp_path / "a.bin", tokens_of(1000)).path
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match=rf"extra bytes after offset {size}"):
        ShardHeader.read(path)


def test_another_version_is_refused(tmp_path):
    path = write(tmp_path / "a.bin", tokens_of(1000)).path
    flip(path, 8)
    with pytest.raises(DataError, match="offset 8: version 0, this program reads 1"):
        ShardHeader.read(path)


@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 4])
def test_a_flipped_bit_anywhere_is_found_and_placed(tmp_path, chunk):
    header = write(tmp_path / "a.bin", tokens_of(CHUNK_BYTES // 2 * 4 + 100))
    flip(header.path, HEADER_BYTES + chunk * CHUNK_BYTES + 50)
    start = HEADER_BYTES + chunk * CHUNK_BYTES
    with pytest.raises(DataError, match=rf"a\.bin: corrupt between offset {start} and "):
        header.check_all()
    if chunk in (0, 2, 4):  # the first, the middle and the last are the sample
        with pytest.raises(DataError, match=rf"offset {start} "):
            header.check_sample()


def test_a_flipped_bit_of_the_digest_is_found(tmp_path):
    path = write(tmp_path / "a.bin", tokens_of(1000)).path
    flip(path, 40)
    with pytest.raises(DataError, match=r"offset 32: .*SHA-256"):
        ShardHeader.read(path).check_all()


def test_a_token_outside_the_vocabulary_is_placed(tmp_path):
    tokens = tokens_of(1000)
    tokens[123] = VOCAB
    header = write(tmp_path / "a.bin", tokens)
    with pytest.raises(DataError, match=rf"offset {HEADER_BYTES + 246}: token {VOCAB} of only"):
        header.check_sample()


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.bin: cannot be read: No such file"):
        ShardHeader.read(tmp_path / "a.bin")


def test_a_shard_of_another_corpus_is_refused(tmp_path):
    header = write(tmp_path / "a.bin", tokens_of(1000))
    entry = {"file": "a.bin", "tokens": 1000, "sha256": header.digest}
    check_entry(header, entry, VOCAB)
    for other, vocab, offset in (
        (entry | {"tokens": 999}, VOCAB, 16),
        (entry, VOCAB + 1, 24),
        (entry | {"sha256": "0"}, VOCAB, 32),
    ):
        with pytest.raises(DataError, match=rf"a\.bin: offset {offset}: "):
            check_entry(header, other, vocab)


@pytest.mark.parametrize("cut", [0, 1, 999, 1000, 1001, 2500, 3000])
def test_a_split_is_cut_into_shards_and_taken_up_at_any_token(tmp_path, cut):
    tokens = tokens_of(3300)

    def split(name, position=0):
        (tmp_path / name).mkdir(exist_ok=True)
        return SplitWriter(tmp_path / name, "train", VOCAB, 1000, position)

    writer = split("whole")
    writer.append(tokens)
    writer.finish()
    sizes = [ShardHeader.read(path).count for path in writer.paths()]
    assert sizes == [1000, 1000, 1000, 300]

    killed = split("again")
    killed.append(tokens[:3100])
    killed.close()
    again = split("again", cut)
    again.append(tokens[cut:])
    again.finish()
    assert [p.name for p in again.paths()] == [p.name for p in writer.paths()]
    for one, other in zip(again.paths(), writer.paths(), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_meta_that_is_missing_or_damaged_is_said(tmp_path):
    with pytest.raises(DataError, match="make data"):
        read_meta(tmp_path)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(DataError, match=r"meta\.json: cannot be read"):
        read_meta(tmp_path)
    (tmp_path / "meta.json").write_text('{"format": 99}')
    with pytest.raises(DataError, match="not of format 1"):
        read_meta(tmp_path)
