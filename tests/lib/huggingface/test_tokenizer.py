# SPDX-License-Identifier: MIT
"""The files of a tokenizer give the ids of the tokenizer: read here, and by transformers."""

import json
from itertools import pairwise

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.torchvision_import import import_torchvision
from lib.data.text.tokenizers import END_OF_TEXT, load_tokenizer
from lib.huggingface.tokenizer import byte_characters, merges, tokenizer_files
from tests.lib.huggingface.tables import TEXT, small_table

TOKENIZERS = {"bytes": load_tokenizer("bytes"), "small": small_table()}
FILES = {name: tokenizer_files(tokenizer, 1024) for name, tokenizer in TOKENIZERS.items()}
# What ByteLevel splits text by, as the documentation of the tokenizers library gives it.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Unicode has grown between the libraries that split text: letters of its latest versions differ.
texts = st.text(st.characters(max_codepoint=0x2FFFF, exclude_categories=("Cs", "Cn")))


class Reference:
    """Byte pair encoding as tokenizer.json describes it, merge by merge."""

    def __init__(self, text: str) -> None:
        model = json.loads(text)["model"]
        self.vocabulary = model["vocab"]
        self.order = {tuple(pair.split(" ")): n for n, pair in enumerate(model["merges"])}

    def encode(self, text: str) -> list[int]:
        characters = byte_characters()
        ids = []
        for word in regex.findall(WORDS, text):
            parts = [characters[byte] for byte in word.encode()]
            while found := {p for p in pairwise(parts) if p in self.order}:
                first = min(found, key=self.order.__getitem__)
                at = next(n for n in range(len(parts)) if (*parts[n : n + 2],) == first)
                parts[at : at + 2] = ["".join(first)]
            ids += [self.vocabulary[part] for part in parts]
        return ids


REFERENCES = {name: Reference(files["tokenizer.json"]) for name, files in FILES.items()}


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=texts | st.text("the cats aI' \n2"))
@example(text=TEXT)
@example(text=f"before{END_OF_TEXT}after")
def test_the_file_describes_the_tokenizer(name, text):
    ours = TOKENIZERS[name].encode(text).tolist()
    assert REFERENCES[name].encode(text) == ours
    assert TOKENIZERS[name].decode(ours) == text


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_token_has_its_number(name):
    tokenizer, vocabulary = TOKENIZERS[name], REFERENCES[name].vocabulary
    assert sorted(vocabulary.values()) == list(range(tokenizer.vocab_size))
    assert vocabulary[END_OF_TEXT] == tokenizer.end_of_text


def test_merges_are_found_again():
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"abc": 4, b"aa": 5, b"aaaa": 6}
    assert merges(ranks) == [(b"b", b"c"), (b"a", b"bc"), (b"a", b"a"), (b"aa", b"aa")]


@pytest.fixture(scope="module", params=TOKENIZERS)
def both(request, tmp_path_factory):
    """(ours, the same as transformers load it)."""
    import_torchvision()
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp(request.param)
    for name, text in FILES[request.param].items():
        (folder / name).write_text(text)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    return TOKENIZERS[request.param], transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.reach
@given(text=texts | st.text("the cats aI' \n2"))
@example(text=TEXT)
@example(text=f"before{END_OF_TEXT}after")
def test_transformers_give_the_same_ids(both, text):
    ours, theirs = both
    ids = ours.encode(text).tolist()
    assert theirs(text)["input_ids"] == ids
    assert theirs.decode(ids) == text


@pytest.mark.reach
def test_transformers_know_the_size_and_the_end_of_text(both):
    ours, theirs = both
    assert len(theirs) == theirs.vocab_size == ours.vocab_size
    assert theirs.bos_token_id == theirs.eos_token_id == ours.end_of_text
    assert theirs.model_max_length == 1024
    asked = theirs(f"a{END_OF_TEXT}", split_special_tokens=False)["input_ids"]
    assert asked == [*ours.encode("a"), ours.end_of_text]
