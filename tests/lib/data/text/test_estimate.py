# SPDX-License-Identifier: MIT
"""The estimate: its formulas by hand, its rate from texts, and when it is said."""

import pytest

from lib.data.text import estimate
from lib.data.text.encoder import Encoder
from lib.data.text.estimate import Rate, expectation, measure
from lib.data.text.tokenizers import load_tokenizer

TEN_BILLION = 45e9  # bytes of text, at 4.5 a token
RATE = Rate(
    tokens_per_s=0.5e6, bytes_per_token=4.5, token_bytes=2, merged_bytes_per_s=400e6
)  # fmt: skip


def test_ten_billion_tokens_by_hand():
    assert RATE.tokens(TEN_BILLION) == pytest.approx(10e9)
    assert RATE.disk_bytes(TEN_BILLION) == pytest.approx(20e9)
    assert RATE.seconds(TEN_BILLION, processes=2) == pytest.approx(10_000)
    assert RATE.seconds(TEN_BILLION, processes=2, machines=8) == pytest.approx(1250)
    assert RATE.merge_seconds(TEN_BILLION) == pytest.approx(50)


def test_what_is_said():
    assert list(expectation(RATE, TEN_BILLION, 2)) == [
        "about 10,000 million tokens, 20.0 GB: about 2 h 46 min on this machine (2 processes of "
        "0.50 million tokens/s)",
        "with 8 machines like this one (make data PART=1/8 …): about 20 min 50 s, then 50 s to "
        "merge (docs/data.md)",
    ]
    assert len(list(expectation(RATE, TEN_BILLION, 2, part=True))) == 1
    assert list(expectation(RATE, 200e6, 2)) == []  # 44 seconds


def test_the_rate_is_measured_on_the_texts(monkeypatch):
    clock = iter([0.0, 0.5, 10.0, 10.01])
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: next(clock))
    texts = ["", "é" * 100_000, "a" * 300_000, "never read"]
    rate = measure(Encoder(load_tokenizer("bytes"), 0.5), texts)
    text_bytes = 200_000 + estimate.SAMPLE - 100_000
    assert rate.tokens_per_s == pytest.approx(2 * (text_bytes + 2))  # and two ends
    assert rate.bytes_per_token == pytest.approx(1, rel=1e-4)
    assert rate.token_bytes == 2
    assert rate.merged_bytes_per_s == pytest.approx(estimate.BUFFER / 0.01)
