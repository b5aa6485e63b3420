# SPDX-License-Identifier: MIT
"""Whether two groups of runs differ by more than their seeds do.

    outcomes = against_first([{0: 0.21, 1: 0.20}, {0: 0.25, 1: 0.24}], alpha=0.05)
    outcomes[0].test, outcomes[0].p_holm, outcomes[0].significant

The seed is the unit: each sample is {seed: value}. Two rows with the same seeds are compared by a
paired t-test, which takes out what a seed does to both; any other two by Welch's t-test, which does
not assume equal variances. Which one it is depends on the seeds alone, never on the values. Both
are two-sided. The p-values of all rows are corrected by Holm's method: against a row chosen
beforehand, the probability of calling any row different that is not is at most alpha.

Both tests assume that the means over seeds are about normal. The leading row of a leaderboard is
chosen by its values, which favours it: close rows deserve new seeds.

Sources: Student (1908) and Welch (1947), Biometrika; Holm (1979), Scandinavian Journal of
Statistics 6, 65-70.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from .student import quantile, two_sided

Sample = Mapping[Hashable, float]  # seed → value

PAIRED, WELCH = "paired t-test", "Welch's t-test"
_NO_SPREAD = 1e-12  # a spread below this part of the values is rounding


@dataclass(frozen=True)
class Outcome:
    """The comparison of a row with the first one.

    `difference` is the mean of the row minus that of the first, `error` its standard error. Where
    nothing could be tested, `test` is empty, `why_not` says why, and all numbers but the difference
    are NaN.
    """

    difference: float
    test: str = ""
    why_not: str = ""
    error: float = math.nan
    statistic: float = math.nan
    df: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    significant: bool = False

    def interval(self, level: float) -> tuple[float, float]:
        """The confidence interval of the difference, for this row alone; NaN if not tested."""
        if not self.test:
            return math.nan, math.nan
        reach = self.error * quantile(level, self.df)
        return self.difference - reach, self.difference + reach


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; NaN if a value is NaN, or if infinities cancel out."""
    try:
        return math.fsum(values) / len(values)
    except (OverflowError, ValueError):
        return float(sum(values)) / len(values)


def std(values: Sequence[float]) -> float:
    """The sample standard deviation (n - 1); NaN for fewer than two values."""
    if len(values) < 2:
        return math.nan
    centre = mean(values)
    if not math.isfinite(centre):
        return math.nan
    return math.hypot(*(value - centre for value in values)) / math.sqrt(len(values) - 1)


def mean_interval(values: Sequence[float], level: float) -> tuple[float, float]:
    """The confidence interval of the mean at `level`, by Student's t; NaN for n < 2."""
    if len(values) < 2:
        return math.nan, math.nan
    centre, error = mean(values), std(values) / math.sqrt(len(values))
    reach = error * quantile(level, len(values) - 1)
    return centre - reach, centre + reach


def against_first(samples: Sequence[Sample], alpha: float) -> list[Outcome]:
    """Each sample but the first, compared with the first; corrected for all of them together."""
    first, *others = samples
    outcomes = [compare(first, other) for other in others]
    tested = [i for i, outcome in enumerate(outcomes) if outcome.test]
    corrected = holm([outcomes[i].p for i in tested])
    for i, p in zip(tested, corrected, strict=True):
        outcomes[i] = replace(outcomes[i], p_holm=p, significant=p < alpha)
    return outcomes


def compare(first: Sample, other: Sample) -> Outcome:
    """The test of one sample against the first; without the correction."""
    difference = mean(list(other.values())) - mean(list(first.values()))
    least = min(len(first), len(other))
    if least < 2:
        row = "the first row" if len(first) < 2 else "this row"
        return Outcome(difference, why_not=f"n = {least} in {row}")
    if not all(map(math.isfinite, [*first.values(), *other.values()])):
        return Outcome(difference, why_not="a value is not finite")
    paired = first.keys() == other.keys()
    error, df = _paired(first, other) if paired else _welch(first, other)
    size = max(abs(value) for value in [*first.values(), *other.values()])
    if error <= _NO_SPREAD * size:
        return Outcome(difference, why_not="no spread between the seeds")
    t = difference / error
    test = PAIRED if paired else WELCH
    return Outcome(difference, test, statistic=t, df=df, error=error, p=two_sided(t, df))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the i-th smallest of m p-values times m - i + 1, never falling.

    Each result may be compared with alpha itself.
    """
    corrected, largest = [math.nan] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, ps[i] * (len(ps) - rank)))
        corrected[i] = largest
    return corrected


def _paired(first: Sample, other: Sample) -> tuple[float, float]:
    """(standard error of the mean difference, degrees of freedom)"""
    differences = [other[seed] - first[seed] for seed in first]
    return std(differences) / math.sqrt(len(differences)), len(differences) - 1


def _welch(first: Sample, other: Sample) -> tuple[float, float]:
    """(standard error of the difference of means, degrees of freedom by Welch and Satterthwaite)"""
    a, b = (std(list(s.values())) / math.sqrt(len(s)) for s in (first, other))
    error = math.hypot(a, b)
    if error == 0:
        return 0.0, 1.0
    share = (a / error) ** 2  # of the variance
    return error, 1 / (share**2 / (len(first) - 1) + (1 - share) ** 2 / (len(other) - 1))
