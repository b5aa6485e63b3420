#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Evaluate a trained GPT-2: perplexity on a text, or tasks of lm-evaluation-harness.

    make eval [RUN=name]                       the whole validation split of the run's own corpus
    make eval DATA_FILES="a.txt more/*.jsonl"  any .txt, .jsonl or .parquet files [TEXT_COLUMN=text]
    make eval TASKS="hellaswag my_task" [INCLUDE=folder] [FEWSHOT=5] [LIMIT=100]
    python gpt2/eval.py RUN --stride 64 --batch-size 8 --format json
    … --checkpoint last|best|STEP --device auto|cpu|cuda|mps
    … --precision auto|float32|bfloat16|float16

Each flag is a variable of make, too: STRIDE=64. RUN is a name, its unique beginning, or a path;
without it, the latest run of this model. STRIDE is how many tokens the window moves on, by default
the block size; a smaller one is slower and gives each token more context. TASKS need lm-eval;
INCLUDE is a folder with task files of your own. The result is printed on stdout (FORMAT=table or
json) and kept in the run's metadata.yaml, which `make show` shows. docs/evaluation.md defines it.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script run by its path

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from lib.train.openmp import spin_briefly

if __name__ == "__main__":
    spin_briefly()  # before PyTorch is imported

import argparse
import importlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import orjson

from gpt2.perplexity import evaluate_text, token_lengths
from gpt2.trained import Trained, add, flags, load_trained, number, one_of
from lib.data.text.corpora import find_files
from lib.data.text.documents import READERS
from lib.data.text.encoder import encode_documents
from lib.data.text.from_settings import corpus_from_settings, corpus_name
from lib.data.text.tokenizers import Tokenizer
from lib.data.text.tokens import TokenSet
from lib.errors import BadUse, Failure
from lib.files import ROOT
from lib.runs.evaluations import add_evaluation, numbers
from lib.text import columns, one_line

_DOCUMENTS_AT_ONCE = 1000  # that are tokenised together


def validation_tokens(trained: Trained) -> np.ndarray:
    """The validation split of the run's corpus, after an end-of-text token.

    Raises Failure when what is prepared now is not what the run was trained on.
    """
    os.chdir(ROOT)  # where relative paths in the settings start
    settings = trained.settings
    corpus = TokenSet.open(corpus_from_settings(settings, trained.tokenizer))
    known = trained.run.part("dataset").get("fingerprint")
    if known not in (None, corpus.fingerprint):
        raise Failure(
            f"{corpus.directory} holds other texts than {one_line(trained.run.name)} was trained "
            f"on (fingerprint {corpus.fingerprint}, not {known}): give DATA_FILES"
        )
    tokens = np.empty(1 + corpus.val.count, trained.tokenizer.dtype)
    tokens[0] = trained.tokenizer.end_of_text
    corpus.val.read(0, tokens[1:])
    return tokens


def file_tokens(tokenizer: Tokenizer, patterns: str, column: str) -> np.ndarray:
    """The texts of files, each document between two end-of-text tokens; a .txt file is one.

    Raises DataError when a file is missing, of another kind or damaged.
    """
    parts = [np.array([tokenizer.end_of_text], tokenizer.dtype)]
    for path in find_files(patterns, tuple(READERS)):
        documents: Iterator[str] = READERS[path.suffix](path, column, 0)
        if path.suffix == ".txt":  # it was cut into passages
            documents = iter(["".join(documents)])
        while some := list(islice(documents, _DOCUMENTS_AT_ONCE)):
            parts.append(encode_documents(tokenizer, 0.0, some).tokens["train"])
    return np.concatenate(parts)


def perplexity(trained: Trained, options: argparse.Namespace) -> dict[str, Any]:
    """The evaluation of a text: what it is, the settings, the results."""
    block_size = trained.model.config.block_size
    stride = options.stride or block_size
    if stride > block_size:
        raise BadUse(f"STRIDE={stride} would leave out tokens: at most the block size {block_size}")
    settings: dict[str, Any] = {"block_size": block_size, "stride": stride}
    if options.data_files.strip():
        column = options.text_column or getattr(trained.settings, "TEXT_COLUMN", "") or "text"
        tokens = file_tokens(trained.tokenizer, options.data_files, column)
        data = " ".join(options.data_files.split())
    else:
        tokens = validation_tokens(trained)
        data = f"validation split of {corpus_name(trained.settings)}"
    if len(tokens) < 2:
        raise BadUse(f"{data}: no text in there")
    with Progress(len(tokens) - 1) as progress:
        score = evaluate_text(
            trained.model,
            tokens,
            token_lengths(trained.tokenizer),
            stride=stride,
            batch_size=options.batch_size,
            on_progress=progress.show,
        )
    results = {
        "nats_per_token": score.loss,
        "perplexity": score.perplexity,
        "bits_per_byte": score.bits_per_byte,
        "tokens": score.tokens,
        "bytes": score.bytes,
    }
    return {"data": data, "settings": settings, "results": results}


class Progress:
    """A line on stderr, if that is a terminal, while tokens are predicted."""

    def __init__(self, total: int) -> None:
        self.total, self.shown = total, sys.stderr.isatty()

    def __enter__(self) -> "Progress":
        return self

    def show(self, done: int) -> None:
        if self.shown:
            print(f"\r{done:,} of {self.total:,} tokens ", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def tasks(trained: Trained, options: argparse.Namespace) -> dict[str, Any]:
    """The evaluation of tasks: the settings, the results."""
    from gpt2.harness import run_tasks

    found = run_tasks(
        trained,
        options.tasks.replace(",", " ").split(),
        include=options.include,
        fewshot=options.fewshot,
        limit=options.limit,
        batch_size=options.batch_size,
    )
    return {"data": "tasks", **found}


def parsed() -> argparse.Namespace:
    """The options. Raises BadUse for those that contradict each other."""
    parser = flags(__doc__, checkpoint="best", precision="float32")
    for name in ("tasks", "include", "data-files", "text-column"):
        add(parser, name, str, "")
    add(parser, "stride", number("STRIDE", least=1), None)
    add(parser, "batch-size", number("BATCH_SIZE"), "0")
    add(parser, "fewshot", number("FEWSHOT"), None)
    add(parser, "limit", number("LIMIT", least=1), None)
    add(parser, "format", one_of("FORMAT", "table", "json"), "table")
    options = parser.parse_args()
    if options.tasks and options.data_files:
        raise BadUse("TASKS and DATA_FILES are two evaluations: give one of them")
    needs = {"include": "tasks", "fewshot": "tasks", "limit": "tasks", "text_column": "data_files"}
    for name, needed in needs.items():
        if getattr(options, name) not in ("", None) and not getattr(options, needed):
            raise BadUse(f"{name.upper()} is of no use without {needed.upper()}")
    if options.tasks and options.stride:
        raise BadUse("STRIDE is of no use with TASKS, which say themselves what is predicted")
    if options.tasks:
        importlib.import_module("gpt2.harness")  # raises BadUse without lm-eval
    return options


def print_table(entry: Mapping[str, Any]) -> None:
    print(f"{one_line(entry['data'])}: {one_line(entry['run'])}, step {entry['step']}")
    rows = [*numbers(entry["results"]), *numbers(entry["settings"])]
    print(*(f"  {line}" for line in columns(rows)), sep="\n")


def main() -> int:
    """The program; see the top of the file."""
    options = parsed()
    trained = load_trained(options)
    found = (tasks if options.tasks else perplexity)(trained, options)
    entry = {
        "data": found["data"],
        "checkpoint": trained.checkpoint.name,
        "step": trained.step,
        "device": str(trained.device),
        "precision": trained.precision,
        "settings": found["settings"],
        "results": found["results"],
    }
    shown = {"run": trained.run.name, **entry}
    if options.format == "json":
        print(orjson.dumps(shown, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode())
    else:
        print_table(shown)
    sys.stdout.flush()  # whatever happens to the run
    add_evaluation(trained.run, entry)
    return 0


if __name__ == "__main__":
    run_main(main)
