# SPDX-License-Identifier: MIT
"""Tokenising speed of `make data` against one tiktoken thread, what 10 billion tokens would take,
and the cost of a batch: `make bench-data`.

The corpus is Python's standard library, several times over. "One thread" is only `encode_ordinary`
on texts already in memory; ours is a whole preparation, from starting the processes to the rename:
reading, hashing, tokenising, checksums, writing, syncing. They are timed in turn, and the best of
three rounds counts. On a busy machine compare the CPU seconds instead. The tokenizer is gpt2 if its
files are in tiktoken's cache; otherwise a byte-level BPE with GPT-2's pattern is trained on the
corpus first, and the output says so. Merging is that of the same corpus, prepared in three parts.
The last line is JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import heapq
import json
import os
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from lib.data.text.corpora import StandardLibrary
from lib.data.text.estimate import MACHINES, Rate
from lib.data.text.parts import Part
from lib.data.text.prepare import cpu_count, prepare
from lib.data.text.shards import read_meta
from lib.data.text.tokenizers import END_OF_TEXT, GPT2_FILES, Tokenizer, cache_path, load_tokenizer
from lib.data.text.tokens import TokenSet
from lib.text import duration

COPIES = 4
ROUNDS = 3
TRAINING_TEXT = 4_000_000  # characters
MERGES = 16_000
BATCH, BLOCK = 32, 1024
ONE_THREAD = "tiktoken, one thread"
MERGE = "merging 3 parts"
PARTS = 3
TEN_BILLION = 10e9  # tokens


def main() -> None:
    """The program; see the top of the file."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    corpus = Copies(StandardLibrary())
    texts = [text for index in range(corpus.files) for text in corpus.documents(index, 0)]
    tokenizer, kind = bpe_tokenizer(texts)
    workers = cpu_count()
    several = f"prepare, {workers} workers"
    with tempfile.TemporaryDirectory() as folder:
        parts = Path(folder)
        made = [
            prepare_into(parts, corpus, tokenizer, workers, Part(number, PARTS))
            for number in range(1, PARTS + 1)
        ]
        tokens = sum(map(tokens_in, made))
        costs = measure(
            {
                ONE_THREAD: lambda: one_thread(tokenizer, texts),
                "prepare, 1 worker": lambda: prepare_once(corpus, tokenizer, 1),
                several: lambda: prepare_once(corpus, tokenizer, workers),
                f"{several}, bytes": lambda: prepare_once(corpus, load_tokenizer("bytes"), workers),
                MERGE: lambda: merge_once(parts, corpus, tokenizer),
            }
        )
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    batches = batch_milliseconds(corpus)
    report(f"{megabytes:.0f} MB of text, {kind}, best of {ROUNDS}", megabytes, costs, batches)
    size = tokenizer.dtype.itemsize
    rate = Rate(
        tokens_per_s=tokens / costs[several].wall / workers,
        bytes_per_token=1e6 * megabytes / tokens,
        token_bytes=size,
        merged_bytes_per_s=tokens * size / costs[MERGE].wall,
    )
    report_ten_billion(rate, workers)
    result = {
        "benchmark": "data",
        "tokenizer": kind,
        "cpus": workers,
        "text_mb": round(megabytes, 1),
        "mb_per_s": {name: round(megabytes / cost.wall, 2) for name, cost in costs.items()},
        "cpu_s": {name: round(cost.cpu, 2) for name, cost in costs.items()},
        "ratio": round(costs[ONE_THREAD].wall / costs[several].wall, 2),
        "batch_ms": {name: round(value, 3) for name, value in batches.items()},
        "tokens_per_s_a_worker": round(rate.tokens_per_s),
        "bytes_per_token": round(rate.bytes_per_token, 2),
        "merged_mb_per_s": round(rate.merged_bytes_per_s / 1e6, 1),
    }
    print(json.dumps(result))


def report(
    title: str, megabytes: float, costs: dict[str, "Cost"], batches: dict[str, float]
) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(title)
    table = Table()
    table.add_column()
    for heading in ("MB/s", "of one thread", "CPU s", "of one thread"):
        table.add_column(heading, justify="right")
    base = costs[ONE_THREAD]
    for name, cost in costs.items():
        row = (megabytes / cost.wall, base.wall / cost.wall, cost.cpu, cost.cpu / base.cpu)
        table.add_row(name, *(f"{value:.2f}" for value in row))
    console.print(table)
    for name, milliseconds in batches.items():
        console.print(f"{name}: {milliseconds:.2f} ms")


def report_ten_billion(rate: Rate, workers: int) -> None:
    """Print what this machine, and several like it, would take for 10 billion tokens."""
    text = TEN_BILLION * rate.bytes_per_token
    print(
        f"10 billion tokens: {text / 1e9:.0f} GB of text, {rate.disk_bytes(text) / 1e9:.0f} GB of "
        f"shards; here, {workers} workers of {rate.tokens_per_s / 1e6:.2f} million tokens/s: "
        f"{duration(rate.seconds(text, workers))}; on {MACHINES} such machines "
        f"{duration(rate.seconds(text, workers, MACHINES))} and "
        f"{duration(rate.merge_seconds(text))} to merge at {rate.merged_bytes_per_s / 1e6:.0f} MB/s"
    )


class Cost(NamedTuple):
    """Wall-clock seconds, and CPU seconds of all processes."""

    wall: float
    cpu: float


class Copies:
    """A corpus several times over, so that the start of the processes hardly counts."""

    def __init__(self, corpus: StandardLibrary):
        self._corpus = corpus
        self.files, self.size = corpus.files * COPIES, corpus.size * COPIES
        self.sizes = corpus.sizes * COPIES
        self.source = {"copies": COPIES} | corpus.source

    def documents(self, index: int, skip: int):
        return self._corpus.documents(index % self._corpus.files, skip)


def measure(tasks: dict[str, Callable[[], object]]) -> dict[str, Cost]:
    """The least time of each task; the tasks take turns."""
    costs: dict[str, list[Cost]] = {name: [] for name in tasks}
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            wall, cpu = time.perf_counter(), cpu_seconds()
            task()
            costs[name].append(Cost(time.perf_counter() - wall, cpu_seconds() - cpu))
    return {
        name: Cost(min(c.wall for c in rounds), min(c.cpu for c in rounds))
        for name, rounds in costs.items()
    }


def cpu_seconds() -> float:
    """CPU seconds of this process and of those it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def one_thread(tokenizer: Tokenizer, texts: list[str]) -> None:
    for text in texts:
        tokenizer.encoding.encode_ordinary(text)


def prepare_once(corpus: Copies, tokenizer: Tokenizer, workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepare_into(Path(folder), corpus, tokenizer, workers)


def merge_once(parts: Path, corpus: Copies, tokenizer: Tokenizer) -> None:
    """Merge the parts, of which hard links are used up."""
    with tempfile.TemporaryDirectory(dir=parts.parent) as folder:
        shutil.copytree(parts, folder, copy_function=os.link, dirs_exist_ok=True)
        prepare_into(Path(folder), corpus, tokenizer, 1)


def tokens_in(directory: Path) -> int:
    splits = read_meta(directory)["splits"].values()
    return sum(split["tokens"] for split in splits)


def prepare_into(
    folder: Path, corpus: Copies, tokenizer: Tokenizer, workers: int, part: Part | None = None
) -> Path:
    return prepare(
        folder,
        "bench",
        corpus,
        tokenizer,
        val_fraction=0.05,
        shard_tokens=100_000_000,
        workers=workers,
        part=part,
        say=lambda line: None,
    )


def batch_milliseconds(corpus: Copies) -> dict[str, float]:
    """The time of opening prepared data and of reading a batch of it."""
    with tempfile.TemporaryDirectory() as folder:
        directory = prepare_into(Path(folder), corpus, load_tokenizer("bytes"), cpu_count())
        started = time.perf_counter()
        split = TokenSet.open(directory).train
        times = {"open": 1e3 * (time.perf_counter() - started)}
        for kind in (split.random_batch, split.sequential_batch):
            started = time.perf_counter()
            for step in range(100):
                kind(seed=0, step=step, global_batch=BATCH, block_size=BLOCK)
            times[f"{kind.__name__}, {BATCH} windows of {BLOCK}"] = 10 * (
                time.perf_counter() - started
            )
    return times


def bpe_tokenizer(texts: list[str]) -> tuple[Tokenizer, str]:
    """(a BPE tokenizer, what it is)."""
    if all(cache_path(url).exists() for url in GPT2_FILES):
        return load_tokenizer("gpt2"), "gpt2"
    import tiktoken
    from tiktoken_ext.openai_public import r50k_pat_str

    sample = "".join(texts[:: 1 + len(texts) // 2000])[:TRAINING_TEXT]
    ranks = train_bpe(sample, r50k_pat_str, MERGES)
    special = {END_OF_TEXT: len(ranks)}
    encoding = tiktoken.Encoding(
        "trained-here", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens=special
    )
    return Tokenizer(encoding), f"a BPE of {len(ranks) + 1:,} tokens trained here, not gpt2's"


def train_bpe(text: str, pattern: str, merges: int) -> dict[bytes, int]:
    """Byte-pair encoding (Sennrich et al. 2016): merge the most frequent pair, again and again."""
    import regex

    counts = Counter(regex.findall(pattern, text))
    words = [[bytes([byte]) for byte in word.encode()] for word in counts]
    weights = list(counts.values())
    pairs: Counter = Counter()
    where = defaultdict(set)  # the words that hold, or held, a pair
    for index, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += weights[index]
            where[pair].add(index)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    ranks = {bytes([byte]): byte for byte in range(256)}
    while heap and len(ranks) < 256 + merges:
        count, pair = heapq.heappop(heap)
        if not count or -count != pairs[pair]:  # outdated
            continue
        ranks.setdefault(pair[0] + pair[1], len(ranks))
        changed = set()
        for index in where.pop(pair):
            word, weight = words[index], weights[index]
            for old in pairwise(word):
                pairs[old] -= weight
            words[index] = word = merged(word, pair)
            for new in pairwise(word):
                pairs[new] += weight
                where[new].add(index)
                changed.add(new)
        del pairs[pair]
        for new in changed:
            heapq.heappush(heap, (-pairs[new], new))
    return ranks


def merged(word: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    result = []
    for symbol in word:
        if result and (result[-1], symbol) == pair:
            result[-1] = pair[0] + pair[1]
        else:
            result.append(symbol)
    return result


if __name__ == "__main__":
    run_main(main)
