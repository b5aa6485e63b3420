# SPDX-License-Identifier: MIT
"""A tokenizer of ours as the files that AutoTokenizer loads.

    files = tokenizer_files(load_tokenizer("bytes"), longest=1024)
    files["tokenizer.json"], files["tokenizer_config.json"]

Both have byte pair encoding over bytes, each byte written as one printable character. tiktoken
keeps tokens with their ranks; the other form wants the pair that each token was merged from.
"""

import itertools
import json
from collections.abc import Mapping
from typing import Any

from ..data.text.tokenizers import END_OF_TEXT, Tokenizer


def tokenizer_files(tokenizer: Tokenizer, longest: int) -> dict[str, str]:
    """Name → contents. `longest` is the context of the model, in tokens.

    Text that looks like the end-of-text token stays ordinary text, as for `tokenizer`.
    """
    end = _special(tokenizer.end_of_text)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
        "model_max_length": longest,
        "added_tokens_decoder": {end.pop("id"): end},
    }
    return {
        "tokenizer.json": json.dumps(_pipeline(tokenizer), ensure_ascii=False),
        "tokenizer_config.json": json.dumps(config, indent=2) + "\n",
    }


def merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The pair that each token of more than one byte is merged from, by rank.

    ranks: token → rank; the lower one is merged first. Encoding a token by the merges before its
    own leaves just two parts, which are that pair.
    """
    pairs = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            left, right = _parts(ranks, token, rank)
            pairs.append((left, right))
    return pairs


def byte_characters() -> list[str]:
    """The character that stands for each of the 256 bytes in this form.

    Bytes that are printable in Latin-1 stand for themselves, the others, in their order, are
    written as U+0100 and on (Radford et al. 2019, in the code published with the paper).
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _pipeline(tokenizer: Tokenizer) -> dict[str, Any]:
    encoding, characters = tokenizer.encoding, byte_characters()
    ranks = {token: encoding.encode_single_token(token) for token in encoding.token_byte_values()}

    def written(token: bytes) -> str:
        return "".join(characters[byte] for byte in token)

    vocabulary = {written(token): rank for token, rank in ranks.items()}
    # The pattern splits text into words, which no merge crosses; for bytes it makes no difference.
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(tokenizer.end_of_text)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": vocabulary | {END_OF_TEXT: tokenizer.end_of_text},
            "merges": [f"{written(left)} {written(right)}" for left, right in merges(ranks)],
        },
    }


def _special(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "content": END_OF_TEXT,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _parts(ranks: Mapping[bytes, int], token: bytes, below: int) -> list[bytes]:
    """`token`, encoded by the merges whose rank is lower than `below`."""
    parts = [bytes([byte]) for byte in token]
    while True:
        pairs = [ranks.get(a + b, below) for a, b in itertools.pairwise(parts)]
        lowest = min(pairs, default=below)
        if lowest >= below:
            return parts
        at = pairs.index(lowest)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
