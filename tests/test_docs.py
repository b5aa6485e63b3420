# SPDX-License-Identifier: MIT
"""What README.md and docs/*.md name exists: targets, variables, flags, symbols, files, functions.

What they say to type is typed by tests/test_docs_typed.py.
"""

import ast
import builtins
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from lib.config.assign import Rejected, resolve
from lib.config.dotconfig import Assignment
from lib.config.tree import Tree
from lib.files import ROOT
from lib.runs.redact import is_secret_name
from tests.models import MODELS
from tests.pages import PAGES, SHELL, all_code, blocks, commands, prose, spans

TOP = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
PLACEHOLDERS = {"SYM", "SYMBOL", "NAME"}  # stand for the name of any symbol
EXAMPLES = {"DB_PASS", "SIGNING_KEY"}  # variables of a user's own, whose values are redacted
TESTS = {"tests/test_golden.py"}  # that are programs as well
# Methods of PyTorch's modules and of mappings, which the Python blocks call.
METHODS_OF_OTHERS = {"parameters", "get"}
# What docs/registry.md calls of NumPy and MLflow, or says of older guides for MLflow.
METHODS_OF_OTHERS |= {"zeros", "argmax", "set_tracking_uri", "get_tracking_uri", "load_model"}
METHODS_OF_OTHERS |= {"search_runs", "search_model_versions", "search_registered_models"}
METHODS_OF_OTHERS |= {"log_model", "ModelRegistry"}
# What docs/notebook.md calls of pandas and Matplotlib.
METHODS_OF_OTHERS |= {"DataFrame", "describe", "min"}
METHODS_OF_OTHERS |= {"subplots", "plot", "set", "legend", "savefig"}
# What docs/configuration.md calls of Hydra and OmegaConf.
METHODS_OF_OTHERS |= {"initialize_config_dir", "compose", "resolve"}
# What docs/api.md calls of PyTorch.
METHODS_OF_OTHERS |= {"Sequential", "Linear", "ReLU", "AdamW", "randn", "square", "mean"}
METHODS_OF_OTHERS |= {"backward", "step", "zero_grad", "keys", "load_state_dict", "item", "net"}
# What docs/export.md calls of transformers.
METHODS_OF_OTHERS |= {"from_pretrained"}
# What docs/api.md says other guides call it.
METHODS_OF_OTHERS |= {"experiment_tracking", "log_metrics", "ModelCheckpointer", "save_checkpoint"}


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request):
    return request.param


@cache
def tree() -> Tree:
    return Tree()


@cache
def sources() -> dict[str, str]:
    """The text of each file of ours by its path, tests and pages left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    paths = (name for name in listed.split("\0") if name and not name.startswith("tests/"))
    kinds = (".py", ".mk", ".sh", "Makefile", "Kconfig")
    named = (name for name in paths if name.endswith(kinds) or "Kconfig." in name)
    return {name: (ROOT / name).read_text() for name in named if (ROOT / name).is_file()}


@cache
def nodes(name: str) -> list[ast.AST]:
    return [*ast.walk(ast.parse(sources()[name]))]


def python_files() -> list[str]:
    return [name for name in sources() if name.endswith(".py")]


@cache
def words() -> set[str]:
    """The words of make, Kconfig and shell files, and of the strings in Python files."""
    texts = [text for name, text in sources().items() if not name.endswith(".py")]
    constants = (n.value for name in python_files() for n in nodes(name) if type(n) is ast.Constant)
    texts += [str(value) for value in constants if isinstance(value, str | bytes)]
    return set(re.findall(r"\w+", "\n".join(texts)))


@cache
def defined() -> set[str]:
    """The names of all our functions and classes."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for name in python_files() for node in nodes(name) if isinstance(node, kinds)}


def flags_in(names: list[str]) -> set[str]:
    """The string literals that look like flags."""
    literals = (n.value for name in names for n in nodes(name) if isinstance(n, ast.Constant))
    return {
        match[0]
        for text in literals
        if isinstance(text, str) and (match := re.match(r"--[a-z][a-z0-9-]*", text))
    }


@cache
def symbol_flags() -> set[str]:
    """The flags of the training programs, for any model."""
    names = [*(symbol.name for symbol in tree().settable), *tree().choice_options]
    flags = [name.lower().replace("_", "-") for name in names]
    return {f"--{flag}" for flag in flags} | {f"--no-{flag}" for flag in flags}


def reason_against(assignment: str) -> str:
    """Why Kconfig would refuse `SYMBOL=value`, or nothing."""
    name, _, value = assignment.partition("=")
    try:
        resolve(tree(), Assignment(name, value, "page"))
    except Rejected as error:
        return f"{assignment}: {error}"
    return ""


def test_blocks_are_found():
    found = [block for page in PAGES for block in blocks(page)]
    assert sum(block.kind in SHELL and not block.why for block in found) >= 8
    assert {block.kind for block in found} <= {*SHELL, "diff", "python", "yaml", ""}
    assert all(block.printed for block in found if block.kind == "console")


def test_commands_without_a_language_are_none(page):
    """A block of commands is marked ```sh or ```console, so that it is typed."""
    for block in blocks(page):
        if not block.kind:
            assert not re.search(r"^(\$ |\w+=\S+ )*(make|python|git) ", block.text, re.M), block
    assert not re.search(r"^    (make|python) ", page.read_text(), re.M), "indented: use ```sh"


def test_targets_and_variables_of_make(page):
    """make itself says, without running anything, whether it takes them."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    environment |= {"VENV": "system", "PYTHON3": sys.executable}
    refused = {block.typed[0] for block in blocks(page) if block.kind == "console"}
    wrong = []
    for command in {tuple(words) for words in commands(page) if words[0] == "make"}:
        if shlex.join(command) in refused:
            continue  # the page shows the refusal, and test_docs_typed.py sees it
        done = subprocess.run(
            ["make", "-n", *command[1:]],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            wrong.append(f"{shlex.join(command)}: {done.stderr.strip()}")
    assert not wrong


def test_symbols_and_defconfigs_of_make(page):
    shown = " ".join(line for block in blocks(page) for line in block.printed)
    wrong = []
    for word in chain.from_iterable(words for words in commands(page) if words[0] == "make"):
        name, _, value = word.partition("=")
        if name == "SET":
            assigned = (part for part in shlex.split(value) if part[: part.find("=")])
            reasons = [reason_against(a) for a in assigned if a.split("=")[0] not in PLACEHOLDERS]
            wrong += [reason for reason in reasons if reason and reason.split(":")[0] not in shown]
        elif name == "SYM" and value not in {"", *tree().syms, *PLACEHOLDERS}:
            wrong.append(word)
        defconfig = value if name == "DEFCONFIG" else name.removeprefix("defconfig-")
        named = (name == "DEFCONFIG" and "/" not in value) or name.startswith("defconfig-")
        if named and defconfig not in ("", "name"):
            wrong += [] if (ROOT / "defconfigs" / defconfig).exists() else [word]
    assert not wrong


def test_programs_and_their_flags(page):
    wrong = []
    for _, *command in (words for words in commands(page) if words[0] == "python" and words[1:]):
        module = command[:1] == ["-m"]
        program = f"{command[1].replace('.', '/')}.py" if module else command[0]
        if program in ("name/train.py", "pytest.py", *TESTS) or program.startswith("-"):
            continue
        if program not in sources():
            wrong.append(program)
            continue
        shared = ["scripts/common.py", "lib/config/flags.py"]
        known = flags_in([program, *shared]) | {"--help"}
        known |= symbol_flags() if program.endswith("/train.py") else set()
        flags = (word.partition("=")[0] for word in command if word.startswith("--"))
        wrong += [f"{program} {flag}" for flag in flags if flag not in known]
    known = flags_in(python_files()) | symbol_flags() | {"--help"}
    for span in (span for span in spans(page) if span.startswith("--")):
        wrong += [span] if span.split()[0].partition("=")[0] not in known else []
    assert not wrong


def test_names_in_capitals(page):
    """A symbol with a value it can have, a name that make or our programs know, or a secret's."""
    wrong = []
    for span in spans(page):
        match = re.fullmatch(r"\$?([A-Z][A-Z0-9_]*[A-Z0-9])(?:=([^\s<…]+))?", span)
        if not match or match[1] in PLACEHOLDERS | EXAMPLES:
            continue
        name, value = match.groups()
        if name in tree().syms:
            value = value and value.strip("'\"")
            wrong += [reason for reason in [value and reason_against(f"{name}={value}")] if reason]
        elif name not in words() and not is_secret_name(name):
            wrong.append(span)
    assert not wrong


def test_links_and_files(page):
    links = re.findall(r"\]\(([^)#\s]+)", prose(page))
    wrong = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    made = {Path(path) for path in re.findall(r"> (\S+) <<", page.read_text())}  # by its commands
    folders = {path.parent for path in made} - {Path("defconfigs")}
    for code in all_code(page):
        for path in re.findall(r"(?<![\w/.<>-])[\w.-]+(?:/[\w.*-]+)+/?", code):
            known = list(ROOT.glob(path)) or Path(path) in made | folders
            known = known or Path(path).parent in folders
            if path.split("/")[0] in TOP - {"data", "outputs"} and not known:
                wrong.append(path)
    assert not wrong


def test_modules(page):
    """Each lib.x.y is there, down to the name."""
    wrong = []
    for code in all_code(page):
        for dotted in re.findall(
            rf"(?<![\w/.])(?:lib|scripts|benchmarks|{'|'.join(MODELS)})(?:\.\w+)+", code
        ):
            wrong += [] if exists(dotted) or (ROOT / dotted).exists() else [dotted]
    assert not wrong


def test_imports_and_calls(page):
    """Python blocks, and spans like `prefetch(batches, device)`, name what is defined here."""
    known = defined() | METHODS_OF_OTHERS | set(dir(builtins))
    called = [re.match(r"(?:\w+\.)*(\w+)\(", span) for span in spans(page)]
    wrong = [match[1] for match in called if match and match[1] not in known]
    for block in (block for block in blocks(page) if block.kind == "python"):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in TOP:
                names = (f"{node.module}.{alias.name}" for alias in node.names)
                wrong += [name for name in names if not exists(name)]
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                wrong += [] if name in known else [name]
    assert not wrong


def exists(dotted: str) -> bool:
    """Whether this is a module, or a name at the top of one."""
    path = ROOT / dotted.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module = path.parent / "__init__.py" if path.parent.is_dir() else path.parent.with_suffix(".py")
    name = re.escape(path.name)
    at_top = rf"^(?:(?:def|class) {name}\b|{name}\b.*=|(?:from .* import|__all__ =) .*\b{name}\b)"
    return module.is_file() and re.search(at_top, module.read_text(), re.M) is not None
