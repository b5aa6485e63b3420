# SPDX-License-Identifier: MIT
"""`make watch` as a user types it: in a terminal, piped, and where nothing can be drawn."""

import os
import pty
import subprocess
import sys
import time

from lib.files import ROOT
from tests.scripts.runs.test_runs import call, output_dir  # noqa: F401, a fixture

MAKE = ["make", "-C", ROOT, "VENV=system", f"PYTHON3={sys.executable}", "watch"]


def in_terminal(run, **environment) -> tuple[int, str]:
    """Type `make watch RUN=run` in a terminal, and q when the run is on the screen."""
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [*MAKE, f"RUN={run}"], env={**os.environ, **environment},
        stdin=terminal, stdout=terminal, stderr=terminal,
    )  # fmt: skip
    os.close(terminal)
    said, deadline, asked = b"", time.monotonic() + 30, False
    try:
        while time.monotonic() < deadline:
            said += os.read(main, 65536)
            if not asked and b"train/loss" in said:
                asked = os.write(main, b"q") == 1
    except OSError:  # all of it is closed
        pass
    finally:
        process.kill()
        os.close(main)
    return process.wait(), said.decode(errors="replace")


def test_in_a_terminal_until_q(output_dir):  # noqa: F811
    code, said = in_terminal(output_dir / "one", TERM="xterm-256color")
    assert code == 0
    assert "completed" in said
    assert "\033[?1049l" in said  # the terminal is as it was before


def test_a_terminal_that_cannot_move_the_cursor(output_dir):  # noqa: F811
    code, said = in_terminal(output_dir / "one", TERM="dumb")
    assert code == 2
    assert "TERM=dumb: nothing can be drawn on this terminal" in said


def test_without_a_terminal_it_is_one_snapshot(output_dir, tmp_path):  # noqa: F811
    done = call("watch", output_dir, RUN="one")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[:2]] == [["two", "failed"], ["one", "completed"]]
    assert lines[3] == "one"
    assert "  best val/loss 0.5 at 0  train/loss 0.33333  val/loss 0.5" in lines
    done = call("watch", tmp_path / "missing")
    assert (done.returncode, done.stdout.split(" in ")[0]) == (0, "no runs")
    assert "did you mean one?" in call("watch", output_dir, RUN="onne").stderr
