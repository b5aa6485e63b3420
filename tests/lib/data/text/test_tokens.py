# SPDX-License-Identifier: MIT
"""Batches: the same for any division among ranks, each window once an epoch, none past the end."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.prefetch import prefetch
from lib.data.text.shards import HEADER_BYTES, DataError, ShardHeader, SplitWriter
from lib.data.text.tokens import TokenSet, _mix, permute

VOCAB = 60_000


def token_set(directory, train, val, shard_tokens=1000) -> TokenSet:
    """A token set whose token number i is i, so that a token tells its position."""
    directory.mkdir(exist_ok=True)
    meta = {"format": 1, "recipe": {"tokenizer": "test"}, "vocab_size": VOCAB, "splits": {}}
    for name, count in (("train", train), ("val", val)):
        writer = SplitWriter(directory, name, VOCAB, shard_tokens)
        writer.append(np.arange(count))
        writer.finish()
        headers = [ShardHeader.read(path) for path in writer.paths()]
        entries = [{"file": h.path.name, "tokens": h.count, "sha256": h.digest} for h in headers]
        meta["splits"][name] = {"tokens": count, "shards": entries}
    (directory / "meta.json").write_text(json.dumps(meta))
    return TokenSet.open(directory)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return token_set(tmp_path_factory.mktemp("data") / "set", 10_007, 333)


def assert_windows(x, y, count, block_size):
    assert x.dtype == y.dtype == torch.int64
    assert x.is_contiguous() and y.is_contiguous()
    assert x.shape[1] == block_size
    assert torch.equal(x, x[:, :1] + torch.arange(block_size))  # over the borders of shards too
    assert torch.equal(y, x + 1)
    assert int(x.min()) >= 0
    assert int(y.max()) < count


divisions = st.sampled_from([(1, 1), (2, 1), (1, 3), (2, 3), (3, 2), (4, 3), (6, 2), (12, 1)])


@given(
    seed=st.integers(0, 2**32 - 1),
    step=st.integers(0, 2**40),
    block_size=st.integers(1, 332),
    division=divisions,
    kind=st.sampled_from(["random_batch", "sequential_batch"]),
    split=st.sampled_from(["train", "val"]),
)
def test_any_division_reads_the_same_global_batch(
    tokens, seed, step, block_size, division, kind, split
):
    split = getattr(tokens, split)
    batch = getattr(split, kind)
    x, y = batch(seed=seed, step=step, global_batch=12, block_size=block_size)
    assert len(x) == 12
    assert_windows(x, y, split.count, block_size)
    ranks, micro_steps = division
    shares = [
        batch(
            seed=seed,
            step=step,
            rank=rank,
            world_size=ranks,
            global_batch=12,
            block_size=block_size,
            micro_step=micro_step,
            micro_steps=micro_steps,
        )
        for rank in range(ranks)
        for micro_step in range(micro_steps)
    ]
    assert torch.equal(torch.cat([share[0] for share in shares]), x)
    assert torch.equal(torch.cat([share[1] for share in shares]), y)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    block_size=st.integers(20, 300),
    global_batch=st.integers(1, 40),
    epoch=st.integers(0, 3),
)
def test_each_window_comes_once_an_epoch(tokens, seed, block_size, global_batch, epoch):
    n = tokens.train.window_count(block_size)
    first, last = epoch * n, (epoch + 1) * n  # rows, counted from step 0
    steps = range(first // global_batch, -(-last // global_batch))
    rows = torch.cat(
        [
            tokens.train.sequential_batch(
                seed=seed, step=s, global_batch=global_batch, block_size=block_size
            )[0]
            for s in steps
        ]
    )
    skipped = first - steps[0] * global_batch
    starts = rows[skipped : skipped + n, 0].tolist()
    assert sorted(starts) == [i * block_size for i in range(n)]


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [permute(np.arange(1000), 1000, s, e) for s, e in ((0, 0), (0, 1), (1, 0))]
    for i, order in enumerate(orders):
        assert np.mean(order == np.arange(1000)) < 0.02
        for other in orders[:i]:
            assert np.mean(order == other) < 0.02


@given(st.integers(1, 5000), st.integers(0, 2**32 - 1), st.integers(0, 100))
def test_permute_is_a_permutation(n, seed, epoch):
    assert np.array_equal(np.sort(permute(np.arange(n), n, seed, epoch)), np.arange(n))


def test_the_random_numbers_are_splitmix64s():
    # The first outputs for seed 1234567, as published with the reference implementation.
    gamma = 0x9E3779B97F4A7C15
    states = [np.uint64((1234567 + i * gamma) % 2**64) for i in range(3)]
    assert _mix(np.array(states)).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_random_starts_cover_the_split_evenly(tokens):
    starts = torch.cat(
        [
            tokens.train.random_batch(seed=3, step=step, global_batch=100, block_size=7)[0][:, 0]
            for step in range(200)
        ]
    ).numpy()
    possible = tokens.train.count - 7
    counts = np.histogram(starts, 20, (0, possible))[0]
    chi_square = np.sum((counts - 1000) ** 2 / 1000)
    assert chi_square < 43.8  # 19 degrees of freedom, p = 0.001
    assert starts.max() > possible - 20


def test_the_last_window_can_be_drawn(tmp_path):
    split = token_set(tmp_path / "tiny", 6, 6).train
    x, y = split.random_batch(seed=0, step=0, global_batch=100, block_size=4)
    assert set(x[:, 0].tolist()) == {0, 1}
    assert int(y.max()) == 5
    x, _ = split.random_batch(seed=0, step=0, global_batch=3, block_size=5)
    assert x[:, 0].tolist() == [0, 0, 0]


def test_a_batch_that_does_not_divide_is_refused(tokens):
    with pytest.raises(ValueError, match=r"batch of 10 does not divide among 2 ranks of 3"):
        tokens.train.random_batch(
            seed=0, step=0, world_size=2, global_batch=10, block_size=8, micro_steps=3
        )


def test_evaluation_windows_are_spread_and_fixed(tokens):
    x, y = tokens.train.windows(100, 7)
    assert_windows(x, y, tokens.train.count, 100)
    assert x[:, 0].tolist() == [0, 1400, 2800, 4200, 5700, 7100, 8500]
    everything, _ = tokens.train.windows(100, 10_000)
    assert everything[:, 0].tolist() == list(range(0, 10_000, 100))


def test_batches_do_not_depend_on_the_size_of_the_shards(tmp_path, tokens):
    other = token_set(tmp_path / "other", 10_007, 333, shard_tokens=123)
    one, two = (
        t.train.random_batch(seed=5, step=6, global_batch=64, block_size=300)
        for t in (tokens, other)
    )
    assert torch.equal(one[0], two[0])


def test_a_block_size_past_the_data_is_refused(tokens):
    tokens.check(block_size=332, vocab_size=VOCAB)
    with pytest.raises(
        DataError, match=r"set val: 333 tokens are not enough for a window of block size 333"
    ):
        tokens.check(block_size=333, vocab_size=VOCAB)
    with pytest.raises(DataError, match="not enough for a window"):
        tokens.val.random_batch(seed=0, step=0, global_batch=1, block_size=333)


def test_a_smaller_vocabulary_of_the_model_is_refused(tokens):
    with pytest.raises(DataError, match=r"vocabulary of 60,000 \(test\), the model's has 59,999"):
        tokens.check(block_size=8, vocab_size=VOCAB - 1)


def test_the_fingerprint_follows_the_tokens(tmp_path, tokens):
    same = token_set(tmp_path / "same", 10_007, 333)
    other = token_set(tmp_path / "other", 10_007, 334)
    assert tokens.fingerprint == same.fingerprint != other.fingerprint
    assert other.train.fingerprint == tokens.train.fingerprint


def test_a_damaged_shard_is_named_when_the_set_is_opened(tmp_path):
    directory = tmp_path / "set"
    token_set(directory, 5000, 100)
    path = directory / "train-00003.bin"
    raw = bytearray(path.read_bytes())
    raw[HEADER_BYTES + 9] ^= 4
    path.write_bytes(raw)
    with pytest.raises(
        DataError, match=rf"train-00003\.bin: corrupt between offset {HEADER_BYTES}"
    ):
        TokenSet.open(directory)
    path.write_bytes(raw[:900])
    with pytest.raises(DataError, match=r"train-00003\.bin: truncated at offset 900"):
        TokenSet.open(directory)
    path.unlink()
    with pytest.raises(DataError, match=r"train-00003\.bin: cannot be read"):
        TokenSet.open(directory)


def test_prefetch_gives_the_same_batches(tokens):
    expected = [
        tokens.train.random_batch(seed=0, step=step, global_batch=4, block_size=16)
        for step in range(7)
    ]
    got = list(prefetch(iter(expected), "cpu"))
    assert len(got) == 7
    assert all(torch.equal(a[0], b[0]) for a, b in zip(expected, got, strict=True))


def test_prefetch_raises_what_the_batches_raise_after_those_before():
    def batches():
        yield torch.zeros(1), torch.zeros(1)
        raise DataError("broken")

    ahead = prefetch(batches(), "cpu")
    next(ahead)
    with pytest.raises(DataError, match="broken"):
        next(ahead)


def test_prefetch_ends_its_thread_when_it_is_left():
    import threading

    closed = threading.Event()

    def endless():
        try:
            while True:
                yield torch.zeros(1), torch.zeros(1)
        finally:
            closed.set()

    before = set(threading.enumerate())
    ahead = prefetch(endless(), "cpu")
    next(ahead)
    (producer,) = set(threading.enumerate()) - before
    ahead.close()
    assert closed.is_set()
    assert not producer.is_alive()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_prefetch_copies_to_the_gpu(tokens):
    expected = [
        tokens.train.random_batch(seed=0, step=step, global_batch=64, block_size=256)
        for step in range(50)
    ]
    for (x, y), (a, b) in zip(prefetch(iter(expected), "cuda"), expected, strict=True):
        assert x.is_cuda and y.is_cuda
        torch.cuda._sleep(1_000_000)  # the consumer lags behind the copies
        assert torch.equal(x.cpu(), a) and torch.equal(y.cpu(), b)
