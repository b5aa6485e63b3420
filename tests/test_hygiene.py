# SPDX-License-Identifier: MIT
"""What every file of the project has to carry, and what the README promises about the targets."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.models import MODELS, ROOT

SOURCES = (".py", ".sh", ".mk", ".awk")
NAMED = ("Makefile", "Kconfig", "requirements.txt", "constraints.txt")
FOLDERS = (".ci", "benchmarks", *MODELS, "lib", "scripts", "tests")


def source_files() -> list[Path]:
    inside = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))]
    candidates = [*inside, *ROOT.iterdir()]
    return [
        path
        for path in candidates
        if path.is_file()
        and path != ROOT / "config.py"
        and (path.suffix in SOURCES or path.name in NAMED or path.name.startswith("Kconfig"))
    ]


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_source_names_its_licence(path):
    head = path.read_text().splitlines()[:2]
    assert any("SPDX-License-Identifier: MIT" in line for line in head)


def test_every_requirement_is_pinned_and_explained():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    seen = set()
    for line in packages:
        name = re.match(r"([A-Za-z0-9_.-]+)(?:\[\w+\])?==[\w.]+", line)
        assert name, f"not pinned: {line}"
        if name[1] not in seen:
            assert "# " in line, f"not explained: {line}"
        seen.add(name[1])


def make(*arguments: str) -> str:
    command = ["make", "VENV=system", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_help_lists_the_targets_by_section():
    text = make("help")
    for target in ("train", "defconfig", "menuconfig", "runs", "check", "clean", "mrproper"):
        assert re.search(rf"^  {target} +\S", text, re.MULTILINE), target


def test_every_target_the_readme_names_exists():
    helped = set(re.findall(r"^  ([\w%<>-]+) ", make("help"), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z][\w-]*)", (ROOT / "README.md").read_text()))
    missing = {target for target in named if target not in helped and "defconfig-" not in target}
    assert not missing
