# SPDX-License-Identifier: MIT
"""Searches that are reproducible, pruners that stop what is bad, constraints that are known."""

import math
from pathlib import Path

import pytest

from lib.sweep import methods
from lib.sweep.claims import Claim
from lib.sweep.study import Study, open_study
from tests.lib.sweep.made import SPACE, made_sweep, new_database

Params = tuple[object, ...]
TWO = [{"name": "val/loss"}, {"name": "perf/step_ms"}]


def loss(claim: Claim) -> float:
    """Best at a learning rate of 0.01 and without weight decay."""
    params = claim.cell.params
    return (math.log10(params["LEARNING_RATE"]) + 2) ** 2 + params["WEIGHT_DECAY"]


def train(study: Study, most: int = 1000) -> list[Params]:
    """Complete up to `most` trials; the parameters of each."""
    found = []
    while len(found) < most and (claim := study.claim("worker")):
        values = [loss(claim), claim.cell.params["BATCH_SIZE"]][: len(study.sweep.metrics)]
        study.complete(claim, values, "run", {"decay": claim.cell.params["WEIGHT_DECAY"]})
        found.append(tuple(claim.cell.params.values()))
    return found


def search(folder: Path, method: str, trials: int = 14, **parts: object) -> Study:
    folder.mkdir(exist_ok=True)
    metric = TWO if method == "nsga2" else TWO[0]
    sweep = made_sweep(axes=SPACE, method=method, trials=trials, metric=metric, **parts)
    return open_study(sweep, new_database(folder))


@pytest.mark.parametrize("method", ["random", "tpe", "cmaes", "nsga2"])
def test_a_search_is_reproducible_also_when_it_goes_on(tmp_path, method):
    whole = train(search(tmp_path / "a", method))
    begun = search(tmp_path / "b", method)
    parts = train(begun, 11)
    parts += train(open_study("some", begun.database.url))
    assert len(whole) >= 10
    assert parts == whole


@pytest.mark.slow
def test_gp_is_reproducible_too(tmp_path):
    whole = train(search(tmp_path / "a", "gp", trials=11))
    begun = search(tmp_path / "b", "gp", trials=11)
    parts = train(begun, 10)
    assert parts + train(open_study("some", begun.database.url)) == whole


def test_workers_side_by_side_draw_different_cells(tmp_path):
    study = search(tmp_path, "tpe", trials=24)
    train(study, 12)
    other = open_study("some", study.database.url)
    claims = [worker.claim("worker") for worker in (study, other) * 4]
    assert len({claim.key for claim in claims}) == 8


def test_a_trial_that_was_lost_keeps_its_parameters(tmp_path):
    study = search(tmp_path, "tpe")
    claim = study.claim("dead")
    study.lost(lambda worker: True)
    again = study.claim("worker")
    assert again.cell == claim.cell
    assert again.launch_id == claim.launch_id
    assert study.claim("worker").key != claim.key


def test_tpe_finds_what_is_best(tmp_path):
    study = search(tmp_path, "tpe", trials=30)
    assert len(train(study)) == 30
    values = [trial.value for trial in study.trials()]
    assert sum(values[10:]) / 20 < sum(values[:10]) / 10


def test_the_sampler_knows_the_constraints(tmp_path):
    study = search(tmp_path, "tpe", trials=2, constraints=["decay >= 0.6", "unknown <= 3"])
    train(study)
    for trial in study.optuna.trials:
        broken = {"decay >= 0.6": 0.6 - trial.params["WEIGHT_DECAY"], "unknown <= 3.0": 4.0}
        assert trial.constraints == pytest.approx(broken)
    with pytest.raises(ValueError, match="No feasible trials"):
        _ = study.optuna.best_trial


def test_violations_are_how_far_a_limit_is_passed():
    sweep = made_sweep(constraints=["sparsity >= 0.9", "final/training_time_s <= 60"])
    facts = {"sparsity": 0.75, "final/training_time_s": 45.0}
    broken = list(methods.violations(sweep, facts).values())
    assert broken == pytest.approx([0.15, -15.0])
    for unknown in ({}, {"sparsity": math.nan, "final/training_time_s": math.inf}):
        assert list(methods.violations(sweep, unknown).values()) == [1.9, 61.0]


CURVES = {"good": [1.0, 0.5, 0.25, 0.12], "bad": [1.0, 1.1, 1.2, 1.3]}


@pytest.mark.parametrize(
    "pruner",
    [
        {"name": "median", "startup_trials": 2, "warmup_steps": 10},
        {"name": "hyperband", "min_steps": 10, "max_steps": 40},
        {"name": "patient", "patience": 1},
    ],
)
def test_a_pruner_stops_what_is_bad(tmp_path, pruner):
    rates = [f"0.{i:03}" for i in range(1, 11)]
    sweep = made_sweep(axes={"LEARNING_RATE": rates}, pruner=pruner)
    study = open_study(sweep, new_database(tmp_path))

    def stopped(curve: list[float]) -> bool:
        claim = study.claim("worker")
        for step, value in enumerate(curve, 1):
            if study.report(claim, 10 * step, value):
                study.prune(claim, f"at step {10 * step}")
                return True
        study.complete(claim, [curve[-1]], "run")
        return False

    assert [stopped(CURVES["good"]) for _ in range(5)] == [False] * 5
    assert any(stopped(CURVES["bad"]) for _ in range(5))
    pruned = [trial for trial in study.trials() if trial.state == "pruned"]
    assert pruned[0].value > 1
    assert study.progress().pruned == len(pruned)


def test_a_step_that_is_reported_again_changes_nothing(tmp_path):
    """A trial that goes on from its checkpoint reports what came after it a second time."""
    study = open_study(made_sweep(), new_database(tmp_path))
    claim = study.claim("worker")
    study.report(claim, 10, 0.5)
    study.put_back(claim)
    claim = study.claim("worker")
    assert not study.report(claim, 10, 0.7)
    assert not study.report(claim, 20, math.nan)
    study.prune(claim, "diverged")
    assert study.optuna.trials[0].intermediate_values[10] == 0.5
    assert study.trials()[0].values == ()
