# SPDX-License-Identifier: MIT
"""Tokenise documents in several processes; the results come in the order of the documents.

    with EncoderPool(tokenizer, val_fraction=0.1, workers=4) as pool:
        for work, encoded in pool.map(works): …

A worker is a fresh interpreter that runs `worker()`, fed through its standard input: it imports
only what it needs, shares no lock with the main program, and ends by itself when the main program
is gone, because its input ends.
"""

import contextlib
import hashlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from lib.data.text.shards import DataError
from lib.data.text.tokenizers import Tokenizer
from lib.files import ROOT
from lib.signals import blocked

SPLITS = ("train", "val")
LONGEST_PIECE = 1 << 20  # characters given to the tokenizer at once


@dataclass(frozen=True)
class Work:
    """Some documents, and where in the corpus they end: (part, documents of that part)."""

    texts: list[str]
    end: tuple[int, int]


@dataclass(frozen=True)
class Encoded:
    """The tokens of some documents, per split, each document followed by its end-of-text token."""

    tokens: dict[str, np.ndarray]
    documents: dict[str, int]
    text_bytes: int


def split_of(raw: bytes, val_fraction: float) -> str:
    """The split of a document, by its contents alone, so that equal documents stay together."""
    draw = int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big") / 2**64
    return "val" if draw < val_fraction else "train"


def encode_documents(tokenizer: Tokenizer, val_fraction: float, texts: list[str]) -> Encoded:
    """Tokenise `texts`; empty ones are left out."""
    end = np.array([tokenizer.end_of_text], tokenizer.dtype)
    parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    documents = dict.fromkeys(SPLITS, 0)
    text_bytes = 0
    for text in filter(None, texts):
        raw = text.encode("utf-8", "surrogatepass")
        split = split_of(raw, val_fraction)
        parts[split] += [*map(tokenizer.encode, _pieces(text)), end]
        documents[split] += 1
        text_bytes += len(raw)
    empty = np.empty(0, tokenizer.dtype)
    tokens = {split: np.concatenate(arrays or [empty]) for split, arrays in parts.items()}
    return Encoded(tokens, documents, text_bytes)


def _pieces(text: str) -> Iterator[str]:
    """`text` in pieces that bound the tokenizer's memory, cut at line ends where possible."""
    start = 0
    while len(text) - start > LONGEST_PIECE:
        end = text.rfind("\n", start, start + LONGEST_PIECE) + 1
        end = end or start + LONGEST_PIECE
        yield text[start:end]
        start = end
    yield text[start:]


class EncoderPool:
    """`workers` processes that run `encode_documents`."""

    def __init__(self, tokenizer: Tokenizer, val_fraction: float, workers: int):
        self._idle: queue.SimpleQueue = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(workers, "encoder")
        self._depth = 2 * workers + 1
        paths = (str(ROOT), os.environ.get("PYTHONPATH"))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with blocked(signal.SIGUSR1):  # which would end a worker that has just begun
            self._processes = [
                subprocess.Popen(
                    [sys.executable, "-c", "from lib.data.text.encoder import worker; worker()"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                )
                for _ in range(workers)
            ]
        for process in self._processes:
            self._idle.put(process)
            with contextlib.suppress(BrokenPipeError):  # a dead worker is reported at its first use
                _send(process.stdin, (tokenizer, val_fraction))

    def map(self, works: Iterator[Work]) -> Iterator[tuple[Work, Encoded]]:
        """The results in order, reading at most a few works ahead. DataError if a worker dies."""
        pending: deque[tuple[Work, Future[Encoded]]] = deque()
        for work in works:
            pending.append((work, self._threads.submit(self._encode, work.texts)))
            if len(pending) >= self._depth:
                work, future = pending.popleft()
                yield work, future.result()
        for work, future in pending:
            yield work, future.result()

    def _encode(self, texts: list[str]) -> Encoded:
        process = self._idle.get()
        try:
            _send(process.stdin, texts)
            return pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            raise DataError(
                f"a tokenising process ended (exit status {process.wait()}; -9 is often a lack of "
                "memory: set NUM_WORKERS lower); `make data` resumes where it stopped"
            ) from error
        finally:
            self._idle.put(process)

    def __enter__(self) -> "EncoderPool":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.wait()
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def _send(stream, message: object) -> None:
    pickle.dump(message, stream, pickle.HIGHEST_PROTOCOL)
    stream.flush()


def worker() -> None:
    """What a worker runs: the tokenizer first, then lists of texts, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main program handles Ctrl-C
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the results
    works = sys.stdin.buffer
    # Input that ends within a message comes from a program that was killed.
    with contextlib.suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):
        tokenizer, val_fraction = pickle.load(works)
        while True:
            _send(results, encode_documents(tokenizer, val_fraction, pickle.load(works)))
