# SPDX-License-Identifier: MIT
"""The two displays of progress, by what they print."""

import io
import re

import pytest

from lib.train import progress
from lib.train.progress import Bar, Lines, open_progress


class Terminal(io.StringIO):
    """Claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def lines(updates, *, total=100, per_epoch=30) -> list[str]:
    """What Lines prints for `updates`: (time, step, metrics)."""
    said, times = [], iter([time for time, _, _ in updates])
    display = Lines(total, per_epoch, said.append, clock=lambda: next(times))
    with display:
        for _, step, metrics in updates:
            display.update(step, metrics)
    return said


def test_a_line_tells_step_epoch_metrics_and_time_left():
    metrics = {
        "train/loss": 1.5,
        "train/accuracy": 0.5,
        "val/accuracy": 0.25,
        "perf/samples_per_s": 1234.5,
        "lr": 0.1,
    }
    said = lines([(0.0, 1, {"train/loss": 2.3}), (6.0, 31, metrics)])
    assert said == [
        "step 1/100, epoch 1/4, loss 2.3000",
        "step 31/100, epoch 2/4, loss 1.5000, accuracy 50.00%, val accuracy 25.00%, "
        "1,234 samples/s, 0:14 left",
    ]


def test_lines_are_few_but_the_last_step_has_one():
    said = lines([(i * 0.1, i, {"train/loss": 1.0}) for i in range(1, 101)])
    assert [re.match(r"step (\d+)/", line)[1] for line in said] == ["1", "51", "100"]
    assert "left" not in said[-1]


def test_earlier_metrics_stay():
    said = lines([(0.0, 10, {"val/loss": 0.5}), (9.0, 20, {"train/loss": 0.1})])
    assert said[1].startswith("step 20/100, epoch 1/4, loss 0.1000, val loss 0.5000")


def test_an_epoch_ends_with_its_last_step():
    said = lines([(0.0, 30, {}), (9.0, 31, {}), (99.0, 100, {})])
    assert [re.search(r"epoch (\d/\d)", line)[1] for line in said] == ["1/4", "2/4", "4/4"]


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines():
    assert isinstance(open_progress(10, 5, stream=Terminal()), Bar)
    assert isinstance(open_progress(10, 5, stream=io.StringIO()), Lines)


def shown(stream: Terminal) -> list[str]:
    """The lines drawn, without colours."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


def test_the_bar_shows_step_epoch_and_metrics():
    stream = Terminal()
    with open_progress(100, 30, stream=stream) as progress:
        progress.update(31, {"train/loss": 1.5, "train/accuracy": 0.5, "perf/samples_per_s": 800.0})
    last = shown(stream)[-1]
    assert last.startswith("epoch 2/4") and "31/100" in last
    assert "loss 1.500 acc 50.0% 800/s" in last


@pytest.mark.parametrize(
    ("width", "metrics", "least"),
    [
        (120, "loss 1.500 acc 99.5% val 0.123 12.3k/s", 40),
        (80, "loss 1.500 acc 99.5% val 0.123 12.3k/s", 10),
        (60, "loss 1.500", 15),
        (45, "", 10),
    ],
)
def test_the_bar_stays_useful(monkeypatch, width, metrics, least):
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    with open_progress(1234, 30, stream=stream) as progress:
        progress.update(1000, {"train/loss": 1.5, "train/accuracy": 0.995})
        progress.update(1000, {"val/loss": 0.123, "perf/samples_per_s": 12345.0})
    last = shown(stream)[-1]
    assert len(last) <= width and "…" not in last
    assert f"1000/1234 {metrics}".rstrip() in last
    assert sum(last.count(cell) for cell in "━╸╺") >= least


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(7.25, "7.25"), (812.4, "812"), (999.6, "1.00k"), (12_345, "12.3k"), (812_345, "812k"),
     (1_234_567, "1.23M")],
)  # fmt: skip
def test_rates_have_three_digits(rate, expected):
    assert f"{progress._Number(rate):short}" == expected
