# SPDX-License-Identifier: MIT
"""Where a training stands, written to a checkpoint and read back."""

import pytest

from lib.train import checkpoint
from lib.train.batch_finding import BatchPlan
from lib.train.state import TrainingState

STOOD = TrainingState(
    BatchPlan(effective=16, world_size=2, micro=4),
    step=120,
    examples=1920,
    elapsed_s=12.5,
    best={"val/loss": 0.25, "val/accuracy": 0.9},
    best_step=100,
    evaluations_since_best=2,
)


def test_a_checkpoint_keeps_all_of_it(tmp_path):
    checkpoint.save(tmp_path / "last.pt", {"training_state": STOOD.state_dict()})
    state = TrainingState(STOOD.plan)
    state.load_state_dict(checkpoint.load(tmp_path / "last.pt")["training_state"])
    assert state == STOOD


def test_the_batch_may_be_divided_in_another_way():
    alone = BatchPlan(effective=16, world_size=1, micro=16)
    state = TrainingState(alone)
    state.load_state_dict(STOOD.state_dict())
    assert (state.plan, state.step) == (alone, 120)


def test_another_batch_is_refused_and_nothing_changes():
    state = TrainingState(BatchPlan(effective=32, world_size=1, micro=32))
    with pytest.raises(ValueError, match="has 16 examples a step, this one 32"):
        state.load_state_dict(STOOD.state_dict())
    assert state == TrainingState(state.plan)


def test_what_is_incomplete_changes_nothing():
    state, saved = TrainingState(STOOD.plan), STOOD.state_dict()
    del saved["best"]
    with pytest.raises(KeyError):
        state.load_state_dict(saved)
    assert state == TrainingState(STOOD.plan)


def test_a_saved_state_does_not_follow_the_training():
    state = TrainingState(STOOD.plan, best={"val/loss": 1.0})
    saved = state.state_dict()
    state.best["val/loss"] = 0.5
    assert saved["best"] == {"val/loss": 1.0}
