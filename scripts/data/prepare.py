# SPDX-License-Identifier: MIT
"""Tokenise the configured corpus: `make data`.

Reads DATASET, TOKENIZER, DATA_DIR, DATA_FILES, TEXT_COLUMN, VAL_FRACTION, SHARD_TOKENS and
NUM_WORKERS of the GPT-2 configuration and fills <DATA_DIR>/<DATASET>-<TOKENIZER>/. When it is
stopped, by whatever means, the next `make data` goes on. Exits 1 when the corpus can not be had.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from pathlib import Path

from lib.config.settings import load_settings
from lib.data.text.corpora import open_corpus
from lib.data.text.prepare import prepare
from lib.data.text.progress import preparation_progress
from lib.data.text.shards import read_meta
from lib.data.text.tokenizers import load_tokenizer


def main() -> None:
    settings = load_settings("gpt2")
    corpus = open_corpus(settings.DATASET, settings.DATA_FILES, settings.TEXT_COLUMN)
    with preparation_progress(settings.DATASET, corpus.size) as on_progress:
        directory = prepare(
            Path(settings.DATA_DIR),
            settings.DATASET,
            corpus,
            load_tokenizer(settings.TOKENIZER),
            val_fraction=settings.VAL_FRACTION,
            shard_tokens=settings.SHARD_TOKENS,
            workers=settings.NUM_WORKERS,
            on_progress=on_progress,
        )
    train, val = (read_meta(directory)["splits"][split]["tokens"] for split in ("train", "val"))
    print(f"{directory}: {train:,} tokens to train on, {val:,} to validate with")


if __name__ == "__main__":
    run_main(main)
