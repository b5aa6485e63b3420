# SPDX-License-Identifier: MIT
"""A copy of the project with one more model, which trains in an instant, for sweeps of it.

    tree = make_tree(folder)
    tree.write_sweep("grid", {"defconfig": "tiny", "axes": {…}, …})
    tree.popen("-m", "scripts.sweep.run", …)

The model is benchmarks/tiny. A sweep knows nothing of it: a folder, one `source` line and a
defconfig make a model (docs/adding-a-model.md).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lib.files import ROOT

_NEEDED = ("lib", "scripts", "defconfigs", "sweeps", "Makefile", "Kconfig", "requirements.txt")
_SOURCES = 'source "gpt2/Kconfig"\n'


class Tree(NamedTuple):
    """The copy in `root`, in whose environment nothing of the user's can play a part."""

    root: Path

    @property
    def output_dir(self) -> Path:
        return self.root / "outputs" / "training"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        return {**kept, "HOME": str(self.root), "OMP_NUM_THREADS": "1", "VENV": "system"}

    def write_sweep(self, name: str, description: Mapping[str, Any]) -> Path:
        """Write sweeps/NAME.yaml, a sweep of the tiny model."""
        path = self.root / "sweeps" / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"defconfig": "tiny", **description}, sort_keys=False))
        return path

    def popen(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        """`python ARGUMENTS` in a session of its own, its output in `said` of the copy."""
        with (self.root / "said").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.root, env={**self.environment, **variables},
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        """What all programs that were started have printed."""
        path = self.root / "said"
        return path.read_text(errors="replace") if path.exists() else ""


def make_tree(root: Path) -> Tree:
    """The copy, in the folder `root`, which is made."""
    root.mkdir(parents=True)
    models = [path.parent.name for path in ROOT.glob("*/train.py")]
    for name in (*_NEEDED, *models):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name)  # with what is compiled, which starts sooner
        elif source.exists():
            shutil.copy2(source, root / name)
    shutil.copytree(ROOT / "benchmarks" / "tiny", root / "tiny")
    kconfig = (root / "Kconfig").read_text()
    if _SOURCES not in kconfig:
        raise RuntimeError(f"Kconfig has no line {_SOURCES!r}")
    (root / "Kconfig").write_text(kconfig.replace(_SOURCES, f'{_SOURCES}source "tiny/Kconfig"\n'))
    tree = Tree(root)
    (root / "defconfigs" / "tiny").write_text("# The tiny model\nCONFIG_MODEL_TINY=y\n")
    (root / "sweeps").mkdir(exist_ok=True)
    return tree
