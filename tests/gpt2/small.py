# SPDX-License-Identifier: MIT
"""A GPT-2 of 30,000 parameters and its corpus, for the tests that every model passes."""

import random
from pathlib import Path

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
