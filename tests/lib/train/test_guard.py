# SPDX-License-Identifier: MIT
"""A value that is NaN or infinite ends the training, with a message that helps."""

import math

import pytest

from lib.train.guard import Diverged, LossGuard


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_ends_the_training(value):
    guard = LossGuard()
    guard.check("training loss", 2.31234, 10)
    guard.check("norm of the gradient", 7.0, 10)
    expected = rf"training loss is {value} at step 11; last it was 2\.312 at step 10.*LEARNING_RATE"
    with pytest.raises(Diverged, match=expected):
        guard.check("training loss", value, 11)


def test_the_very_first_value():
    with pytest.raises(Diverged, match=r"the validation loss is nan at step 1\. Try"):
        LossGuard().check("validation loss", math.nan, 1)


def test_large_is_not_infinite():
    LossGuard().check("training loss", 1e300, 1)
