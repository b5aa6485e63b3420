# SPDX-License-Identifier: MIT
"""Tokenise a corpus into shards: once, restartable, the same bytes with any number of workers.

    directory = prepare(Path("data"), "pystdlib", open_corpus("pystdlib"), load_tokenizer("bytes"),
                        val_fraction=0.05, shard_tokens=100_000_000)
    tokens = TokenSet.open(directory)

The shards grow in `<data>/.<name>-<tokenizer>.partial/`, which becomes `<data>/<name>-<tokenizer>/`
by one rename when all is there. Every few seconds progress.json records the position in the corpus
and the tokens written up to it, after these are on the disk; whatever kills the preparation, the
next one cuts the shards back to that record and goes on. Documents are tokenised out of order and
written in order, so that only the text in flight is in memory.
"""

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lib.data.corpora import Corpus
from lib.data.encoder import SPLITS, Encoded, EncoderPool, Work
from lib.data.shards import FORMAT, META, DataError, ShardHeader, SplitWriter, read_meta
from lib.data.tokenizers import Tokenizer
from lib.files import write_atomic

PROGRESS = "progress.json"
CHECKPOINT_SECONDS = 5.0
WORK_CHARACTERS = 1 << 19  # of text that a worker gets at once


@dataclass
class State:
    """How far a preparation is: what progress.json holds."""

    end: tuple[int, int] = (0, 0)  # part, documents of that part
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    documents: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    text_bytes: int = 0

    def add(self, end: tuple[int, int], encoded: Encoded) -> None:
        self.end = end
        self.text_bytes += encoded.text_bytes
        for split in SPLITS:
            self.tokens[split] += len(encoded.tokens[split])
            self.documents[split] += encoded.documents[split]


def data_directory(data_dir: Path, name: str, tokenizer: str) -> Path:
    """Where the shards of a corpus under a tokenizer are."""
    return data_dir / f"{name}-{tokenizer}"


def prepare(
    data_dir: Path,
    name: str,
    corpus: Corpus,
    tokenizer: Tokenizer,
    *,
    val_fraction: float,
    shard_tokens: int,
    workers: int = 0,
    on_progress: Callable[[State], None] = lambda state: None,
    say: Callable[[str], None] = print,
) -> Path:
    """Have `data_dir/<name>-<tokenizer>` and return it; at once when it is there already.

    workers: processes that tokenise, 0 for one a CPU. Of several callers at once one works, the
    others wait. Raises DataError when the directory was made with other settings, the corpus can
    not be read, a split comes out empty, or the disk is full.
    """
    directory = data_directory(data_dir, name, tokenizer.name)
    recipe = {
        "dataset": name,
        "source": corpus.source,
        "tokenizer": tokenizer.name,
        "val_fraction": val_fraction,
        "shard_tokens": shard_tokens,
    }
    with _disk_errors(directory), _locked(data_dir, directory.name):
        if directory.exists():
            _check_same(directory, recipe)
            return directory
        staging = data_dir / f".{directory.name}.partial"
        state = _resume(staging, recipe, say)
        _check_space(staging, corpus, state, tokenizer)
        _tokenise(staging, recipe, state, corpus, tokenizer, workers or cpu_count(), on_progress)
        _write_meta(staging, recipe, state, tokenizer)
        (staging / PROGRESS).unlink(missing_ok=True)
        staging.rename(directory)
    return directory


def cpu_count() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tokenise(
    staging: Path,
    recipe: dict,
    state: State,
    corpus: Corpus,
    tokenizer: Tokenizer,
    workers: int,
    on_progress: Callable[[State], None],
) -> None:
    """Write the shards of what of the corpus lies after `state`, and keep `state` up to date."""
    shard_tokens, vocab_size = recipe["shard_tokens"], tokenizer.vocab_size
    writers = {
        split: SplitWriter(staging, split, vocab_size, shard_tokens, state.tokens[split])
        for split in SPLITS
    }
    saved = time.monotonic()
    try:
        with EncoderPool(tokenizer, recipe["val_fraction"], workers) as pool:
            for work, encoded in pool.map(_works(corpus, *state.end)):
                for split, writer in writers.items():
                    writer.append(encoded.tokens[split])
                state.add(work.end, encoded)
                on_progress(state)
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    for writer in writers.values():
                        writer.sync()
                    _save(staging, recipe, state)
                    saved = time.monotonic()
        for writer in writers.values():
            writer.finish()
    finally:
        for writer in writers.values():
            writer.close()


def _works(corpus: Corpus, part: int, skip: int) -> Iterator[Work]:
    """The corpus from document `skip` of `part` on, in portions for a worker."""
    texts: list[str] = []
    size = 0
    for current in range(part, corpus.parts):
        first = skip if current == part else 0
        count = first
        for count, text in enumerate(corpus.documents(current, first), first + 1):
            texts.append(text)
            size += len(text)
            if size >= WORK_CHARACTERS:
                yield Work(texts, (current, count))
                texts, size = [], 0
    if texts:
        yield Work(texts, (corpus.parts, 0))


def _resume(staging: Path, recipe: dict, say: Callable[[str], None]) -> State:
    """The state to start from; a preparation with other settings is thrown away."""
    try:
        saved = json.loads((staging / PROGRESS).read_bytes())
    except (OSError, ValueError):
        saved = None
    if saved is not None and saved["recipe"] == _as_json(recipe):
        state = State(**saved["state"])
        state.end = tuple(state.end)
        say(f"{staging}: going on after {state.text_bytes / 1e6:,.0f} MB of text")
        return state
    if saved is not None:
        changes = _changes(saved["recipe"], recipe)
        say(f"{staging}: thrown away, it was begun with other settings: {changes}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    return State()


def _save(staging: Path, recipe: dict, state: State) -> None:
    write_atomic(staging / PROGRESS, json.dumps({"recipe": recipe, "state": asdict(state)}))


def _write_meta(staging: Path, recipe: dict, state: State, tokenizer: Tokenizer) -> None:
    """Write meta.json, last of all files; DataError when a split is empty."""
    total = sum(state.documents.values())
    if not total:
        raise DataError(f"corpus {recipe['dataset']}: there is no text in it")
    for split in SPLITS:
        if not state.documents[split]:
            raise DataError(
                f"corpus {recipe['dataset']}: none of its {total} documents fell into the {split} "
                f"split with VAL_FRACTION={recipe['val_fraction']}: set it "
                f"{'higher' if split == 'val' else 'lower'}, or add documents"
            )
    meta = {
        "format": FORMAT,
        "recipe": recipe,
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "text_bytes": state.text_bytes,
        "splits": {split: _describe(staging, split, state) for split in SPLITS},
    }
    write_atomic(staging / META, json.dumps(meta, indent=2, ensure_ascii=False) + "\n")


def _describe(staging: Path, split: str, state: State) -> dict:
    headers = [ShardHeader.read(path) for path in sorted(staging.glob(f"{split}-*.bin"))]
    return {
        "tokens": state.tokens[split],
        "documents": state.documents[split],
        "shards": [{"file": h.path.name, "tokens": h.count, "sha256": h.digest} for h in headers],
    }


def _check_same(directory: Path, recipe: dict) -> None:
    """DataError unless the directory was made by this recipe."""
    made = read_meta(directory)["recipe"]
    if made != _as_json(recipe):
        raise DataError(
            f"{directory} was prepared with other settings: {_changes(made, recipe)}. "
            f"Set them back, or remove that directory to prepare it anew"
        )


def _changes(old: dict, new: dict) -> str:
    """What differs, as `name old → new`."""
    new = _as_json(new)
    return ", ".join(
        f"{key} {old.get(key)} → {new.get(key)}" for key in new if old.get(key) != new.get(key)
    )


def _as_json(value: dict) -> dict:
    return json.loads(json.dumps(value))


def _check_space(staging: Path, corpus: Corpus, state: State, tokenizer: Tokenizer) -> None:
    """DataError when the rest can not fit, reckoned low: 4.5 bytes of text a BPE token."""
    if corpus.size is None:
        return
    tokens = (corpus.size - state.text_bytes) / (1 if tokenizer.vocab_size < 1000 else 4.5)
    need, free = tokens * tokenizer.dtype.itemsize, shutil.disk_usage(staging).free
    if need > free:
        raise DataError(
            f"{staging.parent}: {free / 1e9:.1f} GB are free, the shards need about "
            f"{need / 1e9:.1f} GB: free some space, or set DATA_DIR to another disk"
        )


@contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    """Say what to do when the disk is full or not to be written to."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"{directory.parent}: the disk is full: free some space and run `make data` again, "
                "it goes on from where it stopped; or set DATA_DIR to another disk"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise DataError(
                f"{error.filename}: can not be written: set DATA_DIR elsewhere"
            ) from error
        raise


@contextmanager
def _locked(data_dir: Path, name: str) -> Iterator[None]:
    """Hold the lock of one prepared directory; wait for whoever has it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
