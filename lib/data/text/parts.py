# SPDX-License-Identifier: MIT
"""A corpus that several machines prepare, each its part of the files, and one merges.

    part = Part.parse("2/8")                        # make data PART=2/8
    first, end = part.files(corpus)                 # of the corpus, from 0; end is not included
    part.directory(Path("data/books-bytes"))        # data/books-bytes.part-2-of-8
    merge(found_parts(directory), directory, recipe, tokenizer, say)

A part is a directory of shards like a whole corpus, or of none if it has no files. Parts in order
hold the tokens of the whole in order, so that the merged shards are, byte for byte, those that one
machine writes. Since shards have a fixed number of tokens, all parts but the first are copied; of
the first, whole shards become hard links.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...errors import BadUse
from .corpora import Corpus
from .encoder import SPLITS
from .ready import ReadyFiles
from .shards import DataError, ShardHeader, check_entry, read_meta
from .staging import (
    Staging,
    as_json,
    changed,
    locked,
    require_both_splits,
    unfinished,
    unfinished_recipe,
)
from .tokenizers import Tokenizer


@dataclass(frozen=True)
class Part:
    """Part `number`, from 1, `of` so many."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """The part that "2/8" names; BadUse for anything else."""
        match = re.fullmatch(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", text, re.ASCII)
        part = cls(*map(int, match.groups())) if match else None
        if part is None or part.number > part.of:
            raise BadUse(
                f"PART={text}: write the number of the part, from 1, and how many there are: "
                "PART=1/8 to PART=8/8 on eight machines"
            )
        return part

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def directory(self, whole: Path) -> Path:
        """Where this part of the corpus in `whole` is."""
        return whole.with_name(f"{whole.name}.part-{self.number}-of-{self.of}")

    def files(self, corpus: Corpus | ReadyFiles) -> tuple[int, int]:
        """(first, end) of the files of this part: about as much text in each part, if the sizes
        are known, else as many files.
        """
        ends, sizes = [0] * self.of, corpus.sizes or [1] * corpus.files
        total, before = max(1, sum(sizes)), 0
        for size in sizes:  # a file belongs to where its middle is
            ends[min((2 * before + size) * self.of // (2 * total), self.of - 1)] += 1
            before += size
        first = sum(ends[: self.number - 1])
        return first, first + ends[self.number - 1]


@dataclass(frozen=True)
class PreparedPart:
    """A part on the disk: its directory and the contents of its meta.json."""

    part: Part
    directory: Path
    meta: dict

    @classmethod
    def read(cls, directory: Path, part: Part) -> "PreparedPart":
        """What is in `directory`; DataError, naming the part, when its meta.json is damaged."""
        with _naming(part, directory):
            return cls(part, directory, read_meta(directory))

    def shards(self, vocab_size: int) -> Iterator[tuple[str, ShardHeader]]:
        """(split, header) of each shard in order. Raises DataError unless all are as recorded."""
        for split in SPLITS:
            for entry in self.meta["splits"][split]["shards"]:
                header = ShardHeader.read(self.directory / entry["file"])
                check_entry(header, entry, vocab_size)
                yield split, header


def begun_parts(whole: Path) -> Iterator[tuple[Part, Path]]:
    """Each part of the corpus in `whole` of which something is on the disk, and its directory.

    A directory whose name begins with a dot is not finished; it comes before a finished one.
    """
    name = re.compile(rf"\.?{re.escape(whole.name)}\.part-(\d+)-of-(\d+)(\.partial)?")
    entries = list(whole.parent.iterdir()) if whole.parent.is_dir() else []
    for path in sorted(entries, key=lambda path: not path.name.startswith(".")):
        if (match := name.fullmatch(path.name)) and path.is_dir():
            yield Part(int(match[1]), int(match[2])), path


def found_parts(whole: Path) -> list[PreparedPart]:
    """All parts of the corpus in `whole`, in order; none if no part of it was begun.

    Raises DataError, naming the parts, when some are missing or not finished.
    """
    begun = dict(begun_parts(whole))
    counts = sorted({part.of for part in begun})
    missing = ""
    for of in counts:
        parts = [Part(number, of) for number in range(1, of + 1)]
        lacking = [p for p in parts if p not in begun or begun[p].name.startswith(".")]
        if not lacking:
            return [PreparedPart.read(begun[part], part) for part in parts]
        words = [f"{p} is {'not finished' if p in begun else 'missing'}" for p in lacking]
        missing += f"\n       part {', part '.join(words)}"
    if missing:
        raise DataError(
            f"{whole} is being prepared in parts:{missing}\n       `make data PART=…` makes a "
            f"part; or copy {whole.name}.part-… from the machine that has it.\n       To prepare "
            f"everything here instead: rm -rf {whole}.part-* {whole.parent}/.{whole.name}.part-*"
        )
    return []


def merge(
    parts: list[PreparedPart],
    whole: Path,
    recipe: dict,
    tokenizer: Tokenizer,
    say: Callable[[str], None],
) -> None:
    """Make `whole` of its `parts` and remove them; however it is stopped, the next one resumes.

    Raises DataError when a part is of other settings or damaged, naming it, or the disk is full.
    """
    check_parts(parts, recipe)
    shards = []  # ((part, number of the shard in it), split, header)
    for index, part in enumerate(parts):
        with _naming(part.part, part.directory):
            of_part = enumerate(part.shards(tokenizer.vocab_size), 1)
            shards += [((index, number), *shard) for number, shard in of_part]
    digests = " ".join(header.digest for _, _, header in shards)
    identity = hashlib.sha256(digests.encode()).hexdigest()
    with closing(Staging(whole, recipe, tokenizer, say, parts=identity)) as staging:
        state = staging.state
        left = [shard for shard in shards if shard[0] > state.end]
        _announce(whole, sum(h.path.stat().st_size for (i, _), _, h in left if i), say)
        state.text_bytes = sum(part.meta["text_bytes"] or 0 for part in parts)
        for split in SPLITS:
            state.documents[split] = sum(p.meta["splits"][split]["documents"] for p in parts)
        for end, split, header in left:
            part = parts[end[0]]
            with _naming(part.part, part.directory):
                staging.add_shard(end, split, header)
        require_both_splits(state, recipe)
        staging.publish()
    remove_parts(whole, recipe)


def remove_parts(whole: Path, recipe: dict) -> None:
    """Remove the parts of the corpus in `whole`, which holds all that they do.

    Those of another recipe stay, and those that are being made.
    """
    for part, path in begun_parts(whole):
        directory = part.directory(whole)
        # another's; damaged; in a read-only place
        with suppress(OSError, DataError), locked(directory, wait=False):
            is_made = path == directory
            made_by = read_meta(path)["recipe"] if is_made else unfinished_recipe(directory)
            if made_by and _portable(made_by) != _of_part(recipe, part):
                continue
            if is_made:  # so that the next call finds what a killed one has left
                path = path.rename(unfinished(directory))
            shutil.rmtree(path)


def check_parts(parts: list[PreparedPart], recipe: dict) -> None:
    """Raise DataError unless the parts are of this recipe and follow each other."""
    end = 0
    for part in parts:
        made = _portable(part.meta["recipe"])
        wanted = _of_part(recipe, part.part)
        if made != wanted:
            raise DataError(
                f"{part.directory} was prepared with other settings or files: "
                f"{changed(made, wanted)}. Set them back, or remove that directory and make the "
                f"part anew: make data PART={part.part}"
            )
        first, last, files = part.meta["files"]
        if first != end or (part is parts[-1] and last != files):
            raise DataError(
                f"{part.directory} holds files {first + 1} to {last} of {files}, and the parts "
                f"before it {end}: remove it and make it anew, make data PART={part.part}"
            )
        end = last


@contextmanager
def _naming(part: Part, directory: Path) -> Iterator[None]:
    """Say what to do about a part that is damaged."""
    try:
        yield
    except DataError as error:
        raise DataError(
            f"part {part} is damaged: {error}\n       Copy {directory} again from the machine that "
            f"made it, or remove it and: make data PART={part}"
        ) from error


def _of_part(recipe: dict, part: Part) -> dict:
    """What a part of this recipe has in its meta.json, but for the folder of the files."""
    return _portable(as_json({**recipe, "part": str(part)}))


def _portable(recipe: dict) -> dict:
    """`recipe` with the paths of files below the folder that they share, which is another one on
    another machine.
    """
    files = recipe["source"].get("files")
    if not isinstance(files, list):
        return recipe
    paths = [Path(path).absolute() for path, _ in files]
    shared = os.path.commonpath([path.parent for path in paths])
    below = [
        [str(path.relative_to(shared)), size] for path, (_, size) in zip(paths, files, strict=True)
    ]
    return {**recipe, "source": {**recipe["source"], "files": below}}


def _announce(whole: Path, copied: int, say: Callable[[str], None]) -> None:
    """Say how much is to be copied. Raises DataError when it does not fit."""
    free = shutil.disk_usage(whole.parent).free
    if copied > free:
        raise DataError(
            f"{whole.parent}: {free / 1e9:.2f} GB are free, merging needs {copied / 1e9:.2f} GB: "
            "free some space, or set DATA_DIR to another disk and move the parts there"
        )
    say(f"{whole}: merging its parts, {copied / 1e9:.2f} GB to copy")
