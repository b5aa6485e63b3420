# SPDX-License-Identifier: MIT
"""Who may import whom, held by reading the imports of every file.

scripts → lib; <model>/train.py → its own package and lib. Never: lib → config.py, a model or
scripts; a model → another model. Tracker SDKs are imported by their backend alone, kconfiglib
by lib/config/tree.py and symbols.py alone, and a configuration target never reaches torch.

The rooms of lib/ stand on floors (BELOW): data, optim and pruning know nothing of runs and
trackers, runs know nothing of trackers, training starts their forwarder and knows no more of it.
What all rooms may use (errors, files, …) knows no room. No model is named in the
code of lib/ and scripts/: what a model is able to do is a symbol that it selects.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.config.trackers import TRACKERS

ROOT = Path(__file__).resolve().parent.parent
MODELS = sorted(path.parent.name for path in ROOT.glob("*/train.py"))
SDKS = {tracker.package for tracker in TRACKERS.values()}


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import in the file, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""


def offences(paths: list[Path], forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in paths
        for line, module in imports(path)
        if module.split(".")[0] in forbidden
    ]


def test_the_tree_is_read():
    assert "lenet5" in MODELS
    assert len(sources("lib")) >= 10


def test_lib_imports_neither_config_nor_models_nor_scripts():
    assert not offences(sources("lib"), {"config", "scripts", "benchmarks", "tests", *MODELS})


# The rooms that each room may import, apart from itself.
BELOW = {
    "config": set(),
    "data": set(),
    "pruning": set(),
    "optim": {"pruning"},
    "runs": {"config"},
    "tracking": {"config", "runs"},
    "train": {"config", "data", "optim", "pruning", "runs", "tracking"},
}
ROOMS = sorted(path.name for path in (ROOT / "lib").iterdir() if any(path.glob("*.py")))


def rooms_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, room) of every import of lib in the file."""
    tree = ast.parse(path.read_text(), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "lib":  # from lib import lock
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name in ROOMS)
    for line, module in imports(path):
        _, _, rest = module.partition("lib.")
        if module.startswith("lib.") and (room := rest.split(".")[0]) in ROOMS:
            yield line, room


def test_every_room_has_a_floor():
    assert set(BELOW) == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below(room):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports lib.{other}"
        for path in sources(f"lib/{room}")
        for line, other in rooms_of(path)
        if other not in BELOW[room] | {room}
    ]
    assert not wrong


def test_what_every_room_may_use_knows_no_room():
    above = sorted((ROOT / "lib").glob("*.py"))
    assert above
    assert [(path.name, found) for path in above for found in rooms_of(path)] == []


def test_training_knows_of_trackers_only_how_to_launch_them():
    """Their forwarder is a process of its own: nothing else of it may run in the training's."""
    found = {module for path in sources("lib/train", *MODELS) for _, module in imports(path)}
    assert {module for module in found if module.startswith("lib.tracking")} == {
        "lib.tracking.launch"
    }


# A model's name as a word of its own: gpt2, lenet5, GPT2_SIZE, --lenet5-augment, GPT-2.
# The tokenizer gpt2, and what is called after it, is a data format and no model.
TOKENIZER = ROOT / "lib" / "data" / "text" / "tokenizers.py"


def names_of_models(text: str) -> list[str]:
    """The lines of Python code, without comments and docstrings, that name a model."""
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    strings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None
    }
    spelt = (re.sub(r"(\d)", r"-?\1", name) for name in MODELS)  # gpt2 and GPT-2
    pattern = re.compile("|".join(rf"(?<![a-z0-9]){name}" for name in spelt), re.IGNORECASE)
    found = []
    for node in ast.walk(tree):
        words = [getattr(node, name, None) for name in ("id", "attr", "name", "arg", "module")]
        if isinstance(node, ast.Constant) and id(node) not in strings:
            words.append(node.value)
        for word in words:
            if isinstance(word, str) and pattern.search(word):
                found.append(f"{getattr(node, 'lineno', 0)}: {word}")
    return found


def test_a_name_of_a_model_is_found_in_code_alone():
    code = '"""About gpt2."""\nx = settings.GPT2_SIZE  # lenet5\ny = "--no-lenet5-augment"\n'
    code += 'z = "GPT-2"'
    assert [line.split(":")[0] for line in names_of_models(code)] == ["2", "3", "4"]


# The one default that make has to know: which defconfig a bare `make defconfig` starts from.
DEFAULT_DEFCONFIG = "scripts/config/change.py", "lenet5-digits"


def test_no_model_is_named_in_the_code_of_lib_and_scripts():
    found = [
        (str(path.relative_to(ROOT)), line)
        for path in sources("lib", "scripts")
        if path != TOKENIZER
        for line in names_of_models(path.read_text())
    ]
    file, default = DEFAULT_DEFCONFIG
    assert [
        (name, line) for name, line in found if (name, line.split(": ")[1]) != (file, default)
    ] == []


@pytest.mark.parametrize("model", MODELS)
def test_a_model_imports_no_other_model(model):
    others = set(MODELS) - {model}
    assert not offences(sources(model), {"config", "scripts", "benchmarks", "tests", *others})


def test_scripts_import_no_model():
    assert not offences(sources("scripts"), {"tests", "benchmarks", *MODELS})


def test_scripts_find_a_model_by_one_convention():
    """`make export` loads <model>/export.py, by the name of the model in the run's metadata."""
    dynamic = {
        path.relative_to(ROOT) for path in sources("scripts") if offences([path], {"importlib"})
    }
    assert dynamic == {Path("scripts/pruning/weights.py")}
    for path in ROOT.glob("*/export.py"):
        assert path.parent.name in MODELS
        functions = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
        assert "published" in {function.name for function in functions}


def test_only_the_backends_import_a_tracker_sdk():
    backends = ROOT / "lib" / "tracking" / "backends"
    others = [path for path in sources("lib", *MODELS) if backends not in path.parents]
    assert not offences(others, SDKS)


def test_kconfiglib_stays_behind_the_tree():
    behind = {ROOT / "lib" / "config" / name for name in ("symbols.py", "tree.py")}
    others = [path for path in sources("lib", "scripts", *MODELS) if path not in behind]
    assert not offences(others, {"kconfiglib", "menuconfig", "guiconfig"})


def test_configuration_does_not_import_torch():
    code = "import lib.config.tree, lib.config.settings, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
