# SPDX-License-Identifier: MIT
"""A run that was killed goes on in its own directory, and only the rows that count are shown."""

import math
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import BadUse
from lib.runs import metadata, plots, status
from lib.runs.best import best_evaluation
from lib.runs.journal import Journal, current_rows, read_rows
from lib.runs.resumes import current_parts, mend
from lib.runs.run import NullRun, Run, RunError
from lib.runs.stored import last_metrics, latest_interrupted, load_run, run_of_launch

STEPS = 10


@pytest.fixture(autouse=True)
def single_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LAUNCH_ID", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


def in_a_process_that_is_killed(work) -> None:
    """Call `work` in a forked process that kills itself afterwards."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)


def killed_run(output_dir, name="x", steps=STEPS, tail=b"", **info) -> tuple[Path, dict[int, int]]:
    """A run killed after `steps` rows and half a row, and the journal's length after each step."""

    def work():
        run = Run.create(output_dir, name, info=info)
        positions = []
        for step in range(1, steps + 1):
            run.log({"train/loss": 1 / step, "val/loss": 1 / step}, step)
            positions.append(run.position())
        (run.dir / "positions").write_text(" ".join(map(str, positions)))
        os.write(run.journal._fd, tail)

    in_a_process_that_is_killed(work)
    positions = map(int, (Path(output_dir) / name / "positions").read_text().split())
    return Path(output_dir) / name, dict(enumerate(positions, 1))


def resume(run_dir, step, offset, **more) -> Run:
    run = Run.resume(run_dir, step=step, offset=offset, **more)
    assert isinstance(run, Run)
    return run


def steps_of(run_dir) -> list[int]:
    rows = current_rows(run_dir / "logs" / "metrics.jsonl")
    return [row["step"] for row, _ in rows if "metrics" in row]


# -- one run, several trainings


def test_the_same_run_goes_on(tmp_path, capsys):
    run_dir, positions = killed_run(tmp_path, tail=b'{"step":11,"ti')
    before = load_run(run_dir).metadata
    assert before["status"] == "interrupted"
    changed = {"NUM_EPOCHS": [10, 40]}
    files = {".config": "CONFIG_NUM_EPOCHS=40\n"}
    with resume(
        run_dir, 5, positions[5], checkpoint="step_5.pt", changed=changed, files=files
    ) as run:
        now = metadata.load(run_dir / "metadata.yaml")
        assert (now["status"], now["end_time"], now["final_metrics"]) == ("running", None, {})
        assert (run_dir / ".reserve").exists()
        for step in range(6, 13):
            run.log({"train/loss": 1 / step}, step)
        run.say("going on")
    after = load_run(run_dir).metadata
    assert after["status"] == "completed"
    for name in ("run_id", "run_name", "start_time", "git", "command"):
        assert after[name] == before[name]
    (entry,) = after["resumes"]
    assert (entry["step"], entry["checkpoint"], entry["changed"]) == (5, "step_5.pt", changed)
    assert entry["command"]
    assert (run_dir / ".config").read_text() == files[".config"]
    assert steps_of(run_dir) == list(range(1, 13))
    raw = [row for row, _ in read_rows(run_dir / "logs" / "metrics.jsonl")]  # warns of no damage
    assert [r["step"] for r in raw if "metrics" in r] == [*range(1, 11), *range(6, 13)]
    (event,) = [row for row in raw if row.get("event") == "resume"]
    assert (event["step"], event["offset"], event["session"]) == (5, positions[5], 1)
    log = (run_dir / "logs" / "train.log").read_text()
    assert log.endswith("going on\n")


def test_the_duration_is_that_of_all_trainings_without_the_gaps(tmp_path, monkeypatch):
    run_dir, positions = killed_run(tmp_path)
    first = load_run(run_dir).metadata["duration_s"]
    time.sleep(1.2)
    with resume(run_dir, 5, positions[5]) as run:
        run.log({"train/loss": 1.0}, 6)
    second = load_run(run_dir).metadata["duration_s"]
    assert first <= second < first + 1

    def work():
        resume(run_dir, 5, positions[5]).log({"train/loss": 1.0}, 6)

    time.sleep(1.2)
    in_a_process_that_is_killed(work)
    assert second <= load_run(run_dir).metadata["duration_s"] < second + 1


def test_a_running_run_is_refused(tmp_path):
    with Run.create(tmp_path, "x") as run:
        run.log({"x": 1.0}, 1)
        with pytest.raises(BadUse, match="make show RUN=x"):
            Run.resume(run.dir, step=0, offset=0)
        assert "resumes" not in metadata.load(run.dir / "metadata.yaml")
    assert len(steps_of(run.dir)) == 1


def test_what_a_completed_run_has_found_is_forgotten(tmp_path):
    with Run.create(tmp_path, "x") as run:
        run.log({"val/loss": 0.5}, 1)
        end = run.position()
        run.summary({"final/best_val_loss": 0.5}, {"note": "fine"})
    with pytest.raises(KeyboardInterrupt), resume(run.dir, 1, end) as again:
        again.log({"val/loss": 0.25}, 2)
        raise KeyboardInterrupt
    fields = load_run(run.dir).metadata
    assert fields["status"] == "interrupted"
    assert fields["final_metrics"] == {"final/best_val_loss": 0.25}
    assert fields["results"] == {}


def test_other_ranks_get_a_null_run(tmp_path, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    for name, value in {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    run = Run.resume(tmp_path / "missing", step=1, offset=1)
    assert isinstance(run, NullRun)
    assert run.position() == 0


def test_a_place_without_a_run_stays_empty(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(status.UnreadableRun, match=r"metadata\.yaml: No such file"):
        Run.resume(tmp_path / "empty", step=1, offset=1)
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    run_dir, positions = killed_run(tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(RunError, match=r"No space left.*Free some space"):
            Run.resume(run_dir, step=5, offset=positions[5])
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_write", lambda self, line: self._refuse("No space left on device"))
        with pytest.raises(RunError, match=r"No space left.*Free some space"):
            Run.resume(run_dir, step=5, offset=positions[5])
    assert load_run(run_dir).status == "interrupted"
    assert steps_of(run_dir) == list(range(1, STEPS + 1))
    with resume(run_dir, 5, positions[5]):
        pass
    assert steps_of(run_dir) == list(range(1, 6))


def test_a_copy_elsewhere_goes_on(tmp_path):
    run_dir, positions = killed_run(tmp_path / "here")
    shutil.copytree(run_dir, tmp_path / "there" / "renamed")
    shutil.rmtree(run_dir)
    with resume(tmp_path / "there" / "renamed", 5, positions[5]) as run:
        run.log({"train/loss": 1.0}, 6)
        run.log_text("note", "text", 6)
    assert steps_of(run.dir) == [1, 2, 3, 4, 5, 6]
    for path in run.dir.rglob("*"):
        if path.is_file() and path.name != "metadata.yaml":  # which has the commands
            assert str(tmp_path / "here").encode() not in path.read_bytes(), path


def test_media_of_a_step_that_is_made_again(tmp_path):
    with Run.create(tmp_path, "x") as run:
        start = run.position()
        run.log_table("t", ["a"], [[1]], 3)
        (run.dir / "checkpoints" / "best.pt").write_bytes(b"weights")
        run.log_artifact(run.dir / "checkpoints" / "best.pt", "model", step=3)
    with resume(run.dir, 0, start) as again:
        again.log_table("t", ["a"], [[2]], 3)
        again.log_artifact(again.dir / "checkpoints" / "best.pt", "model", step=3)
    rows = [row for row, _ in current_rows(again.journal.path) if "media" in row]
    assert [name for row in rows for name in row["media"]] == ["t", "artifact/best"]
    for row in rows:
        for item in row["media"].values():
            assert (again.dir / item["path"]).is_file()
    assert '"rows": [[2]]' in (again.dir / rows[0]["media"]["t"]["path"]).read_text()


# -- killed at any instruction


@pytest.mark.parametrize("part", range(8))
def test_a_resume_that_is_killed_can_be_repeated(tmp_path, part):
    original, positions = killed_run(tmp_path, tail=b'{"step":11,"ti')

    def resumed_until(calls, run_dir) -> int:
        """Kill the resume after so many function calls; the number of calls if it was finished."""
        made = 0

        def count(*_):
            nonlocal made
            made += 1
            if made == calls:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        run = Run.resume(run_dir, step=5, offset=positions[5], changed={"A": [1, 2]})
        sys.setprofile(None)
        run.__enter__()
        run.__exit__(None, None, None)
        return made

    shutil.copytree(original, tmp_path / "whole")
    total = resumed_until(-1, tmp_path / "whole")
    superseded = list(range(1, 6))
    for number in range(part, 48, 8):
        run_dir = tmp_path / f"copy{number}"
        shutil.copytree(original, run_dir)
        calls = total * number // 48 + 1
        in_a_process_that_is_killed(lambda run_dir=run_dir, n=calls: resumed_until(n, run_dir))
        assert load_run(run_dir).status == "interrupted"
        assert steps_of(run_dir) in (list(range(1, STEPS + 1)), superseded)
        with resume(run_dir, 5, positions[5]) as run:
            run.log({"train/loss": 1.0}, 6)
        assert steps_of(run_dir) == [*superseded, 6]
        attempts = load_run(run_dir).metadata["resumes"]
        raw = read_rows(run_dir / "logs" / "metrics.jsonl")  # a damaged row would be warned of
        sessions = [row["session"] for row, _ in raw if row.get("event") == "resume"]
        assert sessions[-1] == len(attempts)
        assert set(sessions) <= set(range(1, len(attempts) + 1))


def test_who_marks_a_killed_run_does_not_overwrite_one_that_goes_on(tmp_path, monkeypatch):
    run_dir, positions = killed_run(tmp_path)
    going_on = []

    def slowly(*run, as_it_is=status._interrupted):
        if not going_on and threading.current_thread() is threading.main_thread():
            going_on.append(threading.Thread(target=go_on))
            going_on[0].start()
            time.sleep(0.5)  # the other thread has the lock of the run by now
        return as_it_is(*run)

    def go_on():
        going_on.append(resume(run_dir, 5, positions[5]))

    monkeypatch.setattr(status, "_interrupted", slowly)
    load_run(run_dir)
    going_on[0].join()
    fields = load_run(run_dir).metadata
    assert fields["status"] == "running"
    assert len(fields["resumes"]) == 1
    with going_on[1]:
        pass


# -- which run


def test_the_latest_interrupted_run(tmp_path):
    assert latest_interrupted(tmp_path) is None
    first, positions = killed_run(tmp_path, "first")
    time.sleep(0.01)
    second, _ = killed_run(tmp_path, "second")
    assert latest_interrupted(tmp_path) == second
    with pytest.raises(KeyboardInterrupt), resume(first, 5, positions[5]):
        assert latest_interrupted(tmp_path) == second
        raise KeyboardInterrupt
    assert latest_interrupted(tmp_path) == first
    with resume(first, 5, positions[5]):
        pass
    assert latest_interrupted(tmp_path) == second


def test_the_run_of_a_launch(tmp_path, monkeypatch):
    killed_run(tmp_path, "nameless")
    assert run_of_launch(tmp_path, "") is None
    monkeypatch.setenv("LAUNCH_ID", "one")
    run_dir, positions = killed_run(tmp_path, "a")
    assert run_of_launch(tmp_path, "one") == run_dir
    assert run_of_launch(tmp_path, "two") is None
    monkeypatch.setenv("LAUNCH_ID", "two")
    with pytest.raises(ValueError, match="out"), resume(run_dir, 5, positions[5]):
        assert run_of_launch(tmp_path, "two") is None  # it is running
        raise ValueError("out of something")
    assert run_of_launch(tmp_path, "one") is None
    assert run_of_launch(tmp_path, "two") == run_dir
    with resume(run_dir, 5, positions[5]):
        pass
    assert run_of_launch(tmp_path, "two") is None


# -- rows that count

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("log"), st.integers(1, 4)),
        st.tuples(st.just("back to a row"), st.floats(0, 1)),
        st.tuples(st.just("back to a byte"), st.integers(0, 4000)),
        st.tuples(st.just("torn"), st.binary(min_size=1, max_size=30)),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(operations=OPERATIONS)
def test_a_resume_goes_back_to_the_journal_as_it_was(operations):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.touch()
        states = [(0, [])]  # (length of the journal, the rows that count) after each row
        written = 0
        for operation, argument in operations:
            size, rows = path.stat().st_size, states[-1][1]
            if operation == "torn":
                path.write_bytes(path.read_bytes() + argument.replace(b"\n", b" "))
                continue
            mend(path)
            size = path.stat().st_size
            journal = Journal(path)
            if operation == "log":
                for _ in range(argument):
                    written += 1
                    journal.log({"x": 1.0}, written)
                    rows = [*rows, written]
                    states.append((journal.position(), rows))
            else:
                ends = [end for end, _ in states]
                offset = (
                    argument
                    if operation == "back to a byte"
                    else ends[int(argument * (len(ends) - 1))]
                )
                journal.event("resume", step=0, offset=offset)
                if offset < size:
                    rows = next(rows for end, rows in reversed(states) if end <= offset)
                states.append((journal.position(), rows))
            journal.close()
        found = [row["step"] for row, _ in current_rows(path) if "metrics" in row]
        assert found == states[-1][1]
        raw = [row["step"] for row, _ in read_rows(path) if "metrics" in row]
        assert raw == list(range(1, written + 1))
        for tail in (1, 50, 150, 10_000):
            size = sum(end - start for start, end in current_parts(path))
            cut = list(current_rows(path, tail=tail, on_damage=lambda _: None))
            last = [row for row, _ in current_rows(path)]
            assert [row for row, _ in cut] == last[len(last) - len(cut) :]
            assert tail < size or len(cut) == len(last)


@pytest.mark.parametrize(
    "offset", ["null", "-1", "true", '"0"', "1.5", "1e3", "10000000000000000000000", "[]", "{}"]
)
def test_an_offset_that_is_none_supersedes_nothing(tmp_path, offset):
    path = tmp_path / "journal"
    row = '{"step":1,"time":1.0,"metrics":{"x":1.0}}\n'
    event = f'{{"time":1.0,"event":"resume","offset":{offset}}}\n'
    text = '{"step":1,"media":{"x":{"type":"text","event":"resume","offset":0}}}\n'
    path.write_text(row + event + text + row)
    assert len([r for r, _ in current_rows(path) if "metrics" in r]) == 2


def test_a_resume_is_found_wherever_blocks_end(tmp_path, monkeypatch):
    path = tmp_path / "journal"
    journal = Journal(path)
    for step in range(1, 4):
        journal.log({"x": 1.0}, step)
        end = journal.position()
    journal.event("resume", step=2, offset=end // 3 * 2)
    journal.log({"x": 1.0}, 3)
    journal.close()
    whole = current_parts(path)
    assert len(whole) == 2
    for size in range(1, 400):
        monkeypatch.setattr("lib.runs.resumes._BLOCK_BYTES", size)
        assert current_parts(path) == whole


def test_what_is_shown_is_what_counts(tmp_path, capsys):
    run_dir, positions = killed_run(tmp_path, checkpoint={"metric": "val/loss", "mode": "max"})
    with resume(run_dir, 5, positions[5]) as run:
        run.log({"val/loss": 0.75, "lr": 0.5}, 6)
        run.log({"val/loss": -math.inf, "lr": 0.25}, 7)
    journal = run.journal.path
    assert last_metrics(journal) == {"train/loss": 0.2, "val/loss": -math.inf, "lr": 0.25}
    assert last_metrics(journal, tail=150) == {"val/loss": -math.inf, "lr": 0.25}
    best = best_evaluation(journal, {})
    assert best is not None and (best.step, best.metrics["val/loss"]) == (5, 0.2)
    best = best_evaluation(journal, run.metadata)
    assert best is not None and best.step == 1
    best = best_evaluation(journal, {"checkpoint": {"metric": "lr", "mode": "min"}})
    assert best is not None and best.step == 7
    curves, damaged = plots._read_curves(journal)
    assert damaged == 0
    assert [step for step, _ in curves["val/loss"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in curves["lr"]] == [6, 7]
