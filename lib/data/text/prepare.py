# SPDX-License-Identifier: MIT
"""Tokenise a corpus into shards: once, restartable, byte-identical for any number of workers.

    directory = prepare(Path("data"), "pystdlib", open_corpus("pystdlib"), load_tokenizer("bytes"),
                        val_fraction=0.05, shard_tokens=100_000_000)
    tokens = TokenSet.open(directory)

The shards grow in `<data>/.<name>-<tokenizer>.partial/`, which becomes `<data>/<name>-<tokenizer>/`
when it is complete. Documents are tokenised out of order and written in order; only the text being
processed is in memory.
"""

import errno
import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..workers import Workers, cpu_count
from .corpora import Corpus
from .encoder import Encoded, Encoder, Work
from .ready import ReadyFiles
from .shards import DataError
from .staging import Staging, State, check_same
from .tokenizers import Tokenizer

WORK_CHARACTERS = 1 << 19  # of text per piece of work
BPE_BYTES = 4.5  # of text per token, rather too many


def data_directory(data_dir: Path, name: str, tokenizer: str) -> Path:
    """Where the shards of a corpus under a tokenizer are."""
    return data_dir / f"{name}-{tokenizer}"


def prepare(
    data_dir: Path,
    name: str,
    corpus: Corpus | ReadyFiles,
    tokenizer: Tokenizer,
    *,
    val_fraction: float,
    shard_tokens: int,
    workers: int = 0,
    on_progress: Callable[[State], None] = lambda state: None,
    say: Callable[[str], None] = print,
) -> Path:
    """Prepare `data_dir/<name>-<tokenizer>` unless it is there already, and return it.

    workers: processes that tokenise, 0 for one per CPU. With several callers at once, one works and
    the others wait. Raises DataError when the directory was made with other settings, the corpus
    cannot be read, a split turns out empty, or the disk is full.
    """
    directory = data_directory(data_dir, name, tokenizer.name)
    recipe = {
        "dataset": name,
        "source": corpus.source,
        "tokenizer": tokenizer.name,
        "val_fraction": val_fraction,
        "shard_tokens": shard_tokens,
    }
    if directory.exists():  # possibly in a read-only place
        check_same(directory, recipe)
        return directory
    with _disk_errors(data_dir), _locked(data_dir, directory.name):
        if directory.exists():  # made by another caller meanwhile
            check_same(directory, recipe)
            return directory
        with closing(Staging(directory, recipe, tokenizer, say)) as staging:
            _check_space(data_dir, corpus.size, staging.state, tokenizer)
            with closing(_encoded(corpus, tokenizer, recipe, staging.state, workers)) as results:
                for end, encoded in results:
                    staging.add(end, encoded)
                    on_progress(staging.state)
            staging.publish()
    return directory


def _encoded(
    corpus: Corpus | ReadyFiles, tokenizer: Tokenizer, recipe: dict, state: State, workers: int
) -> Iterator[tuple[tuple[int, int], Encoded]]:
    """From `state` on: (how far into the corpus, the tokens up to there since the last pair)."""
    if isinstance(corpus, ReadyFiles):
        yield from corpus.encoded(tokenizer, *state.end)
        return
    works = _works(corpus, *state.end)
    encoder = Encoder(tokenizer, recipe["val_fraction"])
    with Workers(encoder, workers or cpu_count()) as processes:
        yield from processes.map(works)


def _works(corpus: Corpus, part: int, skip: int) -> Iterator[Work]:
    """The corpus from document `skip` of `part` on, in pieces of work."""
    texts: list[str] = []
    size = 0
    for current in range(part, corpus.parts):
        first = skip if current == part else 0
        for count, text in enumerate(corpus.documents(current, first), first + 1):
            texts.append(text)
            size += len(text)
            if size >= WORK_CHARACTERS:
                yield Work(texts, (current, count))
                texts, size = [], 0
    if texts:
        yield Work(texts, (corpus.parts, 0))


def _check_space(data_dir: Path, size: int | None, state: State, tokenizer: Tokenizer) -> None:
    """Raise DataError when the remaining shards certainly do not fit."""
    text = (size or 0) - state.text_bytes
    tokens = text if tokenizer.vocab_size < 1000 else text / BPE_BYTES
    need, free = tokens * tokenizer.dtype.itemsize, shutil.disk_usage(data_dir).free
    if need > free:
        raise DataError(
            f"{data_dir}: {free / 1e9:.2f} GB are free, the shards need about {need / 1e9:.2f} GB: "
            "free some space, or set DATA_DIR to another disk"
        )


@contextmanager
def _disk_errors(data_dir: Path) -> Iterator[None]:
    """Say what to do when the disk is full or cannot be written to."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"{data_dir}: the disk is full: free some space and run `make data` again, which "
                "resumes where it stopped; or set DATA_DIR to another disk"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise DataError(
                f"{error.filename or data_dir}: {error.strerror}: set DATA_DIR to a directory that "
                "can be written"
            ) from error
        raise


@contextmanager
def _locked(data_dir: Path, name: str) -> Iterator[None]:
    """Hold the lock of one prepared directory, after waiting for its present holder."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
