# SPDX-License-Identifier: MIT
"""A run's directory, its metadata, and a status that is right however the process ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from lib.config.settings import load_settings
from lib.errors import BadUse
from lib.files import write_atomic
from lib.runs import metadata
from lib.runs.journal import read_rows
from lib.runs.run import NullRun, Run, RunError, check_name, default_name
from lib.runs.stored import find_runs, load_run
from lib.signals import Terminated

ROOT = Path(__file__).resolve().parents[3]

FIELDS = [
    "run_name",
    "run_id",
    "description",
    "hypothesis",
    "tags",
    "group",
    "job_type",
    "version",
    "status",
    "start_time",
    "end_time",
    "duration_s",
    "git",
    "science_hash",
    "command",
    "launch",
    "seed",
    "environment",
    "dataset",
    "model",
    "final_metrics",
    "results",
]


@pytest.fixture(autouse=True)
def single_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def stored(run):
    return yaml.safe_load((run.dir / "metadata.yaml").read_text())


def start(code, *arguments, **options):
    """A Python process from the root of the project, its output captured."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


# -- the directory


def test_a_completed_run(tmp_path, capsys):
    files = {".config": "CONFIG_SEED=1\n", "config.yaml": "SEED: 1\n"}
    with Run.create(tmp_path / "a" / "b", "lenet5_sgd", files=files, info={"seed": 1}) as run:
        assert stored(run)["status"] == "running"
        run.set_info(dataset={"name": "digits"}, tags=["x"])
        run.set_info(dataset={"sizes": {"train": 10}})
        run.log({"train/loss": 0.5}, 1)
        run.say("hello")
        run.summary({"final/best_val_loss": 0.25}, {"note": "fine"})
    assert run.dir == tmp_path / "a" / "b" / "lenet5_sgd"
    fields = stored(run)
    assert list(fields)[: len(FIELDS)] == FIELDS
    assert fields["status"] == "completed"
    assert fields["run_name"] == "lenet5_sgd"
    assert len(run.id) == 12 and int(run.id, 16) >= 0
    assert fields["run_id"] == run.id
    assert fields["seed"] == 1
    assert fields["tags"] == ["x"]
    assert fields["dataset"] == {"name": "digits", "sizes": {"train": 10}}
    assert fields["final_metrics"] == {"final/best_val_loss": 0.25}
    assert fields["results"] == {"note": "fine"}
    assert 0 < fields["duration_s"] < 10
    assert fields["start_time"] <= fields["end_time"]
    assert (run.dir / ".config").read_text() == "CONFIG_SEED=1\n"
    assert (run.dir / "config.yaml").read_text() == "SEED: 1\n"
    assert (run.dir / "logs" / "train.log").read_text().endswith(" hello\n")
    assert {p.name for p in run.dir.iterdir() if p.is_dir()} == {
        "checkpoints", "logs", "media", "plots",
    }  # fmt: skip
    events = [row.get("event", row.get("step")) for row, _ in read_rows(run.journal.path)]
    assert events == ["start", 1, "finish"]
    run.print_summary()
    out = capsys.readouterr().out
    assert "hello" in out
    for piece in ("completed", "best val loss", "0.25", f"make show RUN={run.dir}"):
        assert piece in out


def test_final_metrics_may_be_of_any_kind(tmp_path, capsys):
    numpy = pytest.importorskip("numpy")
    with Run.create(tmp_path, "x") as run:
        run.summary({"a": numpy.float64("nan"), "b": None, "c": "text", "d": numpy.int64(3)})
    assert repr(stored(run)["final_metrics"]) == "{'a': nan, 'b': None, 'c': 'text', 'd': 3}"
    assert capsys.readouterr().out == ""


def test_a_null_run_for_other_ranks(tmp_path, monkeypatch):
    rank_1 = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    for name, value in {**rank_1, "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    with Run.create(tmp_path / "out", "x") as run:
        assert isinstance(run, NullRun)
        run.log({"x": 1.0}, 1)
        run.record({"media": {}}, 1)
        run.flush()
        run.plot()
        run.say("hello")
        run.set_info(seed=1)
        run.summary({})
    run.print_summary()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="Not a directory"):
        (run.dir / "file").write_text("")


def test_the_null_run_has_every_method_of_a_run():
    makers = {"create", "from_settings", "resume"}
    public = {name for name in vars(Run) if not name.startswith("_")} - makers
    bound = {"log", "record", "flush", "position", "sync", "dir", "name", "id"}
    assert public | bound <= set(vars(NullRun))


def test_from_settings(tmp_path):
    (tmp_path / ".config").write_text("CONFIG_SEED=3\n")
    flags = ["--config", str(tmp_path / ".config"), "--output-dir", str(tmp_path)]
    flags += ["--description", "what", "--hypothesis", "why", "--tracker-tags", "a, b"]
    settings = load_settings("lenet5", flags)
    with Run.from_settings(settings, model="lenet5") as run:
        assert run.name.startswith("lenet5_adamw_2")
    fields = stored(run)
    assert (fields["description"], fields["hypothesis"]) == ("what", "why")
    assert (fields["science_hash"], fields["seed"]) == (settings.science_hash, 3)
    assert (fields["model"], fields["optimizer"]) == ({"name": "lenet5"}, "adamw")
    assert (fields["tags"], fields["group"], fields["job_type"]) == (["a", "b"], "", "train")
    settings = load_settings("lenet5", [*flags, "--tracker-run-name", "mine"])
    with Run.from_settings(settings, model="lenet5") as run:
        assert run.name == "mine"


# -- names


@pytest.mark.parametrize(
    "name", ["a", "lenet5_adamw_20250101-120000", "A.b-c_d", "_x", "-x", "1.0"]
)
def test_good_names(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "a..b", "a/b", "/a", "a b", "é", "a\n", "$(x)", "a" * 129]
)
def test_bad_names(name, tmp_path):
    with pytest.raises(BadUse, match="allowed are"):
        Run.create(tmp_path / "out", name)
    assert not (tmp_path / "out").exists()


def test_default_names_match_the_rule():
    assert check_name(default_name("gpt2", "adamwprune"))


def test_a_taken_name_gets_a_number(tmp_path):
    (tmp_path / "x_3").mkdir()
    names = []
    for _ in range(3):
        with Run.create(tmp_path, "x") as run:
            names.append(run.name)
    assert names == ["x", "x_2", "x_4"]


RACER = """
import sys, time
from lib.runs.run import Run
time.sleep(max(0, float(sys.argv[2]) - time.time()))
with Run.create(sys.argv[1], "same") as run:
    print(run.name, run.id)
"""


def test_runs_started_at_the_same_instant_do_not_collide(tmp_path):
    at = time.time() + 1.0
    racers = [start(RACER, tmp_path, at) for _ in range(4)]
    said = [racer.communicate()[0].split() for racer in racers]
    assert sorted(name for name, _ in said) == ["same", "same_2", "same_3", "same_4"]
    assert len({run_id for _, run_id in said}) == 4
    assert {run.status for run in find_runs(tmp_path)} == {"completed"}


# -- how a run ends


def test_an_exception_makes_it_failed(tmp_path):
    with pytest.raises(ValueError, match="loss"), Run.create(tmp_path, "x") as run:
        raise ValueError("loss is NaN, --token hunter2")
    assert stored(run)["status"] == "failed"
    assert stored(run)["error"] == "ValueError: loss is NaN, --token [redacted]"
    log = (run.dir / "logs" / "train.log").read_text()
    assert "Traceback" in log
    assert "hunter2" not in log


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (Terminated(), "interrupted"),
        (SystemExit(0), "completed"),
        (SystemExit(3), "failed"),
    ],
)
def test_other_ways_out(tmp_path, error, status):
    with pytest.raises(type(error)), Run.create(tmp_path, "x") as run:
        raise error
    assert stored(run)["status"] == status


def test_an_interrupted_run_says_how_good_it_had_become(tmp_path):
    with pytest.raises(KeyboardInterrupt), Run.create(tmp_path, "x") as run:
        for step, loss in enumerate([0.5, 0.25, 0.75]):
            run.log({"val/loss": loss, "val/accuracy": 1 - loss}, step)
        raise KeyboardInterrupt
    expected = {"final/best_val_loss": 0.25, "final/best_val_accuracy": 0.75}
    assert stored(run)["final_metrics"] == expected


@pytest.mark.parametrize(("steps", "expected"), [(7, {"final/best_val_loss": 0.75}), (4, {})])
def test_the_best_of_an_interrupted_pruned_run_is_of_the_pruned_network(tmp_path, steps, expected):
    with pytest.raises(KeyboardInterrupt), Run.create(tmp_path, "x") as run:
        run.set_info(pruning={"target": 0.9, "end_step": 5})
        for step, loss in enumerate([0.5, 0.25, 0.25, 0.5, 1.0, 0.875, 0.75][:steps]):
            run.log({"val/loss": loss}, step)
        if steps == 7:
            (run_seen_alive,) = find_runs(tmp_path)
            assert run_seen_alive.metadata["final_metrics"] == expected
        raise KeyboardInterrupt
    assert stored(run)["final_metrics"] == expected
    killed = {**stored(run), "status": "running", "final_metrics": {}}
    metadata.save(run.dir / "metadata.yaml", killed)
    assert load_run(run.dir).metadata["final_metrics"] == expected


def test_sigterm_is_raised_and_the_old_handler_restored(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), Run.create(tmp_path, "x") as run:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert stored(run)["status"] == "interrupted"
    assert signal.getsignal(signal.SIGTERM) == before


ENDLESS = """
import sys, time
from lib.cli import run_main
from lib.runs.run import Run
def main():
    with Run.create(sys.argv[1], "x", info={"model": {"name": "lenet5"}}) as run:
        step = 0
        while True:
            run.log({"val/loss": 1 / (1 + step), "val/accuracy": 0.5}, step)
            if step == 20: print("begun", flush=True)
            step += 1
            time.sleep(0.001)
run_main(main)
"""


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_interrupted_from_outside(tmp_path, sent, code):
    process = start(ENDLESS, tmp_path)
    process.stdout.readline()
    process.send_signal(sent)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (code, "")
    (run,) = find_runs(tmp_path)
    assert run.status == "interrupted"
    assert [row for row, _ in read_rows(run.journal)][-1]["event"] == "finish"
    assert not list(run.dir.rglob("*.tmp"))


def test_after_kill_9_the_next_look_says_interrupted(tmp_path):
    process = start(ENDLESS, tmp_path)
    process.stdout.readline()
    (run,) = find_runs(tmp_path)
    assert run.status == "running"
    assert run.metadata["final_metrics"]["final/best_val_accuracy"] == 0.5
    half = run.dir / "checkpoints" / ".last.pt.1.tmp"
    half.touch()
    process.kill()
    process.communicate()
    assert yaml.safe_load((run.dir / "metadata.yaml").read_text())["status"] == "running"
    (run,) = find_runs(tmp_path)
    assert not half.exists() and not (run.dir / ".reserve").exists()
    assert run.status == "interrupted"
    fields = yaml.safe_load((run.dir / "metadata.yaml").read_text())
    assert fields["status"] == "interrupted"
    assert fields["start_time"] <= fields["end_time"]
    assert 0 < fields["duration_s"] < 60
    last = [row for row, _ in read_rows(run.journal)][-1]
    assert fields["final_metrics"]["final/best_val_loss"] == last["metrics"]["val/loss"]
    assert list(fields)[: len(FIELDS)] == FIELDS


def test_a_child_that_outlives_the_run_does_not_keep_it_alive(tmp_path):
    code = ENDLESS.replace(
        "step = 0", "step = 0; import os\n        if os.fork() == 0: time.sleep(60)", 1
    )
    process = start(code, tmp_path, start_new_session=True)
    process.stdout.readline()
    process.kill()
    process.wait()
    try:
        assert load_run(tmp_path / "x").status == "interrupted"
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def test_the_status_of_a_read_only_archive(tmp_path, monkeypatch):
    with Run.create(tmp_path, "x") as run:
        pass
    text = (run.dir / "metadata.yaml").read_text().replace("completed", "running")
    (run.dir / "metadata.yaml").write_text(text)

    def refuse(*_):
        raise OSError("read-only")

    monkeypatch.setattr(metadata, "save", refuse)
    assert load_run(run.dir).status == "interrupted"
    assert (run.dir / "metadata.yaml").read_text() == text


# -- trouble with the disk

LIMITED = """
import resource, sys
from lib.cli import run_main
from lib.runs.run import Run
def main():
    if sys.argv[2] == "before":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, -1))
    with Run.create(sys.argv[1], "x", files={"big": "y" * 200}) as run:
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, -1))
        for step in range(50):
            run.log({"train/loss": 0.5}, step)
        run.set_info(seed=4)
    print("trained on")
run_main(main)
"""


def test_a_full_disk_before_training_is_one_clear_error(tmp_path):
    process = start(LIMITED, tmp_path / "out", "before")
    out, errors = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert errors.startswith(f"error: cannot write a run directory in {tmp_path / 'out'}: File too")
    assert "OUTPUT_DIR" in errors and errors.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_a_new_run_sweeps_the_checkpoints_that_killed_ones_left_half_written(tmp_path):
    half = tmp_path / "killed" / "checkpoints" / ".last.pt.1.tmp"
    half.parent.mkdir(parents=True)
    half.touch()
    with Run.create(tmp_path, "x") as run:
        assert not half.exists()
        assert (run.dir / ".reserve").stat().st_size > 100_000
    assert not (run.dir / ".reserve").exists()


FULL = """
import sys
from lib.cli import run_main
from lib.errors import Failure
from lib.runs.run import Run
def main():
    with Run.create(sys.argv[1], "x") as run:
        try:
            with open(sys.argv[1] + "/other", "wb") as other:
                while True:
                    other.write(bytes(512))
                    other.flush()
        except OSError as error:
            print(error.strerror)
        run.log({"val/loss": 0.5}, 1)
        run.set_info(seed=4)
        run.summary({"final/test_loss": 0.25})
        raise Failure("the disk is full" + sys.argv[2] * 300_000)
run_main(main)
"""


@pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "true"], check=False).returncode != 0,
    reason="needs the right to mount a file system of its own",
)
@pytest.mark.parametrize("rest", ["", "!"], ids=["short error", "error larger than the reserve"])
def test_a_run_that_ends_on_a_full_disk_says_so_in_its_metadata(tmp_path, rest):
    script = (
        'mount -t tmpfs -o size=20m none "$1" && "$2" -c "$3" "$1" "$4"; cat "$1/x/metadata.yaml"'
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", tmp_path, sys.executable, FULL, rest],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said, _, written = done.stdout.partition("run_name:")
    assert said.startswith("No space left on device\n")
    assert "warning: metadata.yaml could not be updated: No space left on device\n" in said
    fields = yaml.safe_load(f"run_name:{written}")
    assert fields["status"] == "failed"
    assert fields["error"].startswith("Failure: the disk is full")
    assert fields["seed"] == 4
    assert fields["final_metrics"]["final/test_loss"] == 0.25


def test_a_disk_that_fills_up_during_training_costs_rows_but_not_the_run(tmp_path):
    process = start(LIMITED, tmp_path, "during")
    out, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert out.count("metrics are being lost, training goes on: File too large") == 1
    assert "rows are missing from the journal" in out
    assert out.endswith("trained on\n")
    assert not list(tmp_path.rglob("*.tmp"))


def test_plots_that_cannot_be_written_cost_only_themselves(tmp_path, capsys):
    with Run.create(tmp_path, "x") as run:
        run.log({"train/loss": 0.5}, 1)
        run.plot()
        assert (run.dir / "plots" / "loss.png").exists()
        (run.dir / "plots" / "loss.png").unlink()
        (run.dir / "plots" / "loss.png").mkdir()
        run.plot()
    assert (
        f"warning: no plots: Is a directory (make plots RUN={run.dir})" in capsys.readouterr().out
    )
    assert stored(run)["status"] == "completed"


@pytest.mark.parametrize("place", ["a file", "under a file"])
def test_an_output_directory_that_cannot_be(tmp_path, place):
    (tmp_path / "file").write_text("")
    where = tmp_path / "file" if place == "a file" else tmp_path / "file" / "out"
    with pytest.raises(RunError, match="OUTPUT_DIR"):
        Run.create(where, "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_output_directory(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="Permission denied"):
        Run.create(tmp_path / "out", "x")


def test_no_space_is_noticed_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(RunError, match="No space left"):
        Run.create(tmp_path, "x")
    assert list(tmp_path.iterdir()) == []


def test_an_atomic_write_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# -- what metadata.yaml knows


def git(where, *arguments):
    subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    where = tmp_path / "checkout"
    where.mkdir()
    git(where, "init", "-b", "trunk")
    git(where, "config", "user.email", "a@example.org")
    git(where, "config", "user.name", "a")
    (where / "code.py").write_text("x = 1\n")
    git(where, "add", ".")
    git(where, "commit", "-m", "first")
    return where


def test_git(checkout):
    state, diff = metadata.git_state(checkout)
    assert (state["branch"], state["dirty"], diff) == ("trunk", False, "")
    assert len(state["commit"]) == 40
    (checkout / "code.py").write_text('x = 2\napi_key = "hunter2"\n')
    state, diff = metadata.git_state(checkout)
    assert state["dirty"] is True
    assert "+x = 2" in diff
    assert "hunter2" not in diff
    git(checkout, "checkout", "--detach", "-f")
    assert metadata.git_state(checkout)[0]["branch"] is None


def test_the_diff_of_a_dirty_checkout_is_kept(tmp_path, checkout):
    (checkout / "code.py").write_text("x = 2\n")
    with Run.create(tmp_path / "out", "x", code=checkout) as run:
        pass
    assert stored(run)["git"]["diff"] == "git.diff"
    assert "+x = 2" in (run.dir / "git.diff").read_text()


def test_files_that_git_does_not_know_are_named(checkout):
    """A model that was never added is in no diff, and the checkout counts as clean."""
    (checkout / "model.py").touch()
    (checkout / "folder").mkdir()
    (checkout / "folder" / "file").touch()
    state, _ = metadata.git_state(checkout)
    assert (state["dirty"], state["untracked"]) == (False, ["folder/", "model.py"])
    for number in range(30):
        (checkout / f"{number:02}").touch()
    names = metadata.git_state(checkout)[0]["untracked"]
    assert names == [*(f"{number:02}" for number in range(20)), "and 12 more"]


NO_GIT = {"commit": None, "branch": None, "dirty": None, "untracked": None}


def test_outside_a_checkout_and_without_git(tmp_path, checkout, monkeypatch):
    assert metadata.git_state(tmp_path) == (NO_GIT, "")
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))  # as in a hook
    assert metadata.git_state(tmp_path) == (NO_GIT, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert metadata.git_state(checkout) == (NO_GIT, "")


def test_a_repository_without_a_commit(tmp_path):
    git(tmp_path, "init", "-b", "trunk")
    expected = {"commit": None, "branch": "trunk", "dirty": False, "untracked": []}
    assert metadata.git_state(tmp_path)[0] == expected


def test_environment_lists_the_direct_packages(tmp_path):
    (tmp_path / "requirements.txt").write_text("# no\nPyYAML==6\nnot-there==1\norjson>=3\n")
    found = metadata.environment(tmp_path / "requirements.txt")
    keys = ["python", "torch", "cuda", "cudnn", "driver", "os", "cpu", "memory_gib", "gpus"]
    assert list(found) == [*keys, "packages"]
    assert 0.1 < found["memory_gib"] < 2**20
    assert found["packages"] == {"PyYAML": yaml.__version__, "orjson": found["packages"]["orjson"]}
    assert found["cpu"]["cores"] == os.cpu_count()
    imported = metadata.environment(tmp_path / "missing")["packages"]
    assert imported["pytest"] == pytest.__version__ and "PyYAML" not in imported


def test_torch_is_asked_only_when_it_is_loaded(tmp_path):
    code = (
        "import sys; from lib.runs.run import Run\nwith Run.create(sys.argv[1], 'x'): pass\n"
        "sys.exit('torch' in sys.modules or 'rich' in sys.modules)"
    )
    process = start(code, tmp_path)
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    assert load_run(tmp_path / "x").metadata["environment"]["torch"] is None


def test_metadata_holds_what_yaml_cannot(tmp_path):
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "metadata.yaml"
    value = {"a": numpy.float32(0.5), "b": (1, Path("x")), "c": "\udcff", 1: {2}, "d": "a\nb: #"}
    metadata.save(path, value)
    assert metadata.load(path) == {
        "a": 0.5,
        "b": [1, "x"],
        "c": "\\udcff",
        "1": [2],
        "d": "a\nb: #",
    }


def test_parts_of_metadata_can_be_left_out(tmp_path):
    path = tmp_path / "metadata.yaml"
    metadata.save(path, {"a": 1, "git": {"x": "y"}, "text": "1\n\n2\nb: 3", "tags": [1], "b": 2})
    assert metadata.load(path, without=["git", "text", "tags"]) == {"a": 1, "b": 2}


def test_damaged_metadata(tmp_path):
    path = tmp_path / "metadata.yaml"
    for text in ("", "- 1", "a: [", "\x00"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"metadata\.yaml"):
            metadata.load(path)
