# SPDX-License-Identifier: MIT
"""The configurations to start from: the files in defconfigs/, as `make savedefconfig` writes them.

find_defconfig("some-name")             # defconfigs/some-name
"""

from contextlib import suppress
from pathlib import Path

from ..errors import BadUse, near
from ..files import ROOT
from .dotconfig import shorten

DEFCONFIGS = ROOT / "defconfigs"


def find_defconfig(name: str, folder: Path = DEFCONFIGS) -> Path:
    """The file of a defconfig: a name in `folder`, or any path with a slash in it.

    Raises BadUse, with near matches.
    """
    path = Path(name) if "/" in name else folder / name
    with suppress(OSError, ValueError):  # too long for the file system, or with a NUL in it
        if path.is_file() and name.strip("."):
            return path
    names = sorted(entry.name for entry in folder.iterdir())
    meant = near(name, names)
    hint = f"did you mean {' or '.join(meant)}?" if meant else f"there are {', '.join(names)}"
    raise BadUse(f"no defconfig `{shorten(name)}`: {hint} (make list-defconfigs)")
