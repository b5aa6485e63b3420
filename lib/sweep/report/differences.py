# SPDX-License-Identifier: MIT
"""Each configuration against a baseline with equal other parameters, paired by seed.

    found = differences(board, "arm=magnitude")
    found.rows[0].outcome.difference, found.rows[0].outcome.interval(0.95), found.rows[0].p_flip

The baseline of `arm=a TARGET_SPARSITY=0.9` is `arm=magnitude TARGET_SPARSITY=0.9`. A parameter that
the baseline does not have, since it has no effect there, need not be equal: all sparsities of a
method are compared with the one dense network.

The difference of two configurations is the mean over the seeds that both have, with its confidence
interval by Student's t. It is tested twice, two-sided: by the paired t-test, corrected by Holm's
method for all comparisons that were made, and by the exact sign-flip permutation test (Fisher
1935), which assumes no distribution: how many of all 2^n ways to swap the values of pairs give a
mean difference at least as large. Its smallest p is 2 / 2^n: 0.0625 for five seeds.
"""

import math
import shlex
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import BadUse, did_you_mean
from ...runs.compare.significance import Outcome, compare, holm
from .board import Board, Configuration, said, value_text

ALPHA = 0.05
_MOST_FLIPPED = 16  # seeds; 65,536 ways
_ROUNDING = 1e-9  # relative; a sum that is this much smaller is the same sum


@dataclass(frozen=True)
class Difference:
    """`row` minus `baseline` over `seeds`, those that both have. `p_flip` is the p-value of the
    sign-flip test, NaN where it was not made.
    """

    row: Configuration
    baseline: Configuration
    metric: int
    seeds: tuple[Hashable, ...]
    outcome: Outcome
    p_flip: float

    @property
    def lower(self) -> int:
        """On how many seeds the value is lower than that of the baseline."""
        return sum(difference < 0 for difference in self.pairs)

    @property
    def higher(self) -> int:
        """On how many seeds it is higher."""
        return sum(difference > 0 for difference in self.pairs)

    @property
    def pairs(self) -> list[float]:
        """The difference on each of `seeds`."""
        return pairs(self.row, self.baseline, self.metric, self.seeds)


@dataclass(frozen=True)
class Differences:
    """`rows` in the order of the board, for each metric; `tested` is how many tests Holm's
    correction is for; `notes` say which configurations could not be compared.
    """

    baseline: str
    rows: tuple[Difference, ...]
    tested: int
    notes: tuple[str, ...]


def differences(board: Board, baseline: str) -> Differences:
    """Against the configurations that `baseline`, as `arm=dense LEARNING_RATE=0.1`, names; a word
    alone is an arm.

    Raises BadUse for a parameter or a value that the sweep does not have.
    """
    fixed = _parsed(board, baseline)
    candidates = [row for row in board.rows if _fits(row, fixed)]
    if not candidates:
        raise BadUse(f"BASELINE={baseline}: no configuration has all of these at once")
    found, notes = [], []
    for row in board.rows:
        if row in candidates:
            continue
        partners = _partners(row, candidates, fixed)
        if len(partners) != 1:
            why = "several configurations" if partners else "no configuration"
            notes.append(f"{row.label}: {why} of the baseline with equal other parameters")
            continue
        for metric in range(len(board.sweep.metrics)):
            found.append(_difference(row, partners[0], metric))
    tested = [i for i, difference in enumerate(found) if difference.outcome.test]
    for i, p in zip(tested, holm([found[i].outcome.p for i in tested]), strict=True):
        outcome = replace(found[i].outcome, p_holm=p, significant=p < ALPHA)
        found[i] = replace(found[i], outcome=outcome)
    return Differences(baseline, tuple(found), len(tested), tuple(notes))


def sign_flip(differences: Sequence[float]) -> float:
    """The exact two-sided p-value of paired differences; NaN for none or more than 16."""
    import numpy as np

    n = len(differences)
    if not 0 < n <= _MOST_FLIPPED or not all(map(math.isfinite, differences)):
        return math.nan
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate((sums + difference, sums - difference))
    return float(np.mean(np.abs(sums) >= abs(sum(differences)) * (1 - _ROUNDING)))


def pairs(
    row: Configuration, baseline: Configuration, metric: int, seeds: Sequence[Hashable]
) -> list[float]:
    """The difference on each of `seeds`."""
    a, b = row.sample(metric), baseline.sample(metric)
    return [a[seed] - b[seed] for seed in seeds]


def _difference(row: Configuration, baseline: Configuration, metric: int) -> Difference:
    a, b = row.sample(metric), baseline.sample(metric)
    seeds = tuple(seed for seed in a if seed in b)
    if not seeds:
        outcome = Outcome(math.nan, why_not="no seed has a value in both")
        return Difference(row, baseline, metric, seeds, outcome, math.nan)
    outcome = compare({seed: b[seed] for seed in seeds}, {seed: a[seed] for seed in seeds})
    if len(seeds) < 2:
        outcome = replace(outcome, why_not="n = 1")
    flips = sign_flip(pairs(row, baseline, metric, seeds)) if len(seeds) > 1 else math.nan
    return Difference(row, baseline, metric, seeds, outcome, flips)


def _partners(
    row: Configuration, candidates: Sequence[Configuration], fixed: Mapping[str, Any]
) -> list[Configuration]:
    """The candidates whose other parameters are those of `row`; else those that lack some."""
    others = _without(row.params, fixed)
    exact = [c for c in candidates if _without(c.params, fixed) == others]
    return exact or [c for c in candidates if _without(c.params, fixed).items() <= others.items()]


def _without(params: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in names}


def _fits(row: Configuration, fixed: Mapping[str, Any]) -> bool:
    return all(name in row.params and row.params[name] == fixed[name] for name in fixed)


def _parsed(board: Board, baseline: str) -> dict[str, Any]:
    """The parameters that the text names, with the values that the sweep has."""
    try:
        words = shlex.split(baseline)
    except ValueError as error:
        raise BadUse(f"BASELINE={baseline}: {error}") from None
    fixed: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals and board.sweep.arms:
            name, text = "arm", word
        elif not equals:
            example = said(dict(list(board.rows[0].params.items())[:1])) if board.rows else "arm=a"
            raise BadUse(f'BASELINE={baseline}: {word} must be name=value, such as "{example}"')
        there = {value_text(r.params[name]): r.params[name] for r in board.rows if name in r.params}
        if not there:
            hint = did_you_mean(name, board.names) or f"; there are {', '.join(board.names)}"
            raise BadUse(f"BASELINE={baseline}: the sweep has no parameter {name}{hint}")
        wanted = [value for shown, value in there.items() if shown == text or _same(value, text)]
        if not wanted:
            hint = did_you_mean(text, there) or f"; there are {', '.join(there)}"
            raise BadUse(f"BASELINE={baseline}: {name} is never {text}{hint}")
        fixed[name] = wanted[0]
    if not fixed:
        raise BadUse('BASELINE is empty; give parameters of the baseline: BASELINE="arm=dense"')
    return fixed


def _same(value: Any, text: str) -> bool:
    """Whether the text is this number, written differently."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return float(text) == value
    except ValueError:
        return False
