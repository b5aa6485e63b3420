# SPDX-License-Identifier: MIT
"""Say why variables on the make line are refused, and what to type instead. The Makefile calls it.

    python -m scripts.config.refuse "GOAL …" "TARGET=VARIABLE …" NAME=VALUE …

The second argument lists what each target takes. Needs no package, since it also answers before the
first install.
"""

import re
import shlex
import sys

from lib.config.synonyms import SYNONYMS
from lib.errors import near
from lib.files import ROOT

_CONFIG = re.compile(r"^\s*(?:menu)?config\s+(\w+)", re.MULTILINE)
_KCONFIG_FILES = ("Kconfig", "*/Kconfig*", "*/*/Kconfig*")


def explain(goals: list[str], takers: list[tuple[str, str]], name: str, value: str) -> str:
    """One line about the variable `name`, of no use to `goals`; `takers` are (target, variable)."""
    command = " ".join(["make", *(shlex.quote(goal) for goal in goals)])
    given = _quoted(value)
    taken = sorted({v for target, v in takers if any(_fits(target, goal) for goal in goals)})
    symbols = _symbols()
    if name in symbols:
        wanted = _quoted(f"{name}={shlex.quote(value) if value else ''}")
        cure = f"{command} SET={wanted}" if "SET" in taken else f"make setconfig SET={wanted}"
        return f"{name} is a symbol of the configuration: {cure}"
    elsewhere = sorted({target for target, v in takers if v == name})
    if elsewhere:
        if name in ("SET", "FRAGMENTS", "TRACKER"):
            return f"{name} has no effect here; first type: make setconfig {name}={given}"
        return f"{name} has no effect here; it is for make {', '.join(elsewhere)}"
    meant = near(name, taken, n=1)
    if meant:
        return f"there is no variable {name}: did you mean {meant[0]}={given}?"
    for match in near(name, symbols, 1, SYNONYMS):
        wanted = _quoted(f"{match}={shlex.quote(value) if value else ''}")
        cure = f"{command} SET={wanted}" if "SET" in taken else f"make setconfig SET={wanted}"
        return f"there is no variable {name}; for the symbol {match}: {cure}"
    allowed = f"takes {', '.join(taken)}" if taken else "takes no variables"
    return (
        f"there is no variable {name}: {command} {allowed}. A variable of the environment stands "
        f"before make: {name}={given} {command}"
    )


def _quoted(text: str) -> str:
    """`text` for a shell, in the double quotes that the documentation has where they do."""
    return f'"{text}"' if re.fullmatch(r"[\w.,:/+= -]+", text) else shlex.quote(text)


def _fits(target: str, goal: str) -> bool:
    prefix, percent, suffix = target.partition("%")
    return goal.startswith(prefix) and goal.endswith(suffix) if percent else goal == target


def _symbols() -> list[str]:
    files = (path for pattern in _KCONFIG_FILES for path in ROOT.glob(pattern))
    return [name for path in files for name in _CONFIG.findall(path.read_text(encoding="utf-8"))]


def main() -> None:
    goals, takers = sys.argv[1].split(), [tuple(word.split("=")) for word in sys.argv[2].split()]
    for variable in sys.argv[3:]:
        name, _, value = variable.partition("=")
        print(f"error: {explain(goals, takers, name, value)}")


if __name__ == "__main__":
    main()
