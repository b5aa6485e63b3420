# SPDX-License-Identifier: MIT
"""The screen and its keys, on real runs; a process writes one of them meanwhile."""

import asyncio
import itertools
import os
import shutil
import signal
import time

import pytest
from textual.widgets import OptionList

from lib.runs.run import Run
from lib.runs.watch import app as module
from lib.runs.watch.app import Help, Repeated, WatchApp
from lib.runs.watch.listing import Listing

INFO = {"total_steps": 100, "model": {"name": "lenet5"}}


def finished(folder, name, steps=20, **metrics):
    with Run.create(folder, name, info=INFO) as run:
        for step in range(1, steps + 1):
            run.log({"train/loss": 2 / step, "val/loss": 3 / step, "lr": 0.1, **metrics}, step)
    moment = time.time() - 1000
    os.utime(run.dir / "metadata.yaml", (moment, moment))
    return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TICK_S", 0.3)
    monkeypatch.setattr(module, "_SCAN_S", 0.0)
    monkeypatch.setattr(module, "_REST", 0)
    finished(tmp_path, "done", **{"perf/step_ms": 12.0, "system/gpu0_memory_used_gib": 3.0})
    return tmp_path


def watch(folder, steps, size=(100, 30), name=""):
    """Run the app and `steps(app, pilot)`, which presses keys and looks."""

    async def session():
        listing = Listing(folder, name)
        listing.scan()
        app = WatchApp(listing, name)
        async with app.run_test(size=size) as pilot:
            await steps(app, pilot)
        return app

    return asyncio.run(session())


def screen(app) -> str:
    strips = app.screen._compositor.render_strips(app.screen.size)
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


async def until(app, pilot, *pieces):
    """Wait until all of `pieces` are on the screen."""
    deadline = time.monotonic() + 8
    while not all(piece in screen(app) for piece in pieces):
        assert time.monotonic() < deadline, f"{pieces} not in\n{screen(app)}"
        await pilot.pause(0.05)


def test_a_run_of_another_process_is_followed_until_it_is_killed(folder):
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            live(folder, receive)
        finally:
            os._exit(0)

    async def steps(app, pilot):
        await until(app, pilot, "20 % live")
        await pilot.press("k")
        await until(app, pilot, "live", "step 20 of 100  20 %", "2,500 samples/s", "said at 20")
        assert app.listing.running == 1
        os.write(send, b"x")
        await until(app, pilot, "step 40 of 100  40 %", "said at 40", "40 % live")
        os.kill(child, signal.SIGKILL)
        await until(app, pilot, "■ live", "interrupted", "running: 0")

    try:
        watch(folder, steps)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def live(folder, go_on: int) -> None:
    """Train until killed; after 20 steps wait for a byte from `go_on`."""
    run = Run.create(folder, "live", info=INFO)
    for step in range(1, 41):
        run.log({"train/loss": 1 / step, "perf/samples_per_s": 2500.0}, step)
        run.say(f"said at {step}")
        if step == 20:
            os.read(go_on, 1)
    time.sleep(60)


def test_keys_change_run_metric_scale_log_and_pause(folder):
    (finished(folder, "other", 7).dir / "logs" / "train.log").write_text("last words\n")

    async def steps(app, pilot):
        await until(app, pilot, "step 7 of 100", "train/loss", "val/loss")
        await pilot.press("j")
        await until(app, pilot, "step 20 of 100", "step 12 ms", "gpu0_memory_used 3 GiB")
        await pilot.press("k")
        await until(app, pilot, "step 7 of 100")
        await pilot.press("m")
        assert app.quantity == "lr"
        await pilot.press("M", "l")
        await until(app, pilot, "train/loss val/loss (log)")
        await pilot.press("t")
        await until(app, pilot, "last words")
        assert not app.chart.display
        await pilot.press("t", "question_mark")
        await until(app, pilot, "logarithmic axis")
        assert isinstance(app.screen, Help)
        await pilot.press("x", "p")
        await until(app, pilot, "PAUSED")
        finished(folder, "third")
        await pilot.pause(0.3)
        assert "third" not in screen(app)
        await pilot.press("p")
        await until(app, pilot, "third")
        assert app.selected == "other"  # wherever it is in the list now
        await pilot.press("q")

    assert watch(folder, steps, size=(80, 24)).return_code == 0


def test_runs_appear_vanish_and_may_be_damaged(folder):
    async def steps(app, pilot):
        await until(app, pilot, "✓ done")
        (folder / "bad").mkdir()
        (folder / "bad" / "metadata.yaml").write_text("a: [")
        await until(app, pilot, "? bad")
        shutil.rmtree(folder / "done")
        await until(app, pilot, "unreadable: ")
        shutil.rmtree(folder / "bad")
        await until(app, pilot, "no runs in", "train one with `make`")
        finished(folder, "new")
        await until(app, pilot, "✓ new", "step 20 of 100")

    watch(folder, steps)


@pytest.mark.parametrize("size", [(80, 24), (30, 8), (12, 3), (250, 70)])
def test_any_size_and_resizing(folder, size):
    async def steps(app, pilot):
        await pilot.pause(0.2)
        assert app.query_one(OptionList).display == (size[0] >= 60)
        await pilot.resize_terminal(100, 30)
        await until(app, pilot, "✓ done", "train/loss val/loss")

    watch(folder, steps, size)


def test_odd_values_are_drawn_or_left_out(folder):
    for name, values in {
        "constant": [0.0] * 5,
        "nan": [float("nan")] * 5,
        "huge": [1e300, 1.0, 1e-300],
        "negative": [-1.0, -2.0],
        "one": [1.0],
    }.items():
        with Run.create(folder, name) as run:
            for step, value in enumerate(values):
                run.log({"train/loss": value}, step)

    async def steps(app, pilot):
        for _ in range(2):  # linear, logarithmic
            for entry in app.listing.entries(99):
                app._select(entry.name)
                app._show(now=True)
                await until(app, pilot, entry.status)
                drawn = app.chart.draws
                app.chart.refresh()
                await pilot.pause(0.05)
                assert app.chart.draws > drawn
            await pilot.press("l")
        app._select("nan")
        await until(app, pilot, "train/loss: 5 × NaN or infinite since step 0")

    watch(folder, steps, name="done")


def test_slow_work_rests_50_times_as_long(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def slow():
        done.append(clock[0])
        clock[0] += 0.2

    done, work = [], Repeated(slow, least_s=1.0)
    for _ in range(30):
        work.run()
        clock[0] += 1.0
    assert [round(b - a) for a, b in itertools.pairwise(done)] == [10, 10]
    work.run(now=True)
    assert len(done) == 4
