# SPDX-License-Identifier: MIT
"""Trials as plain data."""

from lib.sweep.description import sweep_of
from lib.sweep.trials import Trial

DEFCONFIG = "CONFIG_SEED=1\n"
ARMS = {"dense": {}, "magnitude": {}, "movement": {}}


def sweep(**given):
    """A grid of `arm` and TARGET_SPARSITY over three seeds, unless `given` says otherwise."""
    usual = {
        "metric": {"name": "val/loss"},
        "seeds": ["1", "2", "3"],
        "arms": ARMS,
        "axes": {"TARGET_SPARSITY": ["0.5", "0.9"]},
    }
    made = {key: value for key, value in (usual | given).items() if value is not None}
    return sweep_of(made, "scores", DEFCONFIG)


def trial(number, params, seed, *values, **more):
    """A complete trial, or one without values in another `state`."""
    usual = {
        "number": number,
        "state": "complete",
        "key": f"{number:016x}",
        "params": params,
        "seed": seed,
        "values": values,
        "run": f"scores_{number:04d}",
        "reason": "",
        "attempt": 0,
        "label": "",
        "reused": False,
        "started": 1_700_000_000.0 + 60 * number,
        "ended": 1_700_000_050.0 + 60 * number,
        "feasible": True,
    }
    return Trial(**(usual | more))


def cells(table):
    """Complete trials of [(params, the value of each seed from 1 on)]."""
    made = []
    for params, values in table:
        for seed, value in enumerate(values, 1):
            made.append(trial(len(made), params, seed, value))
    return made


def arm(name, sparsity=None):
    """The params of one."""
    return {"arm": name} | ({} if sparsity is None else {"TARGET_SPARSITY": sparsity})
