# SPDX-License-Identifier: MIT
"""README.md and docs/*.md as the tests read them: fenced blocks, `code spans`, commands.

A block whose commands a test cannot type says why in a comment right before it:

    <!-- not typed: needs a GPU -->
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lib.files import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELL = ("sh", "console")
_FENCE = re.compile(
    r"(?:<!-- not typed: (?P<why>[^>]+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_ASSIGNED = re.compile(r"[A-Za-z_]\w*=")


class Block(NamedTuple):
    """A fenced block: its line, its language, why it is not typed (empty: it is), its text."""

    line: int
    kind: str
    why: str
    text: str

    @property
    def typed(self) -> list[str]:
        """The lines that a reader types; of a console block those after the prompt."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.kind == "console":
            return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return lines

    @property
    def printed(self) -> list[str]:
        """What a console block says is printed."""
        return [line for line in self.text.splitlines() if not line.startswith("$ ")]


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(text[: m.start("text")].count("\n") + 1, m["kind"], m["why"] or "", m["text"])
        for m in _FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """The page without its blocks."""
    return _FENCE.sub("", page.read_text())


def spans(page: Path) -> list[str]:
    """The `code spans` outside blocks."""
    return re.findall(r"`([^`]+)`", prose(page))


def all_code(page: Path) -> list[str]:
    return [*spans(page), *(block.text for block in blocks(page))]


def commands(page: Path) -> Iterator[list[str]]:
    """Each `make …` and `python …` of the page as words, wherever it stands.

    Assignments before the program are left out, and so is what stands for anything: …, <name>.
    """
    typed = [line for block in blocks(page) if block.kind in SHELL for line in block.typed]
    for text in [*typed, *spans(page)]:
        if not re.search(r"\b(make|python)\b", text):
            continue
        for words in _simple_commands(re.sub(r"<[\w-]+>", "name", text)):
            while words and _ASSIGNED.match(words[0]):
                del words[0]
            if words[:1] in (["make"], ["python"]):
                yield [word.replace("…", "") for word in words if word != "…"]


def _simple_commands(line: str) -> Iterator[list[str]]:
    """The simple commands in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    command: list[str] = []
    for word in lexer:
        if set(word) <= set(";&|()<>") or word in ("do", "done", "for"):
            yield command
            command = []
        else:
            command.append(word)
    yield command
