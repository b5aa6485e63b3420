# SPDX-License-Identifier: MIT
"""A directory of shards under construction: it takes tokens in order, survives being killed and is
published by one rename.

Every few seconds progress.json records how far into the corpus the preparation has come and how
many tokens each split has, once these tokens are on the disk. Whatever stops it, the next
preparation cuts the shards back to that record and continues there.
"""

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...files import sweep, write_atomic
from .encoder import SPLITS, Encoded
from .shards import FORMAT, META, DataError, ShardHeader, SplitWriter, read_meta
from .tokenizers import Tokenizer

PROGRESS = "progress.json"
CHECKPOINT_SECONDS = 5.0


@dataclass
class State:
    """How far a preparation has come: what progress.json holds."""

    end: tuple[int, int] = (0, 0)  # file of the corpus, documents of that file
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    documents: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    text_bytes: int = 0

    def add(self, end: tuple[int, int], encoded: Encoded) -> None:
        self.end = end
        self.text_bytes += encoded.text_bytes
        for split in SPLITS:
            self.tokens[split] += len(encoded.tokens[split])
            self.documents[split] += encoded.documents[split]


class Staging:
    """`directory` under construction by `recipe` (JSON values: dataset, source, shard_tokens …).

    begin: where the corpus, or a part of it, begins. parts: what identifies the parts that are
    being merged; their shards are counted by `State.end` then.
    """

    def __init__(
        self,
        directory: Path,
        recipe: dict,
        tokenizer: Tokenizer,
        say: Callable[[str], None],
        *,
        begin: tuple[int, int] = (0, 0),
        parts: str = "",
    ):
        self.directory = unfinished(directory)
        self._target, self._recipe, self._tokenizer = directory, as_json(recipe), tokenizer
        self._parts = parts
        self.state = self._resume(say, begin)
        self._writers = {split: self._writer(split) for split in SPLITS}
        self._saved = time.monotonic()

    def add(self, end: tuple[int, int], encoded: Encoded) -> None:
        """Write the tokens of the documents up to `end`."""
        for split, writer in self._writers.items():
            writer.append(encoded.tokens[split])
        self.state.add(end, encoded)
        self._save_when_due()

    def add_shard(self, end: tuple[int, int], split: str, header: ShardHeader) -> None:
        """Write the tokens of a part's shard. Raises DataError when it is damaged."""
        self._writers[split].append_shard(header)
        self.state.end = end
        self.state.tokens[split] += header.count
        self._save_when_due()

    def _save_when_due(self) -> None:
        if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self.save()

    def save(self) -> None:
        """Record the state, once what it counts is on the disk."""
        for writer in self._writers.values():
            writer.sync()
        record = {"recipe": self._recipe, "parts": self._parts, "state": asdict(self.state)}
        write_atomic(self.directory / PROGRESS, json.dumps(record))
        self._saved = time.monotonic()

    def publish(self, **more: object) -> None:
        """Finish the shards, write meta.json, with `more` in it, and become the directory."""
        for writer in self._writers.values():
            writer.finish()
        meta = {
            "format": FORMAT,
            "recipe": self._recipe,
            "vocab_size": self._tokenizer.vocab_size,
            "end_of_text": self._tokenizer.end_of_text,
            "text_bytes": self.state.text_bytes or None,  # unknown for files of tokens
            "splits": {split: self._describe(split) for split in SPLITS},
            **more,
        }
        write_atomic(self.directory / META, json.dumps(meta, indent=2, ensure_ascii=False) + "\n")
        self.directory.rename(self._target)
        (self._target / PROGRESS).unlink(missing_ok=True)

    def close(self) -> None:
        """Leave what is unfinished to the next preparation, and nothing if nothing was written."""
        for writer in self._writers.values():
            writer.close()
        with contextlib.suppress(OSError):  # not empty, or published
            self.directory.rmdir()

    def _resume(self, say: Callable[[str], None], begin: tuple[int, int]) -> State:
        """The state to start from; a preparation with other settings is thrown away."""
        try:
            saved = json.loads((self.directory / PROGRESS).read_bytes())
        except (OSError, ValueError):
            saved = None
        if saved and (saved["recipe"], saved["parts"]) == (self._recipe, self._parts):
            tokens = sum(saved["state"]["tokens"].values())
            say(f"{self._target}: resuming after {tokens:,} tokens")
            sweep(self.directory)
            return State(**saved["state"] | {"end": tuple(saved["state"]["end"])})
        if saved:
            changes = changed(saved["recipe"], self._recipe) or "it was made of other files"
            say(f"{self._target}: starting anew, the unfinished one had other settings: {changes}")
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        return State(begin)

    def _writer(self, split: str) -> SplitWriter:
        vocab_size, shard_tokens = self._tokenizer.vocab_size, self._recipe["shard_tokens"]
        position = self.state.tokens[split]
        return SplitWriter(self.directory, split, vocab_size, shard_tokens, position)

    def _describe(self, split: str) -> dict:
        headers = map(ShardHeader.read, self._writers[split].paths())
        return {
            "tokens": self.state.tokens[split],
            "documents": self.state.documents[split],
            "shards": [
                {"file": h.path.name, "tokens": h.count, "sha256": h.digest} for h in headers
            ],
        }


@contextlib.contextmanager
def locked(directory: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a prepared directory, after waiting for its present holder.

    Without `wait` raises BlockingIOError when there is one.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f".{directory.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def unfinished(directory: Path) -> Path:
    """Where the shards of `directory` grow."""
    return directory.with_name(f".{directory.name}.partial")


def unfinished_recipe(directory: Path) -> dict | None:
    """The recipe by which `directory` was begun; None if nothing has been recorded."""
    try:
        return json.loads((unfinished(directory) / PROGRESS).read_bytes())["recipe"]
    except (OSError, ValueError):
        return None


def require_both_splits(state: State, recipe: dict) -> None:
    """Raise DataError when a split has no tokens."""
    name, fraction = recipe["dataset"], recipe["val_fraction"]
    if not any(state.tokens.values()):
        raise DataError(f"corpus {name}: it has no text")
    for split in SPLITS:
        if not state.tokens[split]:
            total = sum(state.documents.values())
            cure = "higher" if split == "val" else "lower"
            raise DataError(
                f"corpus {name}: none of its {total:,} documents fell into the {split} split "
                f"with VAL_FRACTION={fraction}: set it {cure}"
            )


def check_same(directory: Path, recipe: dict) -> None:
    """Raise DataError unless the published `directory` was made by `recipe`."""
    made = read_meta(directory)["recipe"]
    if made != as_json(recipe):
        raise DataError(
            f"{directory} was prepared with other settings: {changed(made, as_json(recipe))}. "
            "Set them back, or remove that directory to prepare it anew"
        )


def changed(old: dict, new: dict) -> str:
    """What differs, as `name old → new`."""
    return ", ".join(f"{k} {old.get(k)} → {v}" for k, v in new.items() if old.get(k) != v)


def as_json(value: dict) -> dict:
    """`value` as it will be read back."""
    return json.loads(json.dumps(value))
