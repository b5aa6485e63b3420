# SPDX-License-Identifier: MIT
"""A sweep as a W&B sweep, whose agents run our training programs.

    export = wandb_export(sweep, folder)        # raises BadUse for what W&B cannot do
    export.config                               # what `wandb sweep` takes
    export.configs                              # {path: .config}: what the trainings start from
    export.remarks                              # what is different there

An agent gives the values of a run as flags of the program, which Kconfig checks. So the names of
the parameters are those of the flags; arms, which are several settings, are one .config file each,
and their parameter is `--config`.
"""

import itertools
import math
import os
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..config import dotconfig
from ..config.assign import apply
from ..config.flags import flag_of
from ..config.tree import Tree, Value
from ..errors import BadUse
from ..files import ROOT
from .cells import Space
from .description import Sweep
from .symbols import ARM

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_METHODS = {"grid": "grid", "random": "random", "tpe": "bayes", "gp": "bayes"}
_PROBES = 500  # points that are checked, of those that W&B may choose
_MOST_VALUES = 1000
_SCORES_OF_RUNS = "val/"  # of which a run has final/best_… at its end


@dataclass(frozen=True)
class Export:
    """What W&B gets; see the top of this file."""

    config: dict[str, Any]
    configs: Mapping[Path, str]
    remarks: list[str]


def wandb_export(sweep: Sweep, folder: Path) -> Export:
    """The W&B sweep, with .config files in `folder`. Raises BadUse for what it cannot express."""
    _refuse(sweep)
    space = Space(sweep)
    distributions = space.distributions()
    _check_points(space, distributions)
    configs = _configs(space, distributions, folder)
    settings = _settings(next(iter(configs.values())))
    parameters = {
        flag_of(name).removeprefix("--"): parameter(name, distribution)
        for name, distribution in distributions.items()
        if name != ARM
    }
    command = ["${env}", _python(), "${program}"]
    if sweep.arms:
        parameters = {"config": {"values": [_shown(path) for path in configs]}, **parameters}
    else:
        command.append(f"--config={_shown(next(iter(configs)))}")
    if len(space.seeds) > 1:
        parameters["seed"] = {"values": list(space.seeds)}
    if not parameters:
        raise BadUse(f"sweep {sweep.name} is a single run: W&B needs something to vary")
    stop = _early_terminate(sweep, settings)
    config = {
        "name": sweep.name,
        "description": sweep.description,
        "project": settings["WANDB_PROJECT"] or settings["TRACKER_PROJECT"],
        "entity": settings["WANDB_ENTITY"],
        "program": f"{settings['MODEL']}/train.py",
        "method": _METHODS[sweep.method],
        "metric": {"name": _metric(sweep), "goal": sweep.metric.goal},
        "run_cap": sweep.trials and sweep.trials * len(space.seeds),
        "early_terminate": stop,
        "command": [*command, "${args_no_boolean_flags}"],
        "parameters": parameters,
    }
    filled = {key: value for key, value in config.items() if value}
    return Export(filled, configs, _remarks(sweep, space, stop))


def parameter(name: str, distribution: "BaseDistribution") -> dict[str, Any]:
    """Optuna's distribution of an axis in W&B's words. Raises BadUse."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return {"values": list(distribution.choices)}
    low, high, step = distribution.low, distribution.high, distribution.step
    bounds = {"min": low, "max": high}
    whole = isinstance(distribution, IntDistribution)
    if distribution.log:
        if whole:
            return {"distribution": "q_log_uniform_values", **bounds, "q": 1}
        return {"distribution": "log_uniform_values", **bounds}
    if step is None or (whole and step == 1):
        return {"distribution": "int_uniform" if whole else "uniform", **bounds}
    if (low / step).is_integer() and (high / step).is_integer():  # W&B rounds to multiples of it
        return {"distribution": "q_uniform", **bounds, "q": step}
    count = round((high - low) / step) + 1
    if count > _MOST_VALUES:
        raise BadUse(f"{name}: W&B draws multiples of step {step}: min and max must be some")
    return {"values": [low + step * number for number in range(count)]}


def _refuse(sweep: Sweep) -> None:
    """Raise BadUse for what makes the sweep what it is, and W&B has not."""
    reason = ""
    if sweep.method not in _METHODS:
        known = ", ".join(_METHODS)
        reason = f"W&B has no method like {sweep.method}; those that it has are {known}"
    elif len(sweep.metrics) > 1:
        reason = "W&B compares by one metric, and here are two"
    elif sweep.constraints and not sweep.enumerated:
        reason = "W&B searches without constraints: leave them out, or make it a grid"
    if reason:
        raise BadUse(f"sweep {sweep.name} cannot be a W&B sweep: {reason}")


def _check_points(space: Space, distributions: "Mapping[str, BaseDistribution]") -> None:
    """W&B combines all values: raise BadUse if some do not go together.

    A flag without an effect is an error of the training program, and not left out.
    """
    sweep = space.sweep
    for point in _points(distributions):
        cell = space.resolve(point, space.seeds[0])
        left_out = [name for name in (*distributions, *sweep.fixed) if not _has(cell, name)]
        if left_out:
            where = ", ".join(f"{name}={value}" for name, value in point.items())
            raise BadUse(
                f"sweep {sweep.name} cannot be a W&B sweep: {left_out[0]} does not apply at "
                f"{where}, and W&B combines all values: make two sweeps of it"
            )


def _has(cell: Any, name: str) -> bool:
    return name in cell.params or name in cell.settings


def _points(distributions: "Mapping[str, BaseDistribution]") -> Iterator[dict[str, Value]]:
    """All combinations of values and of the ends of ranges, or so many of them at random."""
    ends = [
        getattr(distribution, "choices", None) or (distribution.low, distribution.high)
        for distribution in distributions.values()
    ]
    if math.prod(map(len, ends)) <= _PROBES:
        for values in itertools.product(*ends):
            yield dict(zip(distributions, values, strict=True))
        return
    generator = random.Random(0)
    for _ in range(_PROBES):
        yield {n: generator.choice(of) for n, of in zip(distributions, ends, strict=True)}


def _configs(
    space: Space, distributions: "Mapping[str, BaseDistribution]", folder: Path
) -> dict[Path, str]:
    """{path: .config} of each arm, in their order; a single one of a sweep without arms."""
    first = next(_points(distributions))
    tracked = {"ENABLE_WANDB": "y", "WANDB_OFFLINE": "n"}
    # An agent gives no flag for a bool that is false.
    off = {name: "n" for name, value in first.items() if isinstance(value, bool)}
    made = {}
    for arm in space.sweep.arms or ("base",):
        point = {**first, ARM: arm} if space.sweep.arms else first
        cell = space.retry(space.resolve(point, space.seeds[0]), {**tracked, **off})
        made[folder / f"{quote(arm, safe='+^')}.config"] = cell.config_text
    return made


def _settings(config_text: str) -> dict[str, Value]:
    tree = Tree()
    apply(tree, [dotconfig.parse(config_text, ".config")[0]])
    return tree.values()


def _metric(sweep: Sweep) -> str:
    """W&B has the last value of each metric; runs log the best of the evaluations at their end."""
    name, at = sweep.metric.name, sweep.metric.at
    if at == "best" and name.startswith(_SCORES_OF_RUNS) and not _hyperband(sweep):
        return f"final/best_{name.replace('/', '_')}"
    return name


def _hyperband(sweep: Sweep) -> bool:
    return sweep.pruner is not None and sweep.pruner.name == "hyperband"


def _early_terminate(sweep: Sweep, settings: Mapping[str, Value]) -> dict[str, Any]:
    """Hyperband, which counts evaluations at W&B and steps here. Raises BadUse."""
    if not _hyperband(sweep) or sweep.pruner is None:
        return {}
    options, interval = sweep.pruner.options, int(settings["EVAL_INTERVAL"] or 0)
    least = options.get("min_steps", 1)
    if least > 1 and not interval:
        raise BadUse(
            f"sweep {sweep.name}: W&B counts evaluations and not steps: min_steps of the pruner "
            "needs an EVAL_INTERVAL in set, or leave it out"
        )
    evaluations = math.ceil(least / interval) if interval else 1
    eta = options.get("reduction_factor", 3)
    return {"type": "hyperband", "min_iter": max(1, evaluations), "eta": eta}


def _remarks(sweep: Sweep, space: Space, stop: Mapping[str, Any]) -> list[str]:
    """What is different when W&B runs the sweep."""
    said = []
    if sweep.method in ("tpe", "gp"):
        said.append(f"W&B's search is a Gaussian process of its own (bayes), not {sweep.method}")
    if sweep.method == "random" and len(space.seeds) > 1:
        said.append("each run draws its seed, instead of each configuration having each seed")
    if sweep.metric.at == "best" and _metric(sweep) == sweep.metric.name:
        said.append(f"runs are compared by the last {sweep.metric.name}, not by the best")
    if sweep.hours is not None:
        said.append("the hours are not limited: stop the sweep on its page")
    if sweep.constraints:
        said.append("constraints are left out")
    if sweep.pruner and not stop:
        said.append(f"the pruner {sweep.pruner.name} is left out: W&B has hyperband alone")
    if stop:
        said.append("hyperband has one bracket there, which begins after min_iter evaluations")
    return [*said, "failed runs are not tried again, and a stopped one is not resumed"]


def _shown(path: Path) -> str:
    """From the root of the project, where agents are started; a path elsewhere is absolute."""
    path = path.absolute()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _python() -> str:
    """This interpreter: what an agent finds as `python` may be another one."""
    return _shown(Path(os.path.normpath(sys.executable)))
