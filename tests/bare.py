# SPDX-License-Identifier: MIT
"""A virtual environment in which only some packages of this one are found, with what they need.

Nothing is copied or downloaded: their folders are linked.
"""

import re
import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path


def closure(names: Iterable[str]) -> list[Distribution]:
    """The distributions `names`, and what these require here, without their extras."""
    found: dict[str, Distribution] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name.lower() in found:
            continue
        try:
            found[name.lower()] = dist = distribution(name)
        except PackageNotFoundError:  # for another platform, as the CUDA packages of torch
            continue
        lines = [line for line in dist.requires or [] if "extra ==" not in line]
        todo += [re.match(r"[\w.-]+", line)[0] for line in lines]
    return list(found.values())


def bare_environment(folder: Path, names: Iterable[str]) -> Path:
    """Make it in `folder`; returns its Python."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    for dist in closure(names):
        tops = {file.parts[0] for file in dist.files or () if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            source = Path(dist.locate_file(top))
            if source.exists() and not (Path(site) / top).exists():
                (Path(site) / top).symlink_to(source)
    return python


def install(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pip of this environment, at work in the other one, without the network."""
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "-q"]
    return subprocess.run(
        [*command, "--no-build-isolation", "--no-deps", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
