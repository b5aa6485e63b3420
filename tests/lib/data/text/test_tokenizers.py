# SPDX-License-Identifier: MIT
"""Tokenizers agree with tiktoken, and a missing network is said at once."""

import hashlib
import socket
import time

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from lib.data.text import tokenizers
from lib.data.text.shards import DataError
from lib.data.text.tokenizers import GPT2_FILES, Tokenizer, cache_path, load_tokenizer

BYTES = load_tokenizer("bytes")


@given(st.text(st.characters(codec=None)))  # lone surrogates too
def test_bytes_is_the_tiktoken_encoding_it_claims_to_be(text):
    assert BYTES.encode(text).tolist() == BYTES.encoding.encode_ordinary(text)


@given(st.text())
def test_bytes_are_decoded_to_the_text(text):
    assert BYTES.decode(BYTES.encode(text)) == text


def test_end_of_text_is_the_last_token_and_never_comes_from_text():
    assert (BYTES.vocab_size, BYTES.end_of_text, BYTES.dtype) == (257, 256, np.dtype("<u2"))
    assert BYTES.encode("<|endoftext|>").tolist() == list(b"<|endoftext|>")
    assert BYTES.decode([104, 105, 256]) == "hi<|endoftext|>"


def test_a_bpe_encoding_gives_tiktokens_tokens():
    ranks = {bytes([b]): b for b in range(256)} | {b"he": 256, b"ll": 257, b"hell": 258}
    encoding = tiktoken.Encoding(
        "small", pat_str=r"\w+|\W+", mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 259}
    )
    tokens = Tokenizer(encoding).encode("hello <|endoftext|>\ud800")
    assert tokens.dtype == np.dtype("<u2")
    assert tokens[:2].tolist() == [258, ord("o")]
    assert tokens.tolist() == encoding.encode_ordinary("hello <|endoftext|>\ud800")


def test_an_unknown_name_is_refused():
    with pytest.raises(DataError, match="'gpt5': there are gpt2, bytes"):
        load_tokenizer("gpt5")


def test_the_cache_is_where_tiktoken_looks(tmp_path, monkeypatch):
    from tiktoken.load import read_file_cached

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    url = next(iter(GPT2_FILES))
    cache_path(url).write_bytes(b"contents")
    assert read_file_cached(url) == b"contents"
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    monkeypatch.setenv("DATA_GYM_CACHE_DIR", str(tmp_path))
    assert read_file_cached(url) == cache_path(url).read_bytes()


def test_without_network_the_files_to_bring_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(DataError) as raised:
        load_tokenizer("gpt2")
    for url in GPT2_FILES:
        assert url in str(raised.value)
        assert cache_path(url).name in str(raised.value)
    assert "TIKTOKEN_CACHE_DIR" in str(raised.value)
    assert "TOKENIZER=bytes" in str(raised.value)


def test_a_network_that_does_not_answer_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tokenizers, "NETWORK_TIMEOUT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/vocab.bpe"
        monkeypatch.setattr(tokenizers, "GPT2_FILES", {url: "0"})
        started = time.monotonic()
        with pytest.raises(DataError, match="timed out"):
            load_tokenizer("gpt2")
        assert time.monotonic() - started < 5


def test_a_file_is_fetched_once_and_kept_only_when_it_is_the_right_one(tmp_path, monkeypatch):
    source = tmp_path / "vocab.bpe"
    source.write_bytes(b"merges")
    cache = tmp_path / "cache"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(cache))
    url = source.as_uri()
    with pytest.raises(DataError, match="not the expected file"):
        tokenizers._ensure_cached(url, "0" * 64)
    assert not cache.exists()
    tokenizers._ensure_cached(url, hashlib.sha256(b"merges").hexdigest())
    source.unlink()
    tokenizers._ensure_cached(url, hashlib.sha256(b"merges").hexdigest())
    assert [path.read_bytes() for path in cache.iterdir()] == [b"merges"]


@pytest.mark.skipif(
    not all(cache_path(url).exists() for url in GPT2_FILES), reason="the files of gpt2 are not here"
)
def test_gpt2_has_its_known_tokens():
    gpt2 = load_tokenizer("gpt2")
    assert (gpt2.vocab_size, gpt2.end_of_text) == (50257, 50256)
    assert gpt2.encode("Hello, world").tolist() == [15496, 11, 995]
