# SPDX-License-Identifier: MIT
"""Files of tokens, which are copied into shards instead of being tokenised.

Three kinds of .bin file are distinguished by their first bytes: our own shards; the files of llm.c
(1,024 bytes of header that begin with 20240520, then uint16), the form in which tokenised FineWeb
is distributed; and bare uint16 as nanoGPT writes them. A file with `val` in its name is validation
data.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .encoder import SPLITS, Encoded
from .shards import HEADER_BYTES, MAGIC, DataError, ShardHeader
from .tokenizers import Tokenizer

LLMC_MAGIC, LLMC_VERSION, LLMC_HEADER_BYTES = 20240520, 1, 1024
BLOCK = 1 << 20  # tokens


class ReadyFiles:
    """The tokens of .bin files, in the order of their paths."""

    size = None  # of text

    def __init__(self, paths: list[Path]):
        self._paths = paths
        self.files = len(paths)
        self.sizes = [path.stat().st_size for path in paths]
        self.source = {"files": [[str(path), path.stat().st_size] for path in paths]}
        if not any("val" in path.name for path in paths):
            raise DataError(
                "DATA_FILES: none of the .bin files is validation data: one must have `val` in "
                f"its name; there are {', '.join(path.name for path in paths)}"
            )

    def encoded(
        self, tokenizer: Tokenizer, index: int, skip: int, end: int
    ) -> Iterator[tuple[tuple[int, int], Encoded]]:
        """((file, blocks of it), tokens) after block `skip` of file `index`, before file `end`.

        DataError names file and offset of a token that the tokenizer does not have.
        """
        empty = np.empty(0, tokenizer.dtype)
        for current in range(index, end):
            path = self._paths[current]
            offset, tokens = open_tokens(path)
            split = "val" if "val" in path.name else "train"
            for number in range(skip if current == index else 0, -(-len(tokens) // BLOCK)):
                start = number * BLOCK
                block = np.asarray(tokens[start : start + BLOCK])
                if int(block.max()) >= tokenizer.vocab_size:
                    at = offset + (start + int(block.argmax())) * tokens.itemsize
                    raise DataError(
                        f"{path}: offset {at}: token {block.max()}, the tokenizer "
                        f"{tokenizer.name} has only {tokenizer.vocab_size:,}"
                    )
                documents = int(np.count_nonzero(block == tokenizer.end_of_text))
                yield (
                    (current, number + 1),
                    Encoded(
                        dict.fromkeys(SPLITS, empty) | {split: block},
                        dict.fromkeys(SPLITS, 0) | {split: documents},
                        text_bytes=0,
                    ),
                )


def open_tokens(path: Path) -> tuple[int, np.ndarray]:
    """(offset of the first token in bytes, the tokens memory-mapped) of a .bin file of any kind."""
    with path.open("rb") as file:
        start = file.read(12)
    size = path.stat().st_size
    if start.startswith(MAGIC):
        header = ShardHeader.read(path)
        header.check_all()
        return HEADER_BYTES, header.open()
    offset = 0
    words = np.frombuffer(start.ljust(12, b"\0"), "<i4")
    if words[0] == LLMC_MAGIC and words[1] == LLMC_VERSION:
        offset = LLMC_HEADER_BYTES
        expected = offset + 2 * int(words[2])
        if size != expected:
            raise DataError(f"{path}: its header says {expected:,} bytes, it has {size:,}")
    if size == offset or size % 2:
        raise DataError(f"{path}: {size:,} bytes are not a sequence of uint16 tokens")
    return offset, np.memmap(path, "<u2", "r", offset=offset)
