# SPDX-License-Identifier: MIT
"""The names and values in a sweep's description, as Kconfig knows them.

symbols = Symbols(sweep)            # raises ConfigError for what no cell can have
symbols.fixed, symbols.arms         # as assignments, with their places
symbols.axes, symbols.seeds         # with canonical values; with that of the defconfig
"""

from collections.abc import Mapping

from ..config import dotconfig
from ..config.assign import Rejected, Target, apply, resolve
from ..config.dotconfig import Assignment, ConfigError
from ..config.science import is_science
from ..config.tree import BOOL, INT, Symbol, Tree, Value, text_of
from ..runs.redact import redact_named
from .description import Sweep
from .distributions import Axis, Range, Values

ARM = "arm"
SEED = "SEED"
_HELD = {
    SEED: "give seeds: [1, 2] instead",
    "OUTPUT_DIR": "all runs of a sweep are where `make runs` looks",
    "TRACKER_RUN_NAME": "each run of a sweep is named after the sweep",
    "TRACKER_GROUP": "the group of the runs is the name of the sweep",
    "TRACKER_JOB_TYPE": "the job type of the runs is sweep",
}


class Symbols:
    """What `sweep` says, checked name by name and value by value, on one Kconfig tree."""

    def __init__(self, sweep: Sweep):
        self.tree = Tree()
        self._sweep = sweep
        self._problems: list[str] = []
        self._targets: dict[tuple[str, str], Target] = {}
        self._base = self._read_base()
        default_seed = int(self.tree.syms[SEED].str_value)
        self.seeds = sweep.seeds or (default_seed,)
        self.fixed = self._assignments(sweep.fixed, "set")
        self.arms = {n: self._assignments(of, "arms", n) for n, of in sweep.arms.items()}
        self.axes: dict[str, Axis] = {ARM: Values(tuple(sweep.arms))} if sweep.arms else {}
        for name, axis in sweep.axes.items():
            self.axes[name] = self._canonical(name, axis)
        if self._problems:
            raise ConfigError(self._problems)
        for seed in (min(self.seeds), max(self.seeds)):  # the range has no gaps
            apply(self.tree, [[self.seed(seed)]])

    def reset(self) -> None:
        """Give the tree the defconfig alone."""
        self.tree.unset_values()
        for symbol, value in self._base:
            symbol.set_value(value)

    def seed(self, seed: int) -> Assignment:
        """The assignment of a seed."""
        return Assignment(SEED, str(seed), self._sweep.place("seeds"))

    def target(self, assignment: Assignment) -> Target:
        """What an assignment, which `resolve` has taken before, sets."""
        key = assignment.name, assignment.value
        if key not in self._targets:
            self._targets[key] = resolve(self.tree, assignment)
        return self._targets[key]

    def typed(self, name: str, text: str) -> Value:
        """The value of an axis that is written as `text`."""
        if name == ARM:
            return text
        kind = self.tree.syms[name].orig_type
        if kind is BOOL:
            return text == "y"
        if kind is INT:
            return int(text)
        return float(text) if name in self.tree.intervals else text

    def is_integer(self, name: str) -> bool:
        """Whether the axis `name` has whole numbers."""
        return name != ARM and self.tree.syms[name].orig_type is INT

    # ------------------------------------------------------------------ checks

    def _read_base(self) -> list[Target]:
        """The defconfig: what it sets that is not a default. Raises ConfigError."""
        place = self._sweep.place("defconfig")
        assignments, problems = dotconfig.parse(self._sweep.defconfig_text, place)
        if problems:
            raise ConfigError(problems)
        apply(self.tree, [[a._replace(origin=place) for a in assignments]])
        self.tree.follow_defaults()
        minimal, _ = dotconfig.parse(self.tree.defconfig_text(), place)
        self._problems += [p for a in minimal if (p := self._secret(a))]
        return [resolve(self.tree, assignment) for assignment in minimal]

    def _secret(self, assignment: Assignment) -> str:
        if redact_named(assignment.name, assignment.value) == assignment.value:
            return ""
        return (
            f"{assignment.origin}: {assignment.name} holds a secret, and a sweep is kept where "
            "others may read it: give it in the environment, or to the tracker's login"
        )

    def _assignments(self, settings: Mapping[str, str], *path: str) -> list[Assignment]:
        """The settings with canonical values."""
        found = []
        for name, text in settings.items():
            assignment = Assignment(name, text, self._sweep.place(*path, name))
            if (symbol := self._check(assignment)) is not None:
                found.append(assignment._replace(value=self._text(assignment, symbol)))
        return found

    def _check(self, assignment: Assignment) -> Symbol | None:
        """The symbol that can hold the value; None, with the problem noted, if none can."""
        try:
            if assignment.name in _HELD:
                raise Rejected(f"is not for a sweep to set: {_HELD[assignment.name]}")
            symbol, _ = self.target(assignment)
        except Rejected as error:
            self._problems.append(f"{assignment.origin}: {assignment}: {error}")
            return None
        if problem := self._secret(assignment):
            self._problems.append(problem)
        return symbol

    def _text(self, assignment: Assignment, symbol: Symbol) -> str:
        """The value in the one way to write it; that of a choice is a word already."""
        chosen = assignment.name in self.tree.choice_options
        return assignment.value if chosen else self.target(assignment)[1]

    def _canonical(self, name: str, axis: Axis) -> Axis:
        place = self._sweep.place("axes", name)
        texts = axis.values if isinstance(axis, Values) else (text_of(axis.low), text_of(axis.high))
        if name in _HELD or name not in self.tree.syms:  # said once, not for each value
            texts = texts[:1]
        checked = [(a, self._check(a)) for a in (Assignment(name, text, place) for text in texts)]
        symbols = [symbol for _, symbol in checked if symbol is not None]
        if len(symbols) < len(checked):
            return axis
        if not is_science(name, self.tree.titles[symbols[0]]):
            self._problems.append(
                f"{place}: {name}: changes none of a run's numbers, so it cannot be an axis; it "
                "can be in set"
            )
        if isinstance(axis, Range):
            return self._canonical_range(name, axis, symbols[0], place)
        canonical = tuple(self._text(a, symbol) for a, symbol in checked)
        if len(set(canonical)) < len(canonical):
            self._problems.append(f"{place}: {name}: a value is there twice")
        return Values(canonical)

    def _canonical_range(self, name: str, axis: Range, symbol: Symbol, place: str) -> Range:
        """Whole numbers for an integer, floats for a real number."""
        if symbol.orig_type is INT:
            limits = [int(bound.str_value) for of in symbol.orig_ranges[:1] for bound in of[:2]]
            whole = axis.whole and (axis.step is None or type(axis.step) is int)
            if whole and (not limits or limits[0] <= axis.low < axis.high <= limits[1]):
                return axis
            self._problems.append(
                f"{place}: {name}: min and max must be integers in {self.tree.bounds(symbol)}, as "
                "must step"
            )
        elif name in self.tree.intervals:
            step = None if axis.step is None else float(axis.step)
            return Range(float(axis.low), float(axis.high), axis.log, step)
        else:
            self._problems.append(f"{place}: {name}: is not a number; give a list of values")
        return axis
