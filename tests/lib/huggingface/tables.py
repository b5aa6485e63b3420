# SPDX-License-Identifier: MIT
"""Tokenizers with the schema of GPT-2's, of which only the table of merges is small."""

from collections import Counter
from itertools import pairwise

import regex
import tiktoken
from tiktoken_ext.openai_public import r50k_pat_str

from lib.data.text.tokenizers import END_OF_TEXT, Tokenizer
from lib.huggingface.tokenizer import byte_characters

TEXT = """the cat sat on the mat, and the other cat said: I'm here, aren't I? aaaa aaaaaaaa aaa
    for i in range(10):\n        print(i, "the  cat")\r\n\t\t2026 2027 20262027 naïve café
漢字 漢字漢 🙂🙂
there then them they this that these those tthe hethe he he hehe eheh the.the  the   the"""


def small_table(size: int = 60) -> Tokenizer:
    """Byte pair encoding of `size` merges, learnt from TEXT; bytes in GPT-2's order, not by value.

    GPT-2 numbers the printable bytes first, then the others.
    """
    characters = byte_characters()
    order = sorted(range(256), key=lambda byte: (ord(characters[byte]) >= 256, byte))
    ranks = {bytes([byte]): rank for rank, byte in enumerate(order)}
    found = regex.findall(r50k_pat_str, TEXT)
    words = [[bytes([byte]) for byte in word.encode()] for word in found]
    while len(ranks) < 256 + size:
        pairs = Counter(pair for word in words for pair in pairwise(word))
        left, right = max(pairs, key=lambda pair: (pairs[pair], pair))
        ranks[left + right] = len(ranks)
        words = [_merged(word, left, right) for word in words]
    encoding = tiktoken.Encoding(
        name="small",
        pat_str=r50k_pat_str,
        mergeable_ranks=ranks,
        special_tokens={END_OF_TEXT: len(ranks)},
    )
    return Tokenizer(encoding)


def _merged(word: list[bytes], left: bytes, right: bytes) -> list[bytes]:
    merged, at = [], 0
    while at < len(word):
        if word[at : at + 2] == [left, right]:
            merged.append(left + right)
            at += 2
        else:
            merged.append(word[at])
            at += 1
    return merged
