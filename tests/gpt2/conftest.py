# SPDX-License-Identifier: MIT
"""A small corpus, and the flags of a model small enough to train on it in a test."""

import random
from pathlib import Path

import pytest

TEXT = "the cat sat on a mat and then it ran to some tree where three birds sang"


@pytest.fixture(scope="session")
def text_file(tmp_path_factory) -> Path:
    """200 passages of made-up sentences, about 30 kB."""
    chance = random.Random(0)
    passages = (" ".join(chance.choices(TEXT.split(), k=40)) for _ in range(200))
    path = tmp_path_factory.mktemp("corpus") / "passages.txt"
    path.write_text("\n\n".join(passages))
    return path


@pytest.fixture(scope="session")
def small(text_file, tmp_path_factory) -> list[str]:
    """Flags: a model of 30,000 parameters, the small corpus, float32, a row of metrics a step."""
    return [
        *("--gpt2-size", "free", "--gpt2-n-layer", "2", "--gpt2-n-head", "2"),
        *("--gpt2-n-embd", "32", "--gpt2-block-size", "32", "--batch-size", "4"),
        *("--dataset", "custom", "--data-files", str(text_file), "--tokenizer", "bytes"),
        *("--data-dir", str(tmp_path_factory.mktemp("data")), "--val-fraction", "0.2"),
        *("--device", "cpu", "--precision", "float32", "--num-threads", "1", "--num-workers", "1"),
        *("--max-steps", "6", "--warmup-steps", "2", "--log-interval", "1"),
        *("--eval-interval", "3", "--eval-windows", "8", "--sample-tokens", "12"),
        *("--tracker", "none", "--no-plots"),
    ]
