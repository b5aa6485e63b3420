# SPDX-License-Identifier: MIT
"""Say why variables and targets of make are refused, and what to type instead; for the Makefile.

    python -m scripts.config.refuse "GOAL …" "TARGET=VARIABLE …" NAME=VALUE …
    python -m scripts.config.refuse --target NAME MAKEFILE …    a target that does not exist

The second argument lists what each target takes. Needs no package: it also runs before the first
install.
"""

import re
import shlex
import sys
from difflib import get_close_matches
from pathlib import Path

from lib.config.synonyms import SYNONYMS
from lib.errors import near
from lib.files import ROOT

_CONFIG = re.compile(r"^\s*(?:menu)?config\s+(\w+)", re.MULTILINE)
_TARGET = re.compile(r"^([a-z][\w-]*):.*## ", re.MULTILINE)  # those that `make help` lists
_KCONFIG_FILES = ("Kconfig", "*/Kconfig*", "*/*/Kconfig*")


def explain(goals: list[str], takers: list[tuple[str, str]], name: str, value: str) -> str:
    """One line about the variable `name`, which `goals` do not take; `takers`: (target, variable).

    First what the name is, then what it may have been meant to be.
    """
    command = " ".join(["make", *(shlex.quote(goal) for goal in goals)])
    given = _quoted(value)
    taken = sorted({v for target, v in takers if any(_fits(target, goal) for goal in goals)})
    variables = {v for _, v in takers}
    symbols = _symbols()

    def setting(symbol: str) -> str:
        wanted = _quoted(f"{symbol}={shlex.quote(value) if value else ''}")
        return f"{command} SET={wanted}" if "SET" in taken else f"make setconfig SET={wanted}"

    def targets_of(variable: str) -> str:
        return ", ".join(sorted({target for target, v in takers if v == variable}))

    if name in symbols:
        return f"{name} is a symbol of the configuration: {setting(name)}"
    if name in ("SET", "FRAGMENTS", "TRACKER"):
        return f"{name} has no effect here; first type: make setconfig {name}={given}"
    if name in variables:
        return f"{name} has no effect here; it is for make {targets_of(name)}"
    if meant := near(name, taken, n=1):
        return f"there is no variable {name}: did you mean {meant[0]}={given}?"
    if meant := get_close_matches(name, variables, 1, cutoff=0.8):
        return f"there is no variable {name}; {meant[0]} is for make {targets_of(meant[0])}"
    if meant := near(name, symbols, 1, SYNONYMS):
        return f"there is no variable {name}; for the symbol {meant[0]}: {setting(meant[0])}"
    allowed = f"takes {', '.join(taken)}" if taken else "takes no variables"
    return (
        f"there is no variable {name}: {command} {allowed}. A variable of the environment goes "
        f"before make: {name}={given} {command}"
    )


def explain_target(name: str, makefiles: list[str]) -> str:
    """One line about the target `name`, which there is not."""
    texts = (Path(path).read_text(encoding="utf-8") for path in makefiles)
    targets = [target for text in texts for target in _TARGET.findall(text)]
    meant = near(name, targets)
    hint = f"did you mean make {' or make '.join(meant)}?" if meant else "`make help` lists them"
    return f"make has no target {name}: {hint}"


def _quoted(text: str) -> str:
    """`text` quoted for a shell, in double quotes where they suffice, as in the documentation."""
    return f'"{text}"' if re.fullmatch(r"[\w.,:/+= -]+", text) else shlex.quote(text)


def _fits(target: str, goal: str) -> bool:
    prefix, percent, suffix = target.partition("%")
    return goal.startswith(prefix) and goal.endswith(suffix) if percent else goal == target


def _symbols() -> list[str]:
    files = (path for pattern in _KCONFIG_FILES for path in ROOT.glob(pattern))
    return [name for path in files for name in _CONFIG.findall(path.read_text(encoding="utf-8"))]


def main() -> None:
    if sys.argv[1] == "--target":
        print(f"error: {explain_target(sys.argv[2], sys.argv[3:])}", file=sys.stderr)
        sys.exit(2)
    goals, takers = sys.argv[1].split(), [tuple(word.split("=")) for word in sys.argv[2].split()]
    for variable in sys.argv[3:]:
        name, _, value = variable.partition("=")
        print(f"error: {explain(goals, takers, name, value)}")


if __name__ == "__main__":
    main()
