# SPDX-License-Identifier: MIT
"""Reading sweeps/NAME.yaml.

    sweep = read_sweep("some-sweep")        # or a path

Every problem is said with its file and line, all at once. Values stay as they are written: Kconfig,
and not YAML, knows whether 1e-3 is a number or 010 a word.
"""

from pathlib import Path
from typing import Any

import yaml

from ..config import config_yaml, dotconfig
from ..config.defconfigs import find_defconfig
from ..config.dotconfig import ConfigError, shorten
from ..config.tree import PREFIX
from ..errors import BadUse, did_you_mean
from ..files import ROOT
from ..safe_yaml import load_nodes
from .description import Sweep, sweep_of

SWEEPS = ROOT / "sweeps"
_ENDING = ".yaml"
_BOOL, _NULL = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"
_TRUE = ("true", "yes", "on")

Places = dict[tuple[str, ...], str]


def sweep_files() -> list[Path]:
    """The files of the ready sweeps, sorted by name."""
    return sorted(SWEEPS.glob(f"*{_ENDING}"))


def read_sweep(given: str | Path) -> Sweep:
    """The sweep `given`: a name in sweeps/, or the path of a file.

    Raises BadUse, with near matches, when there is none, and ConfigError with all that is wrong in
    the file.
    """
    path = _find(str(given))
    try:
        node = load_nodes(path)
    except OSError as error:
        raise BadUse(f"{_short(path)}: {error.strerror}") from None
    except ValueError as error:
        raise BadUse(str(error).replace(str(path), _short(path))) from None
    problems: list[str] = []
    places: Places = {}
    plain = _plain(node, (), _short(path), places, problems)
    if problems:
        raise ConfigError(problems)
    if not isinstance(plain, dict):
        raise BadUse(f"{_short(path)}: not a mapping: see docs/sweeps.md")
    text = _defconfig_text(plain.pop("defconfig", None), places.get(("defconfig",), _short(path)))
    places.setdefault((), _short(path))
    return sweep_of(plain, path.name.removesuffix(_ENDING), text, places)


def _find(given: str) -> Path:
    named = "/" not in given and not given.endswith(_ENDING)
    path = SWEEPS / f"{given}{_ENDING}" if named else Path(given)
    try:
        if given and path.is_file():
            return path
    except (OSError, ValueError):  # too long for a file system, or with a NUL in it
        pass
    if not named:
        raise BadUse(f"SWEEP={shorten(given)}: there is no such file")
    names = [file.name.removesuffix(_ENDING) for file in sweep_files()]
    hint = did_you_mean(given, names) or f"; there are {', '.join(names) or 'none'}"
    if not given:
        raise BadUse(f"which sweep? SWEEP=NAME{hint}")
    raise BadUse(f"SWEEP={shorten(given)}: no such sweep in {SWEEPS.name}/{hint}")


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _plain(
    node: yaml.Node | None, path: tuple[str, ...], file: str, places: Places, problems: list[str]
) -> Any:
    """The node as dict, list, text, bool or None; the places of all keys are noted."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag == _BOOL:
            return node.value.lower() in _TRUE
        return None if node.tag == _NULL else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, path, file, places, problems) for item in node.value]
    found: dict[str, Any] = {}
    for key, value in node.value if node else ():
        place = f"{file}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            problems.append(f"{place}: a name is missing before the colon")
        elif key.value in found:
            problems.append(f"{place}: {shorten(key.value)} is there twice")
        else:
            places[(*path, key.value)] = place
            found[key.value] = _plain(value, (*path, key.value), file, places, problems)
    return found


def _defconfig_text(given: Any, place: str) -> str:
    """The assignments of the defconfig `given`, without comments. Raises BadUse."""
    if not isinstance(given, str):
        raise BadUse(f"{place}: defconfig is missing: defconfig: NAME (make list-defconfigs)")
    try:
        path = find_defconfig(given)
    except BadUse as error:
        raise BadUse(f"{place}: {error}") from None
    if path.suffix in config_yaml.SUFFIXES:
        raise BadUse(
            f"{place}: {given} is YAML, a defconfig is wanted: "
            f"make defconfig DEFCONFIG={given} and make savedefconfig write one"
        )
    assignments, problems = dotconfig.read(path, _short(path))
    if problems:
        raise ConfigError(problems)
    return "".join(_line(assignment) for assignment in assignments)


def _line(assignment: dotconfig.Assignment) -> str:
    if assignment.quoted:
        return f'{PREFIX}{assignment.name}="{dotconfig.escape(assignment.value)}"\n'
    return f"{PREFIX}{assignment.name}={assignment.value}\n"
