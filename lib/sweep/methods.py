# SPDX-License-Identifier: MIT
"""Search methods, pruners and constraints: Optuna's, by the names of a sweep's file.

    sampler(sweep, seed, draw)         # for the suggestion number `draw` alone
    pruner(sweep)
    violations(sweep, facts)           # {constraint: how far it is broken, at most 0 if it holds}

Each suggestion has a sampler of its own, seeded by the sweep and the number of the suggestion. It
reads everything else from the database: so a search that was killed goes on as if it had not been,
and two workers never draw the same numbers.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

    from .description import Sweep

_MOST = 2**31


def _tpe(sweep: Sweep, seed: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    # Running trials count as bad ones, so that workers side by side do not try the same spot.
    return TPESampler(seed=seed, constant_liar=True)


def _gp(sweep: Sweep, seed: int) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, warn_independent_sampling=False)


def _cmaes(sweep: Sweep, seed: int) -> BaseSampler:
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(seed=seed, warn_independent_sampling=False)


def _nsga2(sweep: Sweep, seed: int) -> BaseSampler:
    from optuna.samplers import NSGAIISampler

    # Optuna's 50 would make a small budget a random search: at least five generations.
    population = min(50, max(4, (sweep.trials or 0) // 5))
    return NSGAIISampler(population_size=population, seed=seed)


SEARCHES: dict[str, Callable[[Sweep, int], BaseSampler]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "nsga2": _nsga2,
}


def sampler(sweep: Sweep, seed: str, draw: int) -> BaseSampler:
    """The sampler of suggestion number `draw` (0…) of the search with the text `seed`."""
    digest = hashlib.sha256(f"{seed}/{draw}".encode()).digest()
    return SEARCHES[sweep.method](sweep, int.from_bytes(digest[:8], "big") % _MOST)


def _median(options: Mapping[str, Any]) -> BasePruner:
    from optuna.pruners import MedianPruner

    names = {"startup_trials": "n_startup_trials", "warmup_steps": "n_warmup_steps"}
    return MedianPruner(**{names.get(name, name): value for name, value in options.items()})


def _hyperband(options: Mapping[str, Any]) -> BasePruner:
    from optuna.pruners import HyperbandPruner

    names = {"min_steps": "min_resource", "max_steps": "max_resource"}
    return HyperbandPruner(**{names.get(name, name): value for name, value in options.items()})


def _patient(options: Mapping[str, Any]) -> BasePruner:
    from optuna.pruners import PatientPruner

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental since 2.8; the version is pinned
        return PatientPruner(None, **{"patience": 3, **options})


PRUNERS: dict[str, Callable[[Mapping[str, Any]], BasePruner]] = {
    "median": _median,
    "hyperband": _hyperband,
    "patient": _patient,
}


def pruner(sweep: Sweep) -> BasePruner:
    """The pruner of the sweep; without one, Optuna's that prunes nothing."""
    from optuna.pruners import NopPruner

    return PRUNERS[sweep.pruner.name](sweep.pruner.options) if sweep.pruner else NopPruner()


def violations(sweep: Sweep, facts: Mapping[str, float]) -> dict[str, float]:
    """{constraint: by how much it is broken}, at most 0 where it holds.

    A metric that the run did not measure breaks it, by 1 more than the size of the limit.
    """
    found = {}
    for constraint in sweep.constraints:
        violation = constraint.violation(facts.get(constraint.name, math.nan))
        unknown = abs(constraint.limit) + 1.0
        found[str(constraint)] = violation if math.isfinite(violation) else unknown
    return found


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """The value of the parameter that the sampler of the trial suggests, or suggested before."""
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    kind = trial.suggest_int if isinstance(distribution.low, int) else trial.suggest_float
    d = distribution
    return kind(name, d.low, d.high, log=d.log, step=d.step)
