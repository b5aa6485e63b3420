# SPDX-License-Identifier: MIT
"""The named corpora: where their texts come from, one document at a time.

    corpus = open_corpus("tinystories")
    for text in corpus.documents(index=0, skip=0): …

A corpus is a fixed sequence of files, each a fixed sequence of documents, so that a resumed
preparation needs to know only (file, documents read of it). `source` identifies the texts (files,
sizes, pinned revision) and is stored in meta.json.

    pystdlib     the standard library of the Python that runs this, without its tests
    shakespeare  1.1 MB, from GitHub
    tinystories, openwebtext, finewebedu    from the Hugging Face hub, streamed
    custom       local .txt, .jsonl or .parquet files, or .bin files of tokens

Nothing is fetched before documents are asked for. Every corpus but pystdlib takes `files`: local
copies to read instead of the network.
"""

import hashlib
import io
import os
import platform
import sysconfig
import tokenize
import urllib.request
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from ..hub import NETWORK_TIMEOUT, probe
from .documents import READERS, passages, text_bytes
from .ready import ReadyFiles
from .shards import DataError


class Corpus(Protocol):
    """A fixed sequence of documents in files."""

    source: dict  # what identifies the texts, JSON values only
    size: int | None  # bytes of text, roughly; None when unknown
    files: int
    sizes: list[int] | None  # of the files, roughly; None when unknown

    def documents(self, index: int, skip: int) -> Iterator[str]:
        """The documents of file number `index`, without its first `skip`."""


class Hub(NamedTuple):
    """A data set on the Hugging Face hub at one commit; its texts are in the column `text`.

    `size` is roughly how many bytes of text it has.
    """

    path: str
    config: str | None
    revision: str | None
    size: int


HUBS = {
    "tinystories": Hub(
        "roneneldan/TinyStories", None, "f54c09fd23315a6f9c86f9dc80f725de7d8f9c64", 1_900_000_000
    ),
    "openwebtext": Hub(
        "Skylion007/openwebtext",
        "plain_text",
        "79d93d786212f7344586290adb811d4ae6a1762c",
        39_800_000_000,
    ),
    "finewebedu": Hub(
        "HuggingFaceFW/fineweb-edu",
        "sample-10BT",
        "87f09149ef4734204d70ed1d046ddc9ca3f2b8f9",
        45_000_000_000,
    ),
}
SHAKESPEARE_URL = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/"
    "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt"
)
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
CORPORA = ("pystdlib", "shakespeare", *HUBS, "custom")


def open_corpus(name: str, files: str = "", text_column: str = "text") -> Corpus | ReadyFiles:
    """The corpus called `name`.

    `files`: paths, directories and patterns separated by white space. Raises DataError when the
    name is unknown, or a file is missing or of an unknown kind.
    """
    if name not in CORPORA:
        raise DataError(f"corpus {name!r}: there are {', '.join(CORPORA)}")
    if name == "pystdlib":
        return StandardLibrary()
    if files.strip():
        return _open_files(find_files(files, (*READERS, ".bin")), text_column)
    if name == "custom":
        raise DataError("corpus custom: set DATA_FILES to .txt, .jsonl, .parquet or .bin files")
    return Shakespeare() if name == "shakespeare" else HubCorpus(name, HUBS[name])


def _open_files(paths: list[Path], text_column: str) -> Corpus | ReadyFiles:
    ready = [path for path in paths if path.suffix == ".bin"]
    if ready and len(ready) < len(paths):
        raise DataError("DATA_FILES: .bin files hold tokens and cannot be mixed with texts")
    return ReadyFiles(ready) if ready else LocalFiles(paths, text_column)


def find_files(patterns: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The files that paths, directories and glob patterns name, sorted, without duplicates."""
    found: set[Path] = set()
    for pattern in patterns.split():
        path = Path(pattern)
        root = Path(path.anchor)
        matches = [path] if path.exists() else list(root.glob(str(path.relative_to(root))))
        if not matches:
            raise DataError(f"DATA_FILES: {pattern}: no such file")
        for match in matches:
            inside = sorted(match.rglob("*")) if match.is_dir() else [match]
            found.update(f for f in inside if not match.is_dir() or f.suffix in suffixes)
    for path in sorted(found):
        if path.suffix not in suffixes:
            raise DataError(f"DATA_FILES: {path}: not one of {', '.join(suffixes)}")
    if not found:
        raise DataError(f"DATA_FILES: {patterns}: no {', '.join(suffixes)} files there")
    return sorted(found)


class StandardLibrary:
    """The .py files of the running Python's standard library, a document each, by path."""

    EXCLUDED = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})

    def __init__(self) -> None:
        self._paths: list[Path] = []
        for folder, subfolders, names in os.walk(sysconfig.get_path("stdlib")):
            subfolders[:] = [name for name in subfolders if name not in self.EXCLUDED]
            self._paths += [Path(folder, name) for name in names if name.endswith(".py")]
        self._paths.sort(key=str)
        self.files = len(self._paths)
        self.sizes = [path.stat().st_size for path in self._paths]
        self.size = sum(self.sizes)
        self.source = {
            "python": platform.python_version(),
            "files": self.files,
            "bytes": self.size,
        }

    def documents(self, index: int, skip: int) -> Iterator[str]:
        path = self._paths[index]
        if skip:
            return
        try:
            with tokenize.open(path) as file:  # in the encoding that the file declares
                yield file.read()
        except (SyntaxError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be decoded: {error}") from error


class LocalFiles:
    """Texts of .txt, .jsonl and .parquet files, in the order of their paths."""

    def __init__(self, paths: list[Path], text_column: str):
        self._paths, self._column = paths, text_column
        self.files = len(paths)
        self.sizes = [text_bytes(path, text_column) for path in paths]
        self.size = sum(self.sizes)
        self.source = {
            "files": [[str(path), path.stat().st_size] for path in paths],
            "text_column": text_column,
        }

    def documents(self, index: int, skip: int) -> Iterator[str]:
        path = self._paths[index]
        return READERS[path.suffix](path, self._column, skip)


class Shakespeare:
    """The tiny Shakespeare of char-rnn, at a fixed commit."""

    files = 1
    size = 1_115_394
    sizes = None

    def __init__(self, url: str = SHAKESPEARE_URL, sha256: str = SHAKESPEARE_SHA256):
        self._url, self._sha256 = url, sha256
        self.source = {"url": url, "sha256": sha256}

    def documents(self, index: int, skip: int) -> Iterator[str]:
        yield from islice(passages(io.StringIO(self._fetch())), skip, None)

    def _fetch(self) -> str:
        try:
            with urllib.request.urlopen(self._url, timeout=NETWORK_TIMEOUT) as response:
                contents = response.read()
        except OSError as error:
            raise DataError(
                f"corpus shakespeare: {self._url} cannot be fetched ({error}).\n  Download it "
                "where there is a network and set DATA_FILES to it; or choose DATASET=pystdlib"
            ) from error
        if hashlib.sha256(contents).hexdigest() != self._sha256:
            raise DataError(f"corpus shakespeare: {self._url} did not return the expected file")
        return contents.decode()


class HubCorpus:
    """The train split of a data set on the Hugging Face hub, streamed file by file."""

    sizes = None

    def __init__(self, name: str, hub: Hub):
        self.name, self.hub, self.size = name, hub, hub.size
        self.source = {"hub": hub.path, "config": hub.config, "revision": hub.revision}

    @cached_property
    def _stream(self):
        """The data set, after one request whether the hub has it."""
        from datasets import load_dataset

        path, config, revision, _ = self.hub
        try:
            if not Path(path).is_dir():
                probe(path, revision)
            stream = load_dataset(path, config, split="train", revision=revision, streaming=True)
            if stream.column_names and "text" not in stream.column_names:
                raise DataError(f"{path}: no column 'text' among {', '.join(stream.column_names)}")
            return stream.select_columns(["text"])
        except DataError:
            raise
        except Exception as error:  # of many unrelated types when the hub is away
            raise DataError(
                f"corpus {self.name}: the Hugging Face hub cannot be reached for {path} "
                f"({_first_line(error)}).\n  Where there is a network, download its .parquet files "
                "and set DATA_FILES to them; or choose DATASET=pystdlib, which needs no network"
            ) from error

    @property
    def files(self) -> int:
        return self._stream.num_shards

    def documents(self, index: int, skip: int) -> Iterator[str]:
        rows = self._stream.shard(num_shards=self.files, index=index).skip(skip)
        try:
            for row in rows:
                yield row["text"] or ""
        except Exception as error:  # see above
            raise DataError(
                f"corpus {self.name}: reading file {index + 1} of {self.files} of {self.hub.path} "
                f"failed ({_first_line(error)}); `make data` resumes where it stopped"
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
