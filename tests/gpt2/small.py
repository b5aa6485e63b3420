# SPDX-License-Identifier: MIT
"""A GPT-2 of 30,000 parameters and its corpus, for the tests that every model passes."""

import random
from pathlib import Path

import pyarrow
from pyarrow import parquet

TEXT = "the cat sat on a mat and then it ran to some tree where three birds sang"


def write_corpus(path: Path) -> Path:
    """200 passages of made-up sentences, about 30 kB, always the same."""
    words, chance = TEXT.split(), random.Random(0)
    drawn = ([words[chance.randrange(len(words))] for _ in range(40)] for _ in range(200))
    path.write_text("\n\n".join(map(" ".join, drawn)))
    return path


def flags(folder: Path) -> list[str]:
    """Data in `folder`, which must exist; nine evaluation windows, which two ranks cannot halve."""
    corpus = write_corpus(folder / "passages.txt")
    return [
        *("--gpt2-size", "free", "--gpt2-n-layer", "2", "--gpt2-n-head", "2"),
        *("--gpt2-n-embd", "32", "--gpt2-block-size", "32", "--batch-size", "4"),
        *("--dataset", "custom", "--data-files", str(corpus), "--tokenizer", "bytes"),
        *("--data-dir", str(folder / "tokens"), "--val-fraction", "0.2"),
        *("--num-threads", "1", "--num-workers", "1", "--warmup-steps", "2"),
        *("--eval-windows", "9", "--sample-tokens", "12"),
    ]


def local_text(folder: Path) -> list[str]:
    """A corpus in the form of the hub's, and a tokenizer that needs no files."""
    folder.mkdir()
    rows = {"text": [f"passage {n} of the corpus, " + "word " * (n % 50 + 10) for n in range(400)]}
    parquet.write_table(pyarrow.table(rows), folder / "train.parquet")
    data = ["--data-files", str(folder / "train.parquet"), "--val-fraction", "0.2"]
    return [*data, "--tokenizer", "bytes", "--data-dir", str(folder / "data")]


def fixed_text(folder: Path) -> list[str]:
    """Python's standard library differs between versions: a generated corpus instead."""
    return [
        *("--dataset", "custom", "--data-files", str(write_corpus(folder / "passages.txt"))),
        *("--tokenizer", "bytes", "--val-fraction", "0.05", "--sample-tokens", "0"),
    ]


IN_PARTS: list[str] = []
DEFCONFIG = [
    *("--gpt2-size", "free", "--gpt2-n-layer", "1", "--gpt2-n-head", "2"),
    *("--gpt2-n-embd", "16", "--gpt2-block-size", "16", "--batch-size", "2"),
    *("--eval-windows", "2", "--sample-tokens", "4", "--device", "cpu", "--warmup-steps", "1"),
]
LOCAL_DATA = dict.fromkeys(("shakespeare", "tinystories", "openwebtext", "finewebedu"), local_text)
FIXED_DATA = {"pystdlib": fixed_text}
RESUMED = {
    "dropout": ("--gpt2-dropout", "0.2", "--gpt2-activation-checkpointing", "2"),
    "sequential": ("--windows", "sequential"),
    "workers": ("--num-workers", "2"),
}
