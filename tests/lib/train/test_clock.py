# SPDX-License-Identifier: MIT
"""A clock whose time the test decides."""

from lib.train.clock import Clock


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_lap_leaves_out_pauses_and_the_training_time_does_not():
    time = Time()
    clock = Clock(0.0, step=0, now=time)
    time.now += 4.0
    assert clock.lap(2) == 2.0
    time.now += 3.0
    with clock.paused():
        time.now += 50.0
    assert clock.lap(5) == 1.0
    assert clock.elapsed() == 57.0


def test_it_goes_on_from_where_a_training_stood():
    time = Time()
    clock = Clock(elapsed_s=10.0, step=40, now=time)
    time.now += 5.0
    assert (clock.elapsed(), clock.lap(50)) == (15.0, 0.5)
