# SPDX-License-Identifier: MIT
"""How much of the spread of the metric each parameter explains, by Optuna's evaluators.

    found = importances(board)
    found.shares, found.evaluator       # {"LEARNING_RATE": 0.8, "seed": 0.1, …}, "fANOVA"
    found.why_not                       # where it would say nothing

The seed is one of the parameters where there are several: what is less important than the seed is
lost in the noise. Only parameters that every trial has can be compared, and only trials with a
finite value, whether they are feasible or not.

Sources: fANOVA, Hutter et al. 2014 (ICML); PED-ANOVA, Watanabe et al. 2023 (IJCAI), for many
trials, since it takes no forest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .board import COMPLETE, Board
from .scale import Scale, scales

if TYPE_CHECKING:
    import optuna

FEWEST_TRIALS = 10
_MOST_FOR_FANOVA = 1000
SEED = "seed"


@dataclass(frozen=True)
class Importances:
    """`shares` add up to 1, the largest first; empty where `why_not` says why there are none."""

    shares: Mapping[str, float] = field(default_factory=dict)
    evaluator: str = ""
    trials: int = 0
    left_out: Sequence[str] = ()
    why_not: str = ""


def importances(board: Board) -> Importances:
    """Of the only metric of the sweep."""
    if len(board.sweep.metrics) > 1:
        return Importances(why_not="there are two metrics")
    trials = [t for t in board.trials if t.state == COMPLETE and math.isfinite(t.values[0])]
    if len(trials) < FEWEST_TRIALS:
        return Importances(
            why_not=f"{len(trials)} trials have a value, at least {FEWEST_TRIALS} are needed"
        )
    points = [{**trial.params, SEED: trial.seed} for trial in trials]
    common = [name for name in [*board.names, SEED] if all(name in point for point in points)]
    found = scales(board, points, common)
    varied = {name: scale for name, scale in found.items() if len(scale.values) > 1}
    if len(varied) < 2:
        return Importances(why_not="fewer than two parameters vary in every trial")
    values = [trial.values[0] for trial in trials]
    if len(set(values)) < 2:
        return Importances(why_not="all values are equal")
    shares, evaluator = _evaluated(varied, points, values, board.sweep.metrics[0].goal)
    left_out = tuple(name for name in board.names if name not in common)
    return Importances(shares, evaluator, len(trials), left_out)


def _evaluated(
    varied: Mapping[str, Scale],
    points: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    goal: str,
) -> tuple[dict[str, float], str]:
    """The shares by a study in memory that has these trials: the stored one may hold more."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction=goal)
        distributions = {name: _distribution(scale) for name, scale in varied.items()}
        for point, value in zip(points, values, strict=True):
            params = {name: varied[name].typed(point[name]) for name in varied}
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=distributions, value=value)
            )
        few = len(points) <= _MOST_FOR_FANOVA
        evaluators = optuna.importance
        evaluator = (
            evaluators.FanovaImportanceEvaluator(seed=0)
            if few
            else evaluators.PedAnovaImportanceEvaluator()
        )
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(before)
    evaluator = "fANOVA" if few else "PED-ANOVA"
    return {name: float(share) for name, share in shares.items()}, evaluator


def _distribution(scale: Scale) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not scale.numeric:
        return CategoricalDistribution(tuple(scale.values))
    return FloatDistribution(min(scale.values), max(scale.values), log=scale.log)
