# SPDX-License-Identifier: MIT
"""What is shown of a sweep: lines in a file, a table on a terminal."""

import io
import os
import pty
from dataclasses import replace

from lib.sweep.live import Lines, Row, Table, View, open_display

ROWS = (
    Row("grid_0a1b2c3d", "LEARNING_RATE=0.001 seed 1", 30, 60, 9.81, 0.1234567),
    Row("grid_4e5f6a7b", "arm=[red] seed 2", remark="starts"),
)
VIEW = View("grid", "val/loss", 3, 8, "2 running, 1 failed", ROWS, "val/loss 0.1 (x)", 65.0, 130.0)


def test_lines_come_when_something_happens_and_each_minute():
    now = [0.0]
    stream = io.StringIO()
    lines = Lines(stream, clock=lambda: now[0])
    with lines:
        lines.say("a run\x1b[31m starts\nnow")
        for second in range(0, 130, 10):
            now[0] = second
            lines.show(VIEW)
    said = [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()]
    assert said == [
        "a run\N{REPLACEMENT CHARACTER}[31m starts now",
        *["3/8; 2 running, 1 failed; best val/loss 0.1 (x); about 2 min 10 s left"] * 2,
    ]
    assert isinstance(open_display(stream), Lines)


def test_a_terminal_gets_a_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        display = open_display(stream)
        assert isinstance(display, Table)
        with display:
            display.say("grid_0a1b2c3d starts: [bold]")
            display.show(VIEW)
            display.show(replace(VIEW, left_s=None, best="", rows=()))
        stream.flush()
        said = os.read(leader, 2**16).decode()
    os.close(leader)
    for text in (
        "grid_0a1b2c3d starts: [bold]",
        "grid: 3 of 8 done; 2 running, 1 failed; 1 min 05 s so far, about 2 min 10 s left",
        "30/60",
        "9.81",
        "0.12346",
        "arm=[red] seed 2",
        "best so far: val/loss 0.1 (x)",
    ):
        assert text in said


def test_progress_of_a_row():
    assert (ROWS[0].fraction, ROWS[1].fraction) == (0.5, 0.0)
    assert replace(ROWS[0], step=90).fraction == 1.0
