# SPDX-License-Identifier: MIT
"""The best evaluation, told by the journal as the training itself would tell it."""

import math

import pytest
import torch

from lib.pruning.build import Unpruned
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule
from lib.runs.best import Evaluation, best_evaluation, with_best
from lib.runs.journal import Journal
from lib.train.pruning_report import pruning_info


@pytest.fixture
def path(tmp_path):
    """Loss and accuracy improve until the network is pruned, from step 4 on, and not together."""
    journal = Journal(tmp_path / "metrics.jsonl")
    losses = [3.0, 1.0, math.nan, 0.5, -math.inf, 2.0, 1.5, 1.5, 1.75]
    accuracies = [0.1, 0.2, 0.8, 0.9, 0.5, 0.6, 0.625, 0.5, 0.75]
    for step, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True)):
        journal.log({"train/loss": 0.0, "sparsity": min(0.9, step / 4)}, step)
        journal.log({"val/loss": loss, "val/accuracy": accuracy}, step)
    journal.close()
    return journal.path


def test_the_evaluation_with_the_lowest_loss(path):
    assert best_evaluation(path, {}) == Evaluation(3, {"val/loss": 0.5, "val/accuracy": 0.9})


def test_of_a_pruned_run_only_what_was_measured_at_its_target(path):
    """The accuracy is that of the same weights, not the highest at any time."""
    pruned = {"pruning": {"target": 0.9, "end_step": 4}}
    assert best_evaluation(path, pruned) == Evaluation(6, {"val/loss": 1.5, "val/accuracy": 0.625})
    assert with_best(path, pruned | {"steps_per_epoch": 4}) == {
        **pruned,
        "steps_per_epoch": 4,
        "best": {"step": 6, "epoch": 1.5},
        "final_metrics": {"final/best_val_loss": 1.5, "final/best_val_accuracy": 0.625},
    }


def test_before_the_target_there_is_no_best(path, tmp_path):
    assert best_evaluation(path, {"pruning": {"end_step": 9}}) is None
    late = {"pruning": {"end_step": 9}}
    assert with_best(path, late) == {**late, "final_metrics": {}}
    assert with_best(tmp_path / "missing", {}) == {"final_metrics": {}}


@pytest.mark.parametrize("pruning", [None, "0.9", [], {}, {"end_step": "late"}])
def test_damaged_metadata_prunes_nothing(path, pruning):
    assert best_evaluation(path, {"pruning": pruning}).step == 3


def test_end_step_is_where_the_pruner_is_done():
    weight = torch.nn.Parameter(torch.randn(8, 8))
    pruner = Pruner({"w": weight}, Schedule(0.5, total_steps=9, end=4), score="magnitude")
    optimizer = torch.optim.SGD([weight], lr=0.1)
    pruner.attach(optimizer)
    done = []
    for step in range(1, 10):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        if pruner.done:
            done.append(step)
    assert pruning_info(pruner) == {"target": 0.5, "end_step": done[0]}
    assert pruning_info(Unpruned()) == {}
