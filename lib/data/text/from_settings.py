# SPDX-License-Identifier: MIT
"""The corpus that a run's settings ask for, the same for every model with HAS_TEXT_DATA."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from . import shards
from .corpora import open_corpus
from .parts import Part
from .prepare import data_directory, prepare
from .progress import preparation_progress
from .tokenizers import Tokenizer, load_tokenizer


def corpus_from_settings(
    settings: Any, tokenizer: Tokenizer, quiet: bool = False, part: Part | None = None
) -> Path:
    """The directory with the tokenised corpus, or a part of it, prepared first if need be.

    quiet: without a bar. With several callers at once, one prepares while the others wait. Raises
    DataError.
    """
    corpus = open_corpus(settings.DATASET, settings.DATA_FILES, settings.TEXT_COLUMN)
    name = corpus_name(settings)
    size = corpus.size and corpus.size // (part.of if part else 1)
    progress = nullcontext(lambda state: None) if quiet else preparation_progress(name, size)
    with progress as on_progress:
        return prepare(
            Path(settings.DATA_DIR),
            name,
            corpus,
            tokenizer,
            val_fraction=settings.VAL_FRACTION,
            shard_tokens=settings.SHARD_TOKENS,
            part=part,
            workers=settings.NUM_WORKERS,
            on_progress=on_progress,
        )


def corpus_name(settings: Any) -> str:
    """What the corpus is called in directories and runs: DATASET_NAME if it has one, or DATASET."""
    return settings.DATASET_NAME or settings.DATASET


def prepare_data(settings: Any, part: str = "") -> str:
    """Prepare the tokens in DATA_DIR if need be; returns a line that says what is there.

    part: "2/8" for the second of eight machines. Raises BadUse for anything else.
    """
    wanted = Part.parse(part) if part else None
    directory = corpus_from_settings(settings, load_tokenizer(settings.TOKENIZER), part=wanted)
    meta = shards.read_meta(directory)
    train, val = (meta["splits"][split]["tokens"] for split in ("train", "val"))
    line = f"{directory}: {train:,} tokens to train on, {val:,} to validate with"
    if "files" not in meta:
        return line
    first, end, files = meta["files"]
    which = f"files {first + 1} to {end}" if end > first else "none"
    return f"{line}; {which} of {files} files. With all parts here, `make data` merges them"


def check_data(settings: Any) -> Iterator[str]:
    """Read every byte of every shard and yield a line for each that is sound.

    Raises DataError at the end, with a line for each damaged file and the offset of its first
    damage.
    """
    name, tokenizer = corpus_name(settings), settings.TOKENIZER
    directory = data_directory(Path(settings.DATA_DIR), name, tokenizer)
    meta = shards.read_meta(directory)
    problems = []
    for split in meta["splits"].values():
        for entry in split["shards"]:
            try:
                header = shards.ShardHeader.read(directory / entry["file"])
                shards.check_entry(header, entry, meta["vocab_size"])
                header.check_all()
            except shards.DataError as error:
                problems.append(str(error))
            else:
                yield f"{header.path}: {header.count:,} tokens are sound"
    if problems:
        raise shards.DataError("\n       ".join(problems))
