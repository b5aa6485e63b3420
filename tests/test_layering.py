# SPDX-License-Identifier: MIT
"""Who may import whom, held by reading the imports of every file.

scripts → lib; <model>/train.py → its own package and lib. Never: lib → config.py, a model or
scripts; a model → another model. Tracker SDKs are imported by their backend alone, kconfiglib
by lib/config/tree.py and symbols.py alone, and a configuration target never reaches torch.

The rooms of lib/ stand on floors (BELOW): data, optim and pruning know nothing of runs and
trackers, runs know nothing of trackers, training starts their forwarder and knows no more of it.
What all rooms may use (errors, files, …) knows no room. No model is named in lib/ and scripts/:
what a model can do is a symbol that it selects.
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
        elif isinstance(node, ast.ImportFrom):
            module = absolute(node, path)
            yield node.lineno, module
            if module == "lib" or node.module is None:  # from . import module
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def absolute(node: ast.ImportFrom, path: Path) -> str:
    """The module that is imported from; lib/ imports its own by relative names."""
    folders = path.relative_to(ROOT).parent.parts
    above = folders[: len(folders) + 1 - node.level] if node.level else ()
    return ".".join([*above, *filter(None, [node.module])])


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
    "api": {"config", "optim", "pruning", "runs", "tracking", "train"},
    "config": set(),
    "data": set(),
    "huggingface": {"config", "data", "runs", "train"},
    "pruning": set(),
    "optim": {"pruning"},
    "runs": {"config"},
    "tracking": {"config", "runs"},
    "registry": {"config", "data", "runs", "tracking", "train"},
    "sweep": {"config", "runs", "tracking"},
    "train": {"config", "data", "optim", "pruning", "runs", "tracking"},
}
ROOMS = sorted(path.name for path in (ROOT / "lib").iterdir() if any(path.glob("*.py")))


def rooms_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, room) of every import of lib in the file."""
    for line, module in imports(path):
        _, _, rest = module.partition("lib.")
        if module.startswith("lib.") and (room := rest.split(".")[0]) in ROOMS:
            yield line, room


def test_relative_imports_are_resolved():
    """lib/ is installed under another name (pyproject.toml), so nothing in it says `lib.`"""
    found = {module for _, module in imports(ROOT / "lib" / "tracking" / "launch.py")}
    assert {"lib.config.trackers", "lib.files", "lib.tracking.cursor"} <= found
    named = [
        path for path in sources("lib") if re.search(r"^ *(from|import) lib\b", code(path), re.M)
    ]
    assert not named


def code(path: Path) -> str:
    """The file without its module docstring, which may show how others import it."""
    text = path.read_text()
    return text.replace(ast.get_docstring(ast.parse(text), clean=False) or "\0", "")


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
    face = ROOT / "lib" / "__init__.py"  # the names of the package, imported when they are used
    above = sorted({*(ROOT / "lib").glob("*.py")} - {face})
    assert above
    assert [(path.name, found) for path in above for found in rooms_of(path)] == []


def test_training_knows_of_trackers_only_how_to_launch_them():
    """Their forwarder is a process of its own: nothing else of it may run in the training's."""
    found = {module for path in sources("lib/train", *MODELS) for _, module in imports(path)}
    assert {module for module in found if module.startswith("lib.tracking")} == {
        "lib.tracking.launch"
    }


# The tokenizer gpt2, and what is called after it, is a data format and no model.
OF_THE_TOKENIZER = {Path("lib/data/text/tokenizers.py"), Path("lib/data/text/Kconfig")}
# The one default that make has to know: which defconfig a bare `make defconfig` starts from.
DEFAULT_DEFCONFIG = "lenet5-digits"


def names_of_models(text: str) -> list[str]:
    """The lines that name a model: gpt2, lenet5, GPT2_SIZE, --lenet5-augment, GPT-2."""
    spelt = (re.sub(r"(\d)", r"-?\1", name) for name in MODELS)
    pattern = re.compile("|".join(rf"(?<![a-z0-9]){name}" for name in spelt), re.IGNORECASE)
    return [line for line in text.splitlines() if pattern.search(line)]


def test_names_of_models_are_found():
    lines = ["settings.GPT2_SIZE", "--no-lenet5-augment", "# a GPT-2 of 6 layers", "LeNet-5"]
    assert names_of_models("\n".join([*lines, "let_net5 = gpt"])) == lines


def test_lib_and_scripts_name_no_model():
    """Neither in code nor in comments and help texts."""
    files = [path for folder in ("lib", "scripts") for path in (ROOT / folder).rglob("*")]
    texts = {
        path.relative_to(ROOT): path.read_text().replace(DEFAULT_DEFCONFIG, "")
        for path in files
        if path.is_file() and path.suffix != ".pyc"
    }
    found = {path: names_of_models(text) for path, text in texts.items()}
    assert {path for path, lines in found.items() if lines} == OF_THE_TOKENIZER


@pytest.mark.parametrize("model", MODELS)
def test_a_model_imports_no_other_model(model):
    others = set(MODELS) - {model}
    assert not offences(sources(model), {"config", "scripts", "benchmarks", "tests", *others})


def test_scripts_import_no_model():
    assert not offences(sources("scripts"), {"tests", "benchmarks", *MODELS})


def test_scripts_find_a_model_by_one_convention():
    """`make export` and `make register` load <model>/export.py, by the model in the metadata."""
    dynamic = {
        path.relative_to(ROOT) for path in sources("scripts") if offences([path], {"importlib"})
    }
    assert dynamic == {Path("scripts/pruning/weights.py"), Path("scripts/train/profile.py")}
    for path in ROOT.glob("*/export.py"):
        assert path.parent.name in MODELS
        functions = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
        assert "program" in {function.name for function in functions}


def test_only_the_backends_and_the_registry_import_a_tracker_sdk():
    backends = ROOT / "lib" / "tracking" / "backends"
    registry = ROOT / "lib" / "registry"  # no training imports it
    others = [
        path
        for path in sources("lib", *MODELS)
        if backends not in path.parents and registry not in path.parents
    ]
    assert not offences(others, SDKS)


def test_kconfiglib_stays_behind_the_tree():
    behind = {ROOT / "lib" / "config" / name for name in ("symbols.py", "tree.py")}
    others = [path for path in sources("lib", "scripts", *MODELS) if path not in behind]
    assert not offences(others, {"kconfiglib", "menuconfig", "guiconfig"})


def test_configuration_does_not_import_torch():
    code = "import lib.config.tree, lib.config.settings, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
