# SPDX-License-Identifier: MIT
"""Tokenise a corpus into shards: once, restartable, byte-identical for any number of workers.

    directory = prepare(Path("data"), "pystdlib", open_corpus("pystdlib"), load_tokenizer("bytes"),
                        val_fraction=0.05, shard_tokens=100_000_000)
    tokens = TokenSet.open(directory)

The shards grow in `<data>/.<name>-<tokenizer>.partial/`, which becomes `<data>/<name>-<tokenizer>/`
when it is complete. With part=Part(2, 8) it is one of eight machines, and with all parts at hand
they are merged instead (parts.py). Documents are tokenised out of order and written in order; only
the text being processed is in memory.
"""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

from ..workers import Workers, cpu_count
from .corpora import Corpus
from .encoder import Encoded, Encoder, Work
from .estimate import Rate, expectation, measure
from .parts import Part, found_parts, merge, remove_parts
from .ready import ReadyFiles
from .shards import DataError
from .staging import Staging, State, check_same, locked, require_both_splits
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
    part: Part | None = None,
    workers: int = 0,
    on_progress: Callable[[State], None] = lambda state: None,
    say: Callable[[str], None] = print,
) -> Path:
    """Prepare `data_dir/<name>-<tokenizer>`, or `part` of it, unless it is there; returns which.

    workers: processes that tokenise, 0 for one per CPU. With several callers at once, one works and
    the others wait. Raises DataError when the directory was made with other settings, the corpus
    cannot be read, a split turns out empty, a part is missing or damaged, or the disk is full.
    """
    whole = data_directory(data_dir, name, tokenizer.name)
    recipe = {
        "dataset": name,
        "source": corpus.source,
        "tokenizer": tokenizer.name,
        "val_fraction": val_fraction,
        "shard_tokens": shard_tokens,
    }
    directory = part.directory(whole) if part else whole
    made_by = {**recipe, "part": str(part)} if part else recipe
    if _is_made(whole, recipe):  # possibly in a read-only place
        remove_parts(whole, recipe)  # left by a merge that was killed at its very end
        return whole
    if part and _is_made(directory, made_by):
        return directory
    with _disk_errors(data_dir), locked(directory):
        for there, made_as in ((whole, recipe), (directory, made_by)):
            if _is_made(there, made_as):  # by another caller meanwhile
                return there
        parts = [] if part else found_parts(whole)
        if parts:
            merge(parts, whole, recipe, tokenizer, say)
            return whole
        with _whole_or_part(directory, made_by, corpus, tokenizer, part, say) as (staging, files):
            state = staging.state
            text = max(0, _text_of(corpus, files) - state.text_bytes)
            _check_space(data_dir, text, tokenizer)
            tell = partial(_tell, say, directory, text, part)
            encoder = Encoder(tokenizer, val_fraction)
            results = _encoded(corpus, encoder, state.end, files.stop, workers, tell)
            with closing(results):
                for reached, encoded in results:
                    staging.add(reached, encoded)
                    on_progress(staging.state)
    return directory


@contextmanager
def _whole_or_part(
    directory: Path,
    recipe: dict,
    corpus: Corpus | ReadyFiles,
    tokenizer: Tokenizer,
    part: Part | None,
    say: Callable[[str], None],
) -> Iterator[tuple[Staging, range]]:
    """A Staging, published at the end, and which files of the corpus it is for.

    Only as a whole must the splits have tokens.
    """
    first, end = part.files(corpus) if part else (0, corpus.files)
    with closing(Staging(directory, recipe, tokenizer, say, begin=(first, 0))) as staging:
        yield staging, range(first, end)
        if part:
            staging.publish(files=[first, end, corpus.files])
        else:
            require_both_splits(staging.state, recipe)
            staging.publish()


def _is_made(directory: Path, recipe: dict) -> bool:
    """Whether it is there; DataError when it was made with other settings."""
    if not directory.exists():
        return False
    check_same(directory, recipe)
    return True


def _encoded(
    corpus: Corpus | ReadyFiles,
    encoder: Encoder,
    begin: tuple[int, int],
    end: int,
    workers: int,
    tell: Callable[[Rate, int], None],
) -> Iterator[tuple[tuple[int, int], Encoded]]:
    """From (file, documents of it) to file `end`: (how far, the tokens since the last pair).

    Calls `tell` with the speed of a process and their number, once it knows.
    """
    if isinstance(corpus, ReadyFiles):
        yield from corpus.encoded(encoder.tokenizer, *begin, end)
        return
    works, count = _works(corpus, *begin, end), workers or cpu_count()
    if (first := next(works, None)) is None:
        return
    if any(first.texts):
        tell(measure(encoder, first.texts), count)
    with Workers(encoder, count) as processes:
        yield from processes.map(chain([first], works))


def _works(corpus: Corpus, index: int, skip: int, end: int) -> Iterator[Work]:
    """The corpus from document `skip` of file `index` to file `end`, in pieces of work."""
    texts: list[str] = []
    size = 0
    for current in range(index, end):
        first = skip if current == index else 0
        for count, text in enumerate(corpus.documents(current, first), first + 1):
            texts.append(text)
            size += len(text)
            if size >= WORK_CHARACTERS:
                yield Work(texts, (current, count))
                texts, size = [], 0
    if texts:
        yield Work(texts, (end, 0))


def _text_of(corpus: Corpus | ReadyFiles, files: range) -> int:
    """Bytes of text in `files`, roughly; 0 if that is not known."""
    if isinstance(corpus, ReadyFiles) or corpus.size is None:
        return 0
    if corpus.sizes:
        return sum(corpus.sizes[index] for index in files)
    return corpus.size * len(files) // max(1, corpus.files)


def _tell(
    say: Callable[[str], None],
    directory: Path,
    text: int,
    part: Part | None,
    rate: Rate,
    processes: int,
) -> None:
    """Say how long a preparation of `text` bytes takes, if it takes long."""
    for line in expectation(rate, text, processes, part is not None):
        say(f"{directory}: {line}")


def _check_space(data_dir: Path, text: int, tokenizer: Tokenizer) -> None:
    """Raise DataError when the shards of `text` bytes certainly do not fit."""
    tokens = text / (1 if tokenizer.vocab_size < 1000 else BPE_BYTES)
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
