# SPDX-License-Identifier: MIT
"""Command line flags of a training program, made from the Kconfig symbols of its model.

LEARNING_RATE becomes --learning-rate, a bool --plots and --no-plots, a choice one flag
(--optimizer adamw). The flags only carry text: Kconfig checks the values.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from ..errors import BadUse, did_you_mean
from .dotconfig import Assignment, shorten
from .symbols import conditions, menus, prompt_of, selectors, unmet
from .synonyms import SYNONYMS
from .trackers import WORDS, tracker_assignments
from .tree import BOOL, Symbol, Tree, text_of


class Flags(NamedTuple):
    """What a command line asks for."""

    config: Path | None
    resume: str | None  # a run, a checkpoint, or "auto"
    tracker: list[Assignment]
    assignments: list[Assignment]


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong as BadUse, with near matches for unknown flags."""

    def error(self, message: str) -> NoReturn:
        raise BadUse(f"{message}\n       `{self.prog} --help` lists the flags")

    def parse_strictly(self, argv: Sequence[str]) -> argparse.Namespace:
        options, unknown = self.parse_known_args(argv)
        for word in unknown:
            flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
            hint = did_you_mean(word.split("=")[0], flags, 3, SYNONYMS)
            self.error(f"unknown argument {shorten(word)}{hint}")
        return options


def parse_flags(tree: Tree, model: str, argv: Sequence[str]) -> Flags:
    """Parse `argv`. Raises BadUse; exits 0 after --help.

    `tree` must have `model` selected, so that its defaults are shown.
    """
    parser = _parser(tree, model)
    if list(argv) != sys.argv[1:]:  # of another program: a notebook's kernel, say
        parser.prog = f"{model}/train.py"
    options = vars(parser.parse_strictly(argv))
    config, resume, tracker = (options.pop(name) for name in ("config", "resume", "tracker"))
    assignments = [
        Assignment(name, text_of(value), f"flag {flag_of(name)}") for name, value in options.items()
    ]
    enabled = tracker_assignments(tracker, "flag --tracker") if tracker is not None else []
    return Flags(config, resume, enabled, assignments)


def config_flag(argv: Sequence[str]) -> Path | None:
    """What `--config` in `argv` names, whatever other flags there are."""
    parser = _Parser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--config", type=Path, default=None)
    return parser.parse_known_args(argv)[0].config


def _parser(tree: Tree, model: str) -> _Parser:
    parser = _Parser(
        usage="%(prog)s [--config PATH | --resume RUN] [--tracker WORDS] [--SYMBOL VALUE …]",
        description="Flags override the values in config.py, which `make defconfig` and `make "
        "menuconfig` write. `make helpconfig SYM=NAME` explains a symbol.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="PATH",
        type=Path,
        default=None,
        help="a .config file, instead of config.py",
    )
    parser.add_argument(
        "--resume",
        metavar="RUN",
        default=None,
        help="go on with this run, by name, path or checkpoint file, and with its configuration; "
        "auto: with the run of this launch if there is one",
    )
    parser.add_argument(
        "--tracker",
        metavar="WORDS",
        default=None,
        help=f"trackers to use: {', '.join(sorted(WORDS))}",
    )
    groups = {}
    for symbol in tree.settable:
        if _belongs_to_another(tree, symbol, model):
            continue
        title = " / ".join(menus(symbol))
        group = groups.get(title) or groups.setdefault(title, parser.add_argument_group(title))
        _add_flag(tree, symbol, group)
    return parser


def _belongs_to_another(tree: Tree, symbol: Symbol, model: str) -> bool:
    """Whether `symbol` needs another model, or a capability that only other models have."""
    models = tree.choice_options["MODEL"]
    needed = {part for part in conditions(symbol) if isinstance(part, Symbol)}
    selected_by = [{part, *selectors(part)} & set(models.values()) for part in needed]
    return symbol in models.values() or any(by and models[model] not in by for by in selected_by)


def _add_flag(tree: Tree, symbol: Symbol, group: argparse._ArgumentGroup) -> None:
    name, text, needs = symbol.name, prompt_of(symbol), unmet(symbol)
    options: dict = {"metavar": "TEXT"}
    if symbol.choice:
        if symbol is not symbol.choice.syms[0]:
            return
        name, options = tree.public_name(symbol), {"metavar": "NAME"}
        text += f": {', '.join(tree.choice_names[member][1] for member in symbol.choice.syms)}"
    elif symbol.orig_type is BOOL:
        options = {"action": argparse.BooleanOptionalAction}
    elif bounds := tree.bounds(symbol):
        options, text = {"metavar": "N"}, f"{text}, in {bounds}"
    details = f"default {tree.default_text(symbol) or 'empty'}"
    if needs:
        details += f"; needs {', '.join(needs)}"
    help_text = f"{text} ({details})".replace("%", "%%")
    group.add_argument(flag_of(name), dest=name, help=help_text, **options)


def flag_of(name: str) -> str:
    """The flag of a symbol: LEARNING_RATE has --learning-rate."""
    return f"--{name.lower().replace('_', '-')}"
