# SPDX-License-Identifier: MIT
"""The runs that fit WHERE, in the order of SORT.

    names = Names(runs)                     # what may be asked for: fields, metrics, settings
    chosen = select(names, where="val/loss<3 and LEARNING_RATE>0.01", sort="-val/accuracy")
    names.column("val/loss:min").of(run)

A name is that of a field (fields.py), of a setting in capitals, or of a metric, with :last, :min,
:max or :mean if need be.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import Any

from ...errors import BadUse, near
from ..stored_run import HOW, StoredRun
from . import syntax
from .fields import FIELDS
from .values import comparer


@dataclass(frozen=True)
class Column:
    """A name that was found: `of` gives the value of a run, None when it has none.

    `kind` is one of the kinds of fields; a setting of several types is text.
    """

    name: str
    kind: str
    of: Callable[[StoredRun], Any]


class Names:
    """What can be asked of `runs`; each name is looked up once."""

    def __init__(self, runs: Sequence[StoredRun]) -> None:
        self.runs = runs
        self._columns: dict[str, Column] = {}

    def column(self, name: str) -> Column:
        """What `name` means. Raises BadUse, with near matches, when no run has it."""
        if name not in self._columns:
            self._columns[name] = self._find(name)
        return self._columns[name]

    def has_metric(self, name: str) -> bool:
        """Whether any run has logged the metric."""
        return any(name in run.summary for run in self.runs)

    def metrics(self) -> set[str]:
        """Every metric of the runs."""
        return {name for run in self.runs for name in run.metric_names}

    def settings(self) -> set[str]:
        """Every symbol of the runs' configurations."""
        return {name for run in self.runs for name in run.settings}

    def _find(self, name: str) -> Column:
        if name in FIELDS:
            return Column(name, FIELDS[name].kind, methodcaller("field", name))
        if name.isupper():
            symbol = name.removeprefix("CONFIG_")
            kinds = {_kind_of(run.setting(symbol)) for run in self.runs} - {""}
            if kinds:
                return _setting(name, symbol, kinds)
        base, _, how = name.rpartition(":")
        if self.has_metric(name) or (how in HOW and self.has_metric(base)):
            return Column(name, "number", methodcaller("value", name))
        if base and self.has_metric(base):
            raise BadUse(f"{name}: a metric has :last, :min, :max and :mean, not :{how}")
        kinds = {_kind_of(run.setting(name)) for run in self.runs} - {""}
        if kinds:  # of the configuration of a script, as optimizer.lr
            return _setting(name, name, kinds)
        known = [*FIELDS, *sorted(self.metrics()), *sorted(self.settings())]
        found = near(name, known)
        hint = f"did you mean {' or '.join(found)}?" if found else "docs/runs.md lists the fields"
        raise BadUse(f"no run has a field, metric or setting {name}; {hint}")


def _kind_of(value: Any) -> str:
    """The kind of a setting; empty of one that a run does not have."""
    if value is None:
        return ""
    return {bool: "flag", int: "number", float: "number"}.get(type(value), "text")


def _setting(name: str, symbol: str, kinds: set[str]) -> Column:
    if len(kinds) == 1:
        return Column(name, kinds.pop(), lambda run: run.setting(symbol))

    def as_text(run: StoredRun) -> str | None:
        value = run.setting(symbol)
        return None if value is None else str(value)

    return Column(name, "text", as_text)


def select(names: Names, where: str = "", sort: str = "") -> list[StoredRun]:
    """The runs of `names` that fit `where`, sorted; both may be empty. Raises BadUse."""
    tree = syntax.parse(where) if where.strip() else None
    keys, runs = sort.replace(",", " ").split(), names.runs
    if not runs:  # no name can be known
        return []
    if tree is not None:
        fits = _compile(tree, names, where)
        runs = [run for run in runs if fits(run)]
    for key in reversed(keys):
        runs = _sorted(runs, key, names)
    return list(runs)


def _compile(node: syntax.Node, names: Names, text: str) -> Callable[[StoredRun], bool]:
    """A function that says whether a run fits. Raises BadUse that points into `text`."""
    if isinstance(node, syntax.Not):
        of = _compile(node.of, names, text)
        return lambda run: not of(run)
    if isinstance(node, syntax.All):
        parts = [_compile(part, names, text) for part in node.parts]
        return lambda run: all(part(run) for part in parts)
    if isinstance(node, syntax.Any):
        parts = [_compile(part, names, text) for part in node.parts]
        return lambda run: any(part(run) for part in parts)
    return _compile_comparison(node, names, text)


def _compile_comparison(
    node: syntax.Comparison, names: Names, text: str
) -> Callable[[StoredRun], bool]:
    try:
        column = names.column(node.name)
    except BadUse as error:
        syntax.fail("WHERE", text, node.at, str(error))
    of = column.of
    if not node.operator:  # False, too: `kept`
        return lambda run: bool(of(run)) or type(of(run)) in (int, float)
    try:
        fits = comparer(column.kind, node.operator, node.value)
    except ValueError as error:
        syntax.fail("WHERE", text, node.value_at, f"{node.name}: {error}")
    return lambda run: fits(of(run))


def _sorted(runs: Sequence[StoredRun], key: str, names: Names) -> list[StoredRun]:
    """By one name of SORT, largest first with - before it; equal ones stay in their order.

    What has no value, or NaN, is last either way.
    """
    is_down = key.startswith("-")
    try:
        of = names.column(key.removeprefix("-")).of
    except BadUse as error:
        raise BadUse(f"SORT={key}: {error}") from None
    pairs = [(of(run), run) for run in runs]
    has = [(value, run) for value, run in pairs if not _is_missing(value)]
    has.sort(key=lambda pair: _comparable(pair[0]), reverse=is_down)
    return [run for _, run in has] + [run for value, run in pairs if _is_missing(value)]


def _is_missing(value: Any) -> bool:
    return value is None or value == [] or (isinstance(value, float) and math.isnan(value))


def _comparable(value: Any) -> Any:
    if isinstance(value, str):
        return value.casefold()
    return [item.casefold() for item in value] if isinstance(value, list) else value
