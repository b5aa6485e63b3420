# SPDX-License-Identifier: MIT
"""Tokenizers, all of them tiktoken encodings.

    gpt2    the 50,257 tokens of GPT-2; its two files come from the network or a cache
    bytes   the 256 bytes and an end-of-text token; needs no file

A tokenizer turns one document into an array of token ids. The end-of-text token is not added
here; text that looks like it ("<|endoftext|>") is ordinary text.
"""

import hashlib
import os
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...files import write_atomic
from ..hub import NETWORK_TIMEOUT
from .shards import DataError, token_dtype

if TYPE_CHECKING:
    import tiktoken

END_OF_TEXT = "<|endoftext|>"

# The URLs of the files of tiktoken's gpt2 encoding, and their SHA-256.
GPT2_FILES = {
    "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe": (
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
    ),
    "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/encoder.json": (
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
    ),
}


class Tokenizer:
    """A tiktoken encoding whose token ids come as the array type of the shards."""

    def __init__(self, encoding: "tiktoken.Encoding"):
        self.encoding = encoding
        self.name = encoding.name
        self.vocab_size = encoding.n_vocab
        self.end_of_text = encoding.eot_token
        self.dtype = token_dtype(self.vocab_size)

    def encode(self, text: str) -> np.ndarray:
        """Token ids of `text`, shape (n,); lone surrogates become U+FFFD."""
        try:
            tokens = self.encoding.encode_to_numpy(text, disallowed_special=())
        except UnicodeEncodeError:
            return self.encode(_without_surrogates(text))
        return tokens.astype(self.dtype)

    def decode(self, tokens: "np.ndarray | list[int]") -> str:
        """The text of `tokens`; bytes that are not UTF-8 become U+FFFD."""
        return self.encoding.decode([int(token) for token in tokens])

    def token_bytes(self, token: int) -> bytes:
        """The bytes that one token stands for; they need not be whole characters."""
        return self.encoding.decode_single_token_bytes(int(token))


class BytesTokenizer(Tokenizer):
    """The bytes encoding: a byte is its own token, so that encoding is a copy."""

    def encode(self, text: str) -> np.ndarray:
        try:
            raw = text.encode()
        except UnicodeEncodeError:
            raw = _without_surrogates(text).encode()
        return np.frombuffer(raw, np.uint8).astype(self.dtype)


def _without_surrogates(text: str) -> str:
    """Pairs of surrogates joined, lone ones replaced, as tiktoken's own `encode` does it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _bytes() -> Tokenizer:
    import tiktoken

    encoding = tiktoken.Encoding(
        name="bytes",
        pat_str=r"(?s:.)",
        mergeable_ranks={bytes([byte]): byte for byte in range(256)},
        special_tokens={END_OF_TEXT: 256},
    )
    return BytesTokenizer(encoding)


def _gpt2() -> Tokenizer:
    import tiktoken

    for url, sha256 in GPT2_FILES.items():
        _ensure_cached(url, sha256)
    return Tokenizer(tiktoken.get_encoding("gpt2"))


TOKENIZERS = {"gpt2": _gpt2, "bytes": _bytes}


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer called `name`; DataError when it is unknown or its files cannot be had."""
    if name not in TOKENIZERS:
        raise DataError(f"tokenizer {name!r}: there are {', '.join(TOKENIZERS)}")
    return TOKENIZERS[name]()


def cache_path(url: str) -> Path:
    """The file that tiktoken keeps its copy of `url` in."""
    default = Path(tempfile.gettempdir()) / "data-gym-cache"
    directory = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    return Path(directory or default) / hashlib.sha1(url.encode()).hexdigest()


def _ensure_cached(url: str, sha256: str) -> None:
    """Fetch `url` into tiktoken's cache; tiktoken itself would wait for it for ever."""
    path = cache_path(url)
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return
    except OSError:
        pass  # not there yet
    try:
        with urllib.request.urlopen(url, timeout=NETWORK_TIMEOUT) as response:
            contents = response.read()
        if hashlib.sha256(contents).hexdigest() != sha256:
            raise OSError("the download is not the expected file")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, contents)
    except OSError as error:
        raise DataError(_how_to_bring(error)) from error


def _how_to_bring(error: OSError) -> str:
    copies = "\n".join(f"    {url}\n        as {cache_path(url).name}" for url in GPT2_FILES)
    return (
        f"tokenizer gpt2: its files are not in {cache_path('').parent} and cannot be fetched "
        f"({error}).\n  On a machine with a network download\n{copies}\n"
        "  into one directory, bring that here and set TIKTOKEN_CACHE_DIR to it; "
        "or choose the tokenizer that needs none: TOKENIZER=bytes"
    )
