# SPDX-License-Identifier: MIT
"""README.md and docs/*.md: what they name exists, and what they tell to type works.

Blocks marked ```sh or ```console are typed, page by page, in a scratch clone that has a run. A
block that a test cannot type says why in a comment right before it:

    <!-- not typed: needs a GPU -->

In a block, <run> and RUN=name stand for the run that was last trained. ```console blocks show what
is printed, too: each of those lines has to come. Training is cut short by FRAGMENTS in the
environment, which make takes from there as from its command line.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lib.config.tree import Tree

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
FENCE = re.compile(
    r"(?:<!-- not typed: (?P<why>[^>]+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
SHELL = ("sh", "console")
PLACEHOLDERS = {"SYM", "SYMBOL", "NAME"}


class Block(NamedTuple):
    """A fenced block: its language, why it is not typed (empty: it is), its text."""

    line: int
    kind: str
    why: str
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(text[: m.start("text")].count("\n") + 1, m["kind"], m["why"] or "", m["text"])
        for m in FENCE.finditer(text)
    ]


def spans(page: Path) -> list[str]:
    """The `code spans` outside blocks."""
    return re.findall(r"`([^`]+)`", FENCE.sub("", page.read_text()))


def shell_lines(block: Block) -> list[str]:
    """What is typed; of a console block the lines after the prompt."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.kind == "console":
        return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return lines


def commands(line: str) -> Iterator[list[str]]:
    """The simple commands in a line of shell, as words."""
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


def make_commands(page: Path) -> Iterator[list[str]]:
    """Each `make …` of the page, without what stands for anything: …, <name>."""
    typed = [line for block in blocks(page) if block.kind == "sh" for line in shell_lines(block)]
    for text in [*typed, *(span for span in spans(page) if span.split()[:1] == ["make"])]:
        for words in commands(re.sub(r"<[\w-]+>", "name", text)):
            if words[:1] == ["make"]:
                yield [word.replace("…", "") for word in words[1:] if word != "…"]


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request) -> Path:
    return request.param


def test_blocks_are_found():
    found = [block for page in PAGES for block in blocks(page)]
    assert sum(block.kind in SHELL and not block.why for block in found) >= 8
    assert {block.kind for block in found} <= {*SHELL, "python", ""}


def test_commands_without_a_language_are_none(page):
    """A block of commands is marked ```sh, so that it is typed."""
    for block in blocks(page):
        if not block.kind:
            assert not re.search(r"^(\$ )?(make|python|git) ", block.text, re.M), block.line
    assert not re.search(r"^    (make|python) ", page.read_text(), re.M), "indented: use ```sh"


def test_targets_and_variables_of_make(page):
    """make itself says, without running anything, whether it takes them."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    system = ["VENV=system", f"PYTHON3={sys.executable}"]
    wrong = []
    for words in {tuple(words) for words in make_commands(page)}:
        command = ["make", "-n", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=environment | dict(word.split("=", 1) for word in system),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            wrong.append(f"{shlex.join(command)}: {done.stderr.strip()}")
    assert not wrong


def test_symbols_and_defconfigs(page):
    known, wrong = set(Tree().syms) | PLACEHOLDERS, []
    for words in make_commands(page):
        for word in words:
            name, _, value = word.partition("=")
            if name == "SET":
                assigned = (part.partition("=")[0] for part in shlex.split(value))
                wrong += [f"SET={n}" for n in assigned if n not in known]
            elif name == "SYM":
                wrong += [word] if value and value not in known else []
            defconfig = value if name == "DEFCONFIG" else name.removeprefix("defconfig-")
            named = (name == "DEFCONFIG" and "/" not in value) or name.startswith("defconfig-")
            if named and defconfig not in ("", "name"):
                wrong += [] if (ROOT / "defconfigs" / defconfig).exists() else [word]
    assert not wrong


def test_links_and_files(page):
    text = page.read_text()
    links = re.findall(r"\]\(([^)#\s]+)", FENCE.sub("", text))
    wrong = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    for code in [*spans(page), *(block.text for block in blocks(page))]:
        for path in re.findall(r"(?<![\w/.<>-])[\w.-]+(?:/[\w.*-]+)+/?", code):
            if path.split("/")[0] in TOP - {"data", "outputs"} and not list(ROOT.glob(path)):
                wrong.append(path)
    assert not wrong


def test_modules(page):
    """Each lib.x.y and each import of ours is there, down to the name."""
    wrong = []
    for code in [*spans(page), *(block.text for block in blocks(page))]:
        for dotted in re.findall(
            r"(?<![\w/.])(?:lib|scripts|benchmarks|gpt2|lenet5)(?:\.\w+)+", code
        ):
            wrong += [] if exists(dotted) or (ROOT / dotted).exists() else [dotted]
    for block in blocks(page):
        if block.kind == "python":
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in TOP:
                    names = (f"{node.module}.{alias.name}" for alias in node.names)
                    wrong += [name for name in names if not exists(name)]
    assert not wrong


def exists(dotted: str) -> bool:
    """Whether this is a module, or a name at the top of one."""
    path = ROOT / dotted.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module = path.parent / "__init__.py" if path.parent.is_dir() else path.parent.with_suffix(".py")
    name = re.escape(path.name)
    defined = rf"^(?:(?:def|class) {name}\b|{name}\b.*=|from .* import .*\b{name}\b)"
    return module.is_file() and re.search(defined, module.read_text(), re.M) is not None


class Clone(NamedTuple):
    """A scratch clone of the tree as it is here, and the environment of a shell in it."""

    folder: Path
    environment: dict[str, str]

    def type(self, text: str) -> subprocess.CompletedProcess:
        """Run `text` in bash, the placeholders filled in."""
        runs = sorted((self.folder / "outputs/training").glob("*"), key=os.path.getmtime)
        for placeholder, wanted in (("<run>", "{}"), ("RUN=name", "RUN={}")):
            text = text.replace(placeholder, wanted.format(runs[-1].name if runs else "none"))
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    """With a home, trackers and caches of its own; nothing is installed; training is short."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "AdamWPrune"
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    for option in ("-d", "-mo"):  # what is not committed yet
        listed = subprocess.run(
            ["git", "ls-files", "--exclude-standard", "-z", option],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for name in filter(None, listed.stdout.split("\0")):
            (folder / name).unlink(missing_ok=True)
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes((ROOT / name).read_bytes())
    short = home / "short.config"
    short.write_text("CONFIG_MAX_STEPS=12\nCONFIG_NUM_THREADS=1\n")
    kept = ("LANG", "LC_ALL", "TIKTOKEN_CACHE_DIR", "TMPDIR")
    environment = {k: v for k, v in os.environ.items() if k in kept}
    environment |= {
        "HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "VENV": "system", "PYTHON3": sys.executable, "FRAGMENTS": str(short),
        "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "TRACKIO_DIR": str(home / "trackio"),
    }  # fmt: skip
    made = Clone(folder, environment)
    done = made.type("make defconfig-lenet5-digits-adamwprune && make")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.mark.slow
def test_what_a_page_tells_to_type_works(page, clone):
    for name in (".config", "config.py"):
        (clone.folder / name).unlink(missing_ok=True)
    failures = []
    for block in blocks(page):
        if block.kind not in SHELL or block.why:
            continue
        where = f"{page.relative_to(ROOT)}:{block.line}"
        done = clone.type("\n".join(shell_lines(block)))
        printed = normalized(done.stdout + done.stderr)
        if block.kind == "sh" and done.returncode:
            failures.append(f"{where}: exit code {done.returncode}\n{printed[-3000:]}")
        if block.kind == "console":
            expected = [line for line in block.text.splitlines() if not line.startswith("$ ")]
            missing = [line for line in expected if normalized(line).strip() not in printed]
            if missing:
                failures.append(f"{where}: not printed: {missing}\n{printed[-3000:]}")
    assert not failures, "\n\n".join(failures)


def normalized(text: str) -> str:
    """Without what changes from day to day: line numbers."""
    return re.sub(r"(Kconfig[\w.]*):\d+", r"\1:N", text)
