# SPDX-License-Identifier: MIT
"""Who may import whom, held by reading the imports of every file.

scripts → lib; <model>/train.py → its own package and lib. Never: lib → config.py, a model or
scripts; a model → another model. Tracker SDKs are imported by their backend alone, kconfiglib
by lib/config/tree.py alone, and a configuration target never reaches torch.
"""

import ast
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


# room of lib → rooms that it must not import
FORBIDDEN = {
    "config": {"runs", "train", "optim", "pruning", "data", "tracking"},
    "runs": {"train", "optim", "pruning", "data", "tracking"},
    "optim": {"config", "runs", "train", "data", "tracking"},
    "pruning": {"config", "runs", "train", "optim", "data", "tracking"},
    "data": {"runs", "tracking", "optim", "pruning"},
    "tracking": {"train", "optim", "pruning", "data"},
}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_no_room_of_lib_imports_a_room_above_it(room):
    above = {f"lib.{name}" for name in FORBIDDEN[room]}
    assert [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(f"lib/{room}")
        for line, module in imports(path)
        if ".".join(module.split(".")[:2]) in above
    ] == []


def test_only_the_backends_import_a_tracker_sdk():
    backends = ROOT / "lib" / "tracking" / "backends"
    others = [path for path in sources("lib", *MODELS) if backends not in path.parents]
    assert not offences(others, SDKS)


def test_kconfiglib_has_one_importer():
    others = [p for p in sources("lib", "scripts", *MODELS) if p != ROOT / "lib/config/tree.py"]
    assert not offences(others, {"kconfiglib", "menuconfig", "guiconfig"})


def test_configuration_does_not_import_torch():
    code = "import lib.config.tree, lib.config.settings, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
