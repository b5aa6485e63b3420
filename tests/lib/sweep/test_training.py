# SPDX-License-Identifier: MIT
"""How a training is followed, and how its end is judged."""

import signal
from pathlib import Path

import pytest

from lib.errors import Failure
from lib.runs.run import Run
from lib.runs.stored import StoredRun, load_run
from lib.sweep import outcome
from lib.sweep.follow import Follower
from lib.sweep.outcome import judge, memory_kills
from lib.sweep.parts import Metric
from lib.sweep.results import Unmeasured, measured
from lib.sweep.room import Room
from lib.sweep.training import runs_of

METRIC = "val/loss"


def run_in(folder: Path, error: Exception | None = None, name: str = "run") -> StoredRun:
    """A run that ended with `error`, or completed."""
    run = Run.create(folder, name)
    try:
        with run:
            run.set_info(total_steps=4)
            for step in (2, 4):
                run.log({"train/loss": 1.0}, step)
                run.log({METRIC: 1 / step, "sparsity": 0.9}, step)
            if error:
                raise error
            run.summary(final_metrics={"final/training_time_s": 3.0})
    except type(error or Failure()):
        pass
    return load_run(run.dir)


# ---------------------------------------------------------------------------------- following


def test_each_evaluation_is_seen_once(tmp_path):
    run = Run.create(tmp_path, "run")
    follower = Follower(run.dir, METRIC)
    with run:
        run.set_info(total_steps=30)
        assert follower.read() == [] and follower.last is None
        seen = []
        for step in range(1, 31):
            run.log({"train/loss": 1.0}, step)
            if step % 5 == 0:
                run.log({METRIC: 1 / step}, step)
            if step % 3 == 0:
                seen += follower.read()
    assert seen == [(step, 1 / step) for step in range(5, 31, 5)]
    assert (follower.step, follower.total, follower.last) == (30, 30, 1 / 30)
    assert follower.steps_per_s() > 0


def test_rows_that_a_resume_superseded_are_left_out(tmp_path):
    run = Run.create(tmp_path, "run")
    with run:
        run.log({METRIC: 0.1}, 1)
        offset = run.position()
        run.log({METRIC: 0.2}, 2)
    resumed = Run.resume(run.dir, step=1, offset=offset)
    with resumed:
        resumed.log({METRIC: 0.3}, 2)
        follower = Follower(run.dir, METRIC)
        assert follower.read() == [(1, 0.1), (2, 0.3)]
        resumed.log({METRIC: 0.4}, 3)
        assert follower.read() == [(3, 0.4)]


def test_a_row_that_is_still_being_written_comes_later(tmp_path):
    run = Run.create(tmp_path, "run")
    with run:
        run.log({METRIC: 0.1}, 1)
    journal = run.dir / "logs" / "metrics.jsonl"
    whole = journal.read_bytes()
    row = b'{"step":2,"metrics":{"val/loss":0.2}}\n'
    journal.write_bytes(whole + row[:20])
    follower = Follower(run.dir, METRIC)
    assert follower.read() == [(1, 0.1)]
    journal.write_bytes(whole + row)
    assert follower.read() == [(2, 0.2)]


def test_there_may_be_no_journal_yet(tmp_path):
    assert Follower(tmp_path, METRIC).read() == []


# ------------------------------------------------------------------------------------ its end


def test_a_completed_run_counts_whatever_happened_afterwards(tmp_path):
    run = run_in(tmp_path)
    for code in (0, -9, 1, 143):
        assert judge(code, run, asked="stop").kind == outcome.COMPLETED


def test_the_reason_is_the_error_of_the_run_or_what_was_printed_last(tmp_path):
    failed = run_in(tmp_path, ValueError("no such\n  thing, token=0123456789abcdef"))
    ended = judge(1, failed, said=["error: something else"])
    assert (ended.kind, ended.run) == (outcome.FAILED, failed)
    assert ended.reason.startswith("ValueError: no such thing, token=[redacted]")
    assert judge(2, None, said=["one", "error: two", "three", ""]).reason == "two"
    assert judge(1, None, said=["one", "", "three", " "]).reason == "three"
    assert judge(0, None).reason == "it ended with exit code 0 and without a result"
    assert len(judge(1, None, said=["x" * 5000]).reason) == 400


@pytest.mark.parametrize(
    ("code", "said", "memory", "kind"),
    [
        (1, "torch.OutOfMemoryError: CUDA out of memory", False, outcome.OUT_OF_MEMORY),
        (1, "MemoryError", False, outcome.OUT_OF_MEMORY),
        (1, "DefaultCPUAllocator: can't allocate memory: you", False, outcome.OUT_OF_MEMORY),
        (1, "out of memory with a single example at a time", False, outcome.FAILED),
        (-9, "", True, outcome.OUT_OF_MEMORY),
        (137, "", True, outcome.OUT_OF_MEMORY),
        (-9, "", False, outcome.LOST),
        (143, "", False, outcome.LOST),
        (-15, "", False, outcome.LOST),
        (130, "", False, outcome.LOST),
        (-11, "", True, outcome.FAILED),
        (1, "OSError: [Errno 28] No space left on device", False, outcome.DISK_FULL),
        (1, "Disk quota exceeded", False, outcome.DISK_FULL),
        (2, "error: LEARNING_RATE=2: out of range", False, outcome.FAILED),
    ],
)
def test_kinds_of_ends(code, said, memory, kind):
    assert judge(code, None, said=[said], killed_for_memory=memory).kind == kind


def test_what_was_asked_for_is_a_stop():
    for code in (140, 143, -9, -15, 1):
        ended = judge(code, None, asked="the sweep was stopped")
        assert (ended.kind, ended.reason) == (outcome.STOPPED, "the sweep was stopped")


def test_a_signal_has_its_name():
    assert judge(-signal.SIGSEGV, None).reason == "it was ended by SIGSEGV"


def test_processes_killed_for_memory(tmp_path):
    stat = tmp_path / "vmstat"
    assert memory_kills(stat) == 0
    stat.write_text("pgfault 17\noom_kill 3\noom_kill_other 4\n")
    assert memory_kills(stat) == 3


def test_the_runs_of_a_launch(tmp_path, monkeypatch):
    monkeypatch.setenv("LAUNCH_ID", "one")
    mine = [run_in(tmp_path).name, run_in(tmp_path).name]
    monkeypatch.setenv("LAUNCH_ID", "two")
    run_in(tmp_path)
    assert [run.name for run in runs_of(tmp_path, "run", "one")] == mine == ["run", "run_2"]
    assert runs_of(tmp_path / "none", "run", "one") == []


# ------------------------------------------------------------------------------ what came out


def test_values_of_a_run(tmp_path):
    run = run_in(tmp_path)
    assert measured(run, [Metric(METRIC, "minimize")]) == [0.25]
    assert measured(run, [Metric("final/training_time_s", "minimize")]) == [3.0]
    with pytest.raises(Unmeasured, match=r"logged no metric val/lss; did you mean val/loss\?"):
        measured(run, [Metric("val/lss", "minimize")])
    with pytest.raises(Unmeasured, match="it logged train/loss, val/loss"):
        measured(run, [Metric("zzz", "minimize")])


def test_room_on_the_disk(tmp_path):
    room = Room(tmp_path / "not" / "there")
    assert room.fits(beside=1)
    room.learn(run_in(tmp_path))
    assert room.largest > 0 and room.fits(beside=1)
    room.largest = 2**60
    assert not room.fits(beside=0)
    said = room.full(left=3)
    assert "are free" in said and "(3 runs of about 1048576.0 TiB each)" in said
