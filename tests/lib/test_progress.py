# SPDX-License-Identifier: MIT
"""The two displays of progress, by what they print."""

import io
import re

from lib.progress import Bar, Lines, open_progress


class Terminal(io.StringIO):
    """A terminal as far as isatty can tell."""

    def isatty(self) -> bool:
        return True


def lines(updates, *, total=100, per_epoch=30) -> list[str]:
    """What Lines says at `updates`: (time, step, figures)."""
    said, times = [], iter([time for time, _, _ in updates])
    display = Lines(total, per_epoch, said.append, clock=lambda: next(times))
    with display:
        for _, step, figures in updates:
            display.update(step, **figures)
    return said


def test_a_line_tells_step_epoch_figures_and_time_left():
    figures = {"loss": 1.5, "accuracy": 0.5, "val_accuracy": 0.25, "samples_per_s": 1234.5}
    said = lines([(0.0, 1, {"loss": 2.3}), (6.0, 31, figures)])
    assert said == [
        "step 1/100, epoch 1/4, loss 2.3000",
        "step 31/100, epoch 2/4, loss 1.5000, accuracy 50.00%, val accuracy 25.00%, "
        "1,234 samples/s, 0:14 left",
    ]


def test_lines_are_few_but_the_last_step_has_one():
    said = lines([(i * 0.1, i, {"loss": 1.0}) for i in range(1, 101)])
    assert [re.match(r"step (\d+)/", line)[1] for line in said] == ["1", "51", "100"]
    assert "left" not in said[-1]


def test_earlier_figures_stay():
    said = lines([(0.0, 10, {"val_loss": 0.5}), (9.0, 20, {"loss": 0.1})])
    assert said[1].startswith("step 20/100, epoch 1/4, loss 0.1000, val loss 0.5000")


def test_an_epoch_ends_with_its_last_step():
    said = lines([(0.0, 30, {}), (9.0, 31, {}), (99.0, 100, {})])
    assert [re.search(r"epoch (\d/\d)", line)[1] for line in said] == ["1/4", "2/4", "4/4"]


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines():
    assert isinstance(open_progress(10, 5, stream=Terminal()), Bar)
    assert isinstance(open_progress(10, 5, stream=io.StringIO()), Lines)


def test_the_bar_shows_step_epoch_and_figures():
    stream = Terminal()
    with open_progress(100, 30, stream=stream) as progress:
        progress.update(31, loss=1.5, samples_per_s=800.0)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "epoch 2/4" in shown and "31/100" in shown
    assert "loss 1.5000, 800 samples/s" in shown.replace("\n", " ")
