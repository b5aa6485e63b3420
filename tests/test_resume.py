# SPDX-License-Identifier: MIT
"""An interrupted training ends with the same numbers as one that was not, to the last bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from lib import lock
from lib.config.settings import load_settings
from lib.errors import BadUse, Failure
from lib.runs.stored import load_run
from lib.train import checkpoint
from lib.train.learner import Learner
from lib.train.loop import Loop
from lib.train.saver import Saver
from tests.forked import in_child, kill_self
from tests.killed import differences, in_first_evaluation, science
from tests.models import ENVIRONMENT, MODELS, ROOT, Finished, SmallModel, restored_torch, traits

PRUNED = ("--optimizer", "adamwprune", "--pruning-frequency", "1", "--pruning-unit", "steps")
PRUNED += ("--pruning-start", "2", "--pruning-end", "6", "--target-sparsity", "0.8")

# What each model is trained with. All have a row a step, so that the journal is compared, too.
CASES = {
    "sgd": ("--optimizer", "sgd", "--momentum", "0.9"),
    "adam": ("--optimizer", "adam"),
    "adamw": ("--optimizer", "adamw"),
    "amsgrad": ("--optimizer", "adamwadv"),
    "spam resets": ("--optimizer", "adamwspam", "--spam-reset-every", "3", "--spam-warmup", "2"),
    "stable spam": ("--optimizer", "adamwspam", "--spam-variant", "stable"),
    "accumulation": ("--batch-size", "4", "--grad-accum", "4"),
    "averaged": ("--ema-decay", "0.9"),
    "bfloat16": ("--precision", "bfloat16"),
    "histograms": ("--histogram-interval", "1", "--log-interval", "3"),
    "magnitude": ("--pruning-method", "magnitude", "--target-sparsity", "0.8"),
    "movement": ("--pruning-method", "movement", "--target-sparsity", "0.8"),
    "from start": ("--pruning-method", "movement-from-start", "--target-sparsity", "0.8"),
    "regrowth": (*PRUNED, "--regrowth", "0.3"),
    "averaged regrowth": (*PRUNED, "--regrowth", "0.3", "--ema-decay", "0.9"),
    "channels": (*PRUNED, "--pruning-pattern", "channel"),
    "pruned amsgrad": (*PRUNED, "--adamwprune-base", "adamwadv"),
    "pruned spam": (*PRUNED, "--adamwprune-base", "adamwspam", "--spam-reset-every", "4"),
}
# What a score remembers does not depend on the network: two of them are enough.
SCORES = {f"bitter{n}": (*PRUNED, "--pruning-score", f"bitter{n}") for n in range(10)}
ALL = [(m, n, f) for m in MODELS for n, f in (CASES | traits(m).RESUMED).items()]
ALL += [(m, n, f) for m in MODELS[:2] for n, f in SCORES.items()]

STEPS = ("--max-steps", "8", "--eval-interval", "4", "--checkpoint-interval", "2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A directory in which the data of each model are prepared once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def whole(folders):
    """whole(model, *flags): a training that nothing interrupts, made once for all tests."""
    trained: dict[tuple[str, ...], Finished] = {}

    def whole(model: SmallModel, *flags: str) -> Finished:
        key = (model.name, *flags)
        if key not in trained:
            output = folders / f"whole-{len(trained)}"
            output.mkdir()
            trained[key] = SmallModel(model.name, folders / model.name, output).train(*flags)
        return trained[key]

    return whole


@pytest.fixture
def small(folders, tmp_path):
    """A small model by name, whose trainings use one thread."""
    with restored_torch():
        yield lambda name: SmallModel(name, folders / name, tmp_path)


def train_killed(model: SmallModel, after: int, *flags: str, waits: bool = True) -> Finished:
    """Train, and be killed in step number `after`; if it `waits`, not while it is saving."""
    code = in_child(lambda: (kill_in_step(after, waits), model.train(*flags)))
    assert code == -signal.SIGKILL, f"the training was not killed: exit code {code}"
    model._count += 1  # the child's run
    return model.latest


def kill_in_step(number: int, waits: bool = True) -> None:
    """Have this process, a child, end in the middle of its step `number`, from 1."""
    update, save, count = Learner.update, Saver.save, [0]

    def counted(learner: Learner, lr: float) -> torch.Tensor:
        norm = update(learner, lr)
        count[0] += 1
        if count[0] == number:
            kill_self()
        return norm

    def waiting(saver: Saver, *args: object, **named: object) -> None:
        save(saver, *args, **named)
        saver.wait()

    Learner.update = counted
    if waits:
        Saver.save = waiting


def resume(model: SmallModel, run: Path, *flags: str) -> None:
    """In this process, with the settings of the run."""
    model.program.train(load_settings(model.name, ["--resume", str(run), *flags]))


def _case(model: str, name: str, flags: tuple[str, ...]) -> object:
    marks = () if name in ("adamw", "pruned spam") else pytest.mark.slow
    return pytest.param(model, flags, id=f"{model}-{name}", marks=marks)


@pytest.mark.parametrize(("name", "flags"), [_case(*each) for each in ALL])
def test_a_killed_training_ends_as_one_that_was_not(small, name, flags, whole):
    """Killed in step 6, it goes on from step 4, or from step 2 if that was being written."""
    model = small(name)
    uninterrupted = whole(model, *STEPS, *flags)
    killed = train_killed(model, 6, *STEPS, *flags, waits=False)
    resume(model, killed.dir)
    assert differences(science(uninterrupted.dir), science(killed.dir)) == []
    assert killed.metadata["status"] == "completed"
    assert [entry["step"] for entry in killed.metadata["resumes"]] in ([2], [4])


@pytest.fixture(params=MODELS)
def model(request, small):
    """Each model in turn."""
    return small(request.param)


def rows_of(run: Finished) -> list[dict]:
    return science(run.dir)["journal"]


@pytest.mark.slow
class TestWhereItIsKilled:
    @pytest.mark.parametrize("after", [1, 4, 5, 8])
    def test_in_any_step(self, model, after, whole):
        """In step 1 there is no checkpoint yet; step 8 is the last one."""
        uninterrupted = whole(model, *STEPS)
        killed = train_killed(model, after, *STEPS)
        if after == 1:
            with pytest.raises(Failure, match="no checkpoint"):
                resume(model, killed.dir)
            return
        resume(model, killed.dir)
        assert differences(science(uninterrupted.dir), science(killed.dir)) == []

    def test_again_and_again(self, model, whole):
        uninterrupted = whole(model, *STEPS)
        killed = train_killed(model, 3, *STEPS)
        for after in (1, 3, 2):
            code = in_child(lambda n=after: (kill_in_step(n), resume(model, killed.dir)))
            assert code == -signal.SIGKILL
        resume(model, killed.dir)
        assert differences(science(uninterrupted.dir), science(killed.dir)) == []
        assert [entry["step"] for entry in killed.metadata["resumes"]] == [2, 2, 4, 4]

    def test_at_the_very_end(self, model, monkeypatch, whole):
        """After the last step, before the results are recorded."""
        uninterrupted = whole(model, *STEPS)

        def work() -> None:
            Loop.finish = lambda *_, **__: kill_self()
            model.train(*STEPS)

        assert in_child(work) == -signal.SIGKILL
        model._count += 1
        resume(model, model.latest.dir)
        assert differences(science(uninterrupted.dir), science(model.latest.dir)) == []
        assert (
            model.latest.metadata["final_metrics"].keys()
            == uninterrupted.metadata["final_metrics"].keys()
        )

    def test_after_early_stop(self, model, whole):
        """It does not train on because it was killed when it had stopped."""
        slow = ("--learning-rate", "1e-20", "--eval-interval", "1", "--early-stop", "2")
        uninterrupted = whole(model, *slow, "--max-steps", "100")

        def work() -> None:
            Loop.finish = lambda *_, **__: kill_self()
            model.train(*slow, "--max-steps", "100")

        assert in_child(work) == -signal.SIGKILL
        model._count += 1
        resume(model, model.latest.dir)
        assert differences(science(uninterrupted.dir), science(model.latest.dir)) == []


@pytest.mark.slow
class TestInterrupted:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
    def test_by_a_signal_in_a_step(self, model, monkeypatch, number, whole):
        uninterrupted = whole(model, *STEPS)
        stop_after(monkeypatch, 3, number)
        with pytest.raises(KeyboardInterrupt):
            model.train(*STEPS)
        monkeypatch.undo()
        assert "make resume RUN=run-1" in model.latest.log
        resume(model, model.latest.dir)
        assert differences(science(uninterrupted.dir), science(model.latest.dir)) == []

    def test_in_an_evaluation_which_is_then_made_up_for(self, model, monkeypatch, whole):
        """The step of the evaluation is complete and saved, its row is still missing."""
        uninterrupted = whole(model, *STEPS)
        in_first_evaluation(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(KeyboardInterrupt):
            model.train(*STEPS)
        run = model.latest
        assert run.checkpoint()["step"] == 4 and run.rows("val/loss") == {}
        resume(model, run.dir)
        assert differences(science(uninterrupted.dir), science(run.dir)) == []

    def test_sigusr1_saves_and_goes_on(self, model, monkeypatch, whole):
        uninterrupted = whole(model, *STEPS, "--checkpoint-keep", "9")
        stop_after(monkeypatch, 3, signal.SIGUSR1)
        run = model.train(*STEPS, "--checkpoint-keep", "9")
        assert differences(science(uninterrupted.dir), science(run.dir)) == []
        steps = {path.name for path in (run.dir / "checkpoints").glob("step_*")}
        assert "step_00000003.pt" in steps and "SIGUSR1" in run.log


def stop_after(monkeypatch, updates: int, number: int) -> None:
    update, count = Learner.update, [0]

    def counted(learner, lr):
        norm = update(learner, lr)
        count[0] += 1
        if count[0] == updates:
            os.kill(os.getpid(), number)
        return norm

    monkeypatch.setattr(Learner, "update", counted)


class TestDamage:
    def test_the_newest_checkpoint_is_damaged(self, model, capsys, whole):
        uninterrupted = whole(model, *STEPS)
        killed = train_killed(model, 8, *STEPS)
        newest = killed.dir / "checkpoints" / "step_00000006.pt"
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
        resume(model, killed.dir)
        assert "step_00000006.pt" in capsys.readouterr().out
        assert [entry["step"] for entry in killed.metadata["resumes"]] == [4]
        assert differences(science(uninterrupted.dir), science(killed.dir)) == []

    def test_all_of_them_are(self, model, capsys):
        killed = train_killed(model, 8, *STEPS)
        for path in (killed.dir / "checkpoints").glob("*.pt"):
            os.truncate(path, 1000)
        with pytest.raises(Failure, match="none of the checkpoints can be loaded"):
            resume(model, killed.dir)
        said = capsys.readouterr().out
        assert "step_00000006.pt" in said and "step_00000004.pt" in said
        assert load_run(killed.dir).status == "interrupted"


@pytest.mark.slow
class TestOldCheckpoint:
    """A run can go on from any of its checkpoints; what came after that is superseded."""

    def test_with_the_same_settings_the_end_is_the_same(self, model, whole):
        uninterrupted = whole(model, *STEPS, "--checkpoint-keep", "9")
        run = model.train(*STEPS, "--checkpoint-keep", "9")
        resume(model, run.dir / "checkpoints" / "step_00000004.pt")
        assert differences(science(uninterrupted.dir), science(run.dir)) == []

    def test_newer_ones_are_gone_before_they_could_be_mistaken_for_its_own(self, model):
        run = model.train(*STEPS, "--checkpoint-keep", "9")
        folder = run.dir / "checkpoints"
        older = folder / "step_00000004.pt"
        code = in_child(lambda: (kill_in_step(1), resume(model, older)))
        assert code == -signal.SIGKILL
        assert sorted(p.name for p in folder.glob("step_*")) == [
            "step_00000002.pt",
            "step_00000004.pt",
        ]
        assert checkpoint.load(folder / "last.pt")["step"] == 4


class TestOtherSettings:
    def test_a_longer_training(self, model):
        run = model.train(*STEPS)
        resume(model, run.dir, "--max-steps", "12", "--weight-decay", "0.5")
        last = run.checkpoint()
        assert last["step"] == 12 and run.metadata["status"] == "completed"
        assert max(row["step"] for row in rows_of(run) if "step" in row) == 12
        assert run.metadata["resumes"][0]["changed"]["MAX_STEPS"] == [8, 12]
        assert {g["weight_decay"] for g in last["optimizer_state_dict"]["param_groups"]} == {0.5, 0}
        assert load_settings(model.name, ["--config", str(run.dir / ".config")]).MAX_STEPS == 12

    def test_another_mean_of_the_weights_is_refused(self, model):
        run = model.train(*STEPS, "--ema-decay", "0.9")
        said = "EMA_DECAY: 0.9 → 0.99: the mean of the weights has been taken with the old"
        with pytest.raises(BadUse, match=said):
            resume(model, run.dir, "--max-steps", "12", "--ema-decay", "0.99")

    def test_a_completed_run_needs_more_steps(self, model):
        run = model.train(*STEPS)
        for flags in ((), ("--max-steps", "6")):
            with pytest.raises(BadUse, match="nothing is left to train"):
                resume(model, run.dir, *flags)
        assert run.metadata["status"] == "completed"

    def test_data_that_changed_in_the_meantime(self, model, monkeypatch):
        killed = train_killed(model, 6, *STEPS, "--checkpoint-keep", "1")
        (path,) = (killed.dir / "checkpoints").glob("step_*")
        saved = checkpoint.load(path)
        checkpoint.save(path, saved | {"data": saved["data"] | {"fingerprint": "another"}})
        with pytest.raises(Failure, match="data set has changed"):
            resume(model, killed.dir)

    def test_another_models_run(self, small):
        if len(MODELS) < 2:
            pytest.skip("there is one model")
        run, other = small(MODELS[0]).train(), small(MODELS[1])
        with pytest.raises(BadUse, match=f"is a run of MODEL={MODELS[0]}"):
            resume(other, run.dir)


class TestRunning:
    def test_two_trainings_in_one_directory_are_refused(self, model):
        run = model.train(*STEPS)
        held = lock.hold(run.dir / ".lock")
        try:
            with pytest.raises(BadUse, match="is running"):
                resume(model, run.dir, "--max-steps", "12")
        finally:
            lock.release(held)


class TestInitFrom:
    def test_weights_alone_and_the_parent_is_recorded(self, model):
        parent = model.train("--max-steps", "6", "--learning-rate", "1e-3")
        child = model.train(
            *("--init-from", "run-1", "--learning-rate", "1e-20", "--warmup-steps", "0"),
            *model.in_parts,  # without batch norm that learns statistics
        )
        assert differences(parent.weights("best.pt"), child.weights()) == []
        best = parent.checkpoint("best.pt")["step"]
        assert child.metadata["parent"] == {
            "run": "run-1",
            "run_id": parent.metadata["run_id"],
            "checkpoint": "best.pt",
            "step": best,
        }
        assert child.checkpoint()["step"] == 6, "steps are counted anew"

    def test_a_file(self, model):
        parent = model.train("--checkpoint-interval", "1", "--checkpoint-keep", "9")
        path = parent.dir / "checkpoints" / "step_00000003.pt"
        child = model.train("--init-from", str(path), "--learning-rate", "1e-20", *model.in_parts)
        assert differences(checkpoint.load(path)["model_state_dict"], child.weights()) == []

    def test_a_file_of_something_else(self, model, tmp_path):
        checkpoint.save(tmp_path / "other.pt", {"step": 3})
        with pytest.raises(BadUse, match=r"other\.pt is no checkpoint .* lacks 'model_state_dict'"):
            model.train("--init-from", str(tmp_path / "other.pt"))

    def test_what_does_not_exist(self, model):
        with pytest.raises(BadUse, match="no such run"):
            model.train("--init-from", "nothing")
        assert not model.latest.dir.exists()


@pytest.mark.slow
def test_two_ranks(model):
    """All ranks are killed at once, and their launcher."""
    long = ("--max-steps", "120", "--eval-interval", "60", "--checkpoint-interval", "20")
    uninterrupted = model.train_on_ranks(2, *long)
    with subprocess.Popen(model.command(2, "killed", *long), env=ENVIRONMENT) as launcher:
        wait_for(model.output / "killed" / "checkpoints" / "step_00000020.pt")
        for process in (*psutil.Process(launcher.pid).children(recursive=True), launcher):
            process.kill()
    killed = Finished(model.output / "killed")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    program = [str(ROOT / model.name / "train.py"), "--resume", str(killed.dir)]
    subprocess.run(
        [*torchrun, "--nproc-per-node", "2", *program], check=True, timeout=300, env=ENVIRONMENT
    )
    assert killed.metadata["status"] == "completed"
    assert 20 <= killed.metadata["resumes"][0]["step"] < 120
    assert differences(science(uninterrupted.dir), science(killed.dir)) == []


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)
