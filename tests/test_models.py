# SPDX-License-Identifier: MIT
"""What the training of every model must do."""

import functools
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable

import pytest
import torch

from lib.data.cache import fingerprint
from lib.errors import BadUse, Failure
from lib.signals import Terminated
from lib.train import batch_finding
from lib.train.checkpoint import CheckpointError
from lib.train.checkpoint.index import read_index
from lib.train.clock import Clock
from lib.train.guard import Diverged
from lib.train.learner import Learner
from lib.train.loop import Loop
from lib.train.runtime import Runtime
from lib.train.saver import Saver
from tests.models import ENVIRONMENT, MODELS, ROOT, Finished, SmallModel, restored_torch


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A directory in which the data of each model are prepared once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(params=MODELS)
def model(request, folders, tmp_path):
    """Each model in turn; restores PyTorch's settings afterwards."""
    with restored_torch():
        yield SmallModel(request.param, folders / request.param, tmp_path)


def after_update(monkeypatch, do: Callable[[int, torch.optim.Optimizer], None]):
    """Call `do(number of the update, optimizer)` after each update."""
    update, count = Learner.update, [0]

    def updating(learner, lr):
        norm = update(learner, lr)
        count[0] += 1
        do(count[0], learner.optimizer)
        return norm

    monkeypatch.setattr(Learner, "update", updating)


def losses(run: Finished) -> list[float]:
    return [*run.rows("train/loss").values(), *run.rows("val/loss").values()]


def test_it_trains_and_keeps_what_it_did(model):
    run = model.train("--max-steps", "40", "--eval-interval", "15", "--log-interval", "5")
    found, state = run.metadata, run.checkpoint()["training_state"]
    assert found["status"] == "completed"
    assert found["model"]["name"] == model.name and found["model"]["parameters"] > 0
    assert (found["device"], found["precision"]) == ("cpu", "float32")
    assert found["batch"]["world_size"] == found["batch"]["micro_steps"] == 1
    for name in ("train/loss", "lr", "grad_norm", "perf/step_ms"):
        assert list(run.rows(name)) == [1, 5, 10, 15, 20, 25, 30, 35, 40]
    assert run.rows("train/loss")[40] < run.rows("train/loss")[1]
    validation = run.rows("val/loss")
    assert list(validation) == [15, 30, 40]

    best = min(validation, key=validation.get)
    assert state["best"]["val/loss"] == validation[best]
    assert state["best_step"] == best == run.checkpoint("best.pt")["step"]
    assert found["best"] == {"step": best, "epoch": round(best / found["steps_per_epoch"], 3)}
    assert state["step"] == 40 and state["examples"] == 40 * found["batch"]["effective"]
    assert found["final_metrics"]["final/best_val_loss"] == validation[best]
    assert state["elapsed_s"] <= found["final_metrics"]["final/training_time_s"]
    assert run.checkpoint()["settings_hash"] == found["science_hash"]
    assert "weight decay: " in run.log


def test_what_comes_before_the_first_step_is_not_part_of_it(model, monkeypatch):
    """A clock that says a thousand seconds later once the run has been announced."""
    now, announce = [0.0], Loop.announce

    def tick() -> float:
        now[0] += 0.001
        return now[0]

    def slow(loop, *args, **kwargs):
        announce(loop, *args, **kwargs)
        now[0] += 1000.0

    monkeypatch.setattr("lib.train.loop.Clock", functools.partial(Clock, now=tick))
    monkeypatch.setattr(Loop, "announce", slow)
    run = model.train()
    assert run.rows("perf/step_ms")[1] < 1000
    assert run.metadata["final_metrics"]["final/training_time_s"] < 1


def test_two_trainings_are_equal_to_the_last_bit(model):
    first, second, other = model.train(), model.train(), model.train("--seed", "1")
    digests = [fingerprint(run.weights()) for run in (first, second, other)]
    assert digests[0] == digests[1] != digests[2]
    assert losses(first) == losses(second)


def test_logging_evaluating_and_saving_change_nothing(model):
    silent = model.train("--log-interval", "100", "--eval-interval", "100")
    often = model.train("--eval-interval", "1", "--checkpoint-interval", "2")
    assert fingerprint(silent.weights()) == fingerprint(often.weights())


def test_accumulation_is_the_same_batch_in_parts(model):
    size = model.train(*model.in_parts).metadata["batch"]["effective"]
    parts = model.train("--batch-size", str(size // 4), "--grad-accum", "4", *model.in_parts)
    assert parts.metadata["batch"]["micro_steps"] == 4
    whole = Finished(model.output / "run-1")
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-5)
    assert list(parts.rows("grad_norm").values()) == pytest.approx(
        list(whole.rows("grad_norm").values()), rel=1e-4
    )


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_16_bits_are_close_to_float32(model, precision):
    full, half = model.train(), model.train("--precision", precision)
    assert half.rows("train/loss")[1] != full.rows("train/loss")[1]
    assert half.rows("train/loss")[4] == pytest.approx(full.rows("train/loss")[4], rel=0.02)
    assert half.metadata["precision"] == precision
    scales = {1: 65536.0, 4: 65536.0} if precision == "float16" else {}
    assert half.rows("loss_scale").items() >= scales.items()


def test_auto_keeps_the_effective_batch(model):
    run = model.train(
        *("--hyper-param-auto", "--target-effective-batch", "10", "--batch-size", "4")
    )
    assert run.metadata["batch"] == {
        "effective": 10,
        "world_size": 1,
        "micro": 2,  # the largest divisor of 10 that is not above BATCH_SIZE
        "micro_steps": 5,
    }


class TestOutOfMemory:
    def test_the_step_is_done_again_in_smaller_parts(self, model, monkeypatch):
        """Out of memory in the second of two micro-steps: nothing of either may remain."""
        size = model.train().metadata["batch"]["effective"]
        halves = ("--batch-size", str(size // 2), "--grad-accum", "2", *model.in_parts)
        expected = model.train(*halves)
        backward, graphs, alive = torch.Tensor.backward, [], []

        def limited(loss, *args, **kwargs):
            if len(graphs) < 4:
                graphs.append(weakref.ref(loss))
            if len(graphs) == 4 and not alive:
                raise torch.OutOfMemoryError("injected")
            return backward(loss, *args, **kwargs)

        def release(device):
            alive.append([graph for graph in graphs if graph() is not None])

        monkeypatch.setattr(torch.Tensor, "backward", limited)
        monkeypatch.setattr(batch_finding, "release", release)
        run = model.train(*halves)
        assert alive == [[]], "no activation is alive when the memory is asked for again"
        assert "out of memory in step 2" in run.log
        assert run.metadata["batch"]["micro"] < size // 2
        assert run.metadata["batch"]["effective"] == size
        assert losses(run) == pytest.approx(losses(expected), abs=1e-5)

    def test_there_is_an_end_to_halving(self, model, monkeypatch):
        def never(*_, **__):
            raise torch.OutOfMemoryError("injected")

        monkeypatch.setattr(torch.Tensor, "backward", never)
        with pytest.raises(Failure, match="single example"):
            model.train(*model.in_parts)


class TestDivergence:
    """A gradient or weight that is not finite ends a training before a good file is replaced."""

    def spoil_gradients(self, monkeypatch, at: int) -> None:
        update, count = Learner.update, [0]

        def spoilt(learner, lr):
            count[0] += 1
            if count[0] == at:
                learner.optimizer.param_groups[0]["params"][0].grad.fill_(float("nan"))
            return update(learner, lr)

        monkeypatch.setattr(Learner, "update", spoilt)

    def test_at_once_where_looking_is_free(self, model, monkeypatch):
        self.spoil_gradients(monkeypatch, at=3)
        with pytest.raises(Diverged, match="norm of the gradient is nan at step 3"):
            model.train("--checkpoint-interval", "1", "--log-interval", "100")
        run = model.latest
        assert run.metadata["status"] == "failed" and "nan" in run.metadata["error"]
        assert run.checkpoint()["step"] == 2

    @pytest.mark.parametrize(
        "interval", [("--checkpoint-interval", "2"), ("--eval-interval", "2")], ids=["save", "eval"]
    )
    def test_before_a_checkpoint_where_looking_makes_a_gpu_wait(self, model, monkeypatch, interval):
        monkeypatch.setattr(Runtime, "reads_freely", False)
        self.spoil_gradients(monkeypatch, at=4)
        with pytest.raises(Diverged, match="at step 4"):
            model.train("--log-interval", "100", "--eval-interval", "100", *interval)
        assert model.latest.checkpoint()["step"] == 2

    def test_weights_that_became_nan_from_a_finite_gradient(self, model, monkeypatch):
        def spoil(number, optimizer):
            if number == 4:
                weight = optimizer.param_groups[0]["params"][0].data
                weight[(0,) * weight.ndim] = float("nan")

        after_update(monkeypatch, spoil)
        with pytest.raises(Diverged, match="largest weight is nan at step 4"):
            model.train("--checkpoint-interval", "2", "--eval-interval", "100")
        assert model.latest.checkpoint()["step"] == 2

    def test_an_interruption_does_not_save_it(self, model, monkeypatch):
        def stop_after(number, optimizer):
            if number == 3:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(Runtime, "reads_freely", False)
        after_update(monkeypatch, stop_after)
        self.spoil_gradients(monkeypatch, at=3)
        with pytest.raises(Terminated):
            rarely = ("--log-interval", "100", "--eval-interval", "100")
            model.train("--checkpoint-interval", "2", *rarely)
        assert model.latest.checkpoint()["step"] == 2
        assert "interrupted; not saved: the norm of the gradient is nan" in model.latest.log

    def test_a_learning_rate_that_is_far_too_high(self, model):
        with pytest.raises(Diverged, match=r"is (nan|inf) at step \d.*Try a lower LEARNING_RATE"):
            model.train("--optimizer", "sgd", "--learning-rate", "1e30", "--max-steps", "20")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_step_it_came_in(model, monkeypatch, number):
    def stop_after(updates, optimizer):
        if updates == 2:
            os.kill(os.getpid(), number)

    after_update(monkeypatch, stop_after)
    with pytest.raises(KeyboardInterrupt) as raised:
        model.train("--max-steps", "1000")
    assert isinstance(raised.value, Terminated) is (number == signal.SIGTERM)
    run, last = model.latest, model.latest.checkpoint()
    assert run.metadata["status"] == "interrupted"
    assert last["step"] == last["training_state"]["step"] == 2
    steps = {int(s["step"]) for s in last["optimizer_state_dict"]["state"].values()}
    assert steps == {2}, "every weight has had the same updates"


class TestFullDisk:
    """A limit on the size of files, above that of journal and metadata, simulates a full disk."""

    @pytest.fixture
    def full_between(self, model, monkeypatch, file_size_limit):
        def between(first: int, last: int) -> None:
            limit = file_size_limit(50_000)

            def fill(number, optimizer):
                if number == first:
                    limit.__enter__()
                if number == last:
                    limit.__exit__(None, None, None)

            after_update(monkeypatch, fill)

            def save_at_once(saver, *contents, **of_step):
                save(saver, *contents, **of_step)
                saver.wait()

            # Otherwise the limit could meet a checkpoint that is still being written.
            save = Saver.save
            monkeypatch.setattr(Saver, "save", save_at_once)

        yield between
        # A training that ends early leaves the limit set.
        import resource

        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    def test_a_checkpoint_that_cannot_be_written_costs_no_training(self, model, full_between):
        full_between(3, 5)
        run = model.train("--checkpoint-interval", "2", "--eval-interval", "100")
        assert run.metadata["status"] == "completed"
        assert "warning: no checkpoint of step 4, training goes on: cannot write" in run.log
        assert run.checkpoint()["step"] == 6 and list(run.rows("train/loss")) == [1, 2, 3, 4, 5, 6]

    def test_a_run_without_its_final_state_has_failed(self, model, full_between):
        full_between(3, 100)
        with pytest.raises(CheckpointError, match=r"last.pt lacks step 6: cannot write .*\.pt: "):
            model.train("--checkpoint-interval", "2", "--eval-interval", "100")
        run = model.latest
        assert run.metadata["status"] == "failed" and "lacks step 6" in run.metadata["error"]
        assert run.log.count("warning: no checkpoint") == 1, "until one can be written"
        assert run.checkpoint()["step"] == 2, "the last good one stays"
        assert run.metadata["final_metrics"]["final/best_val_loss"] > 0


def test_the_best_of_a_pruned_training_has_the_sparsity_that_was_asked_for(model):
    """It loses nearly all of its weights at the end, so that it was better before."""
    pruned = ("--optimizer", "adamwprune", "--target-sparsity", "0.99", "--pruning-embeddings")
    late = ("--pruning-unit", "steps", "--pruning-start", "24", "--pruning-end", "26")
    fast = ("--learning-rate", "0.01", "--max-steps", "28", "--pruning-frequency", "1")
    run = model.train(*pruned, *late, *fast, "--eval-interval", "2", "--early-stop", "3")
    losses, best = run.rows("val/loss"), run.checkpoint("best.pt")
    end = run.metadata["pruning"]["end_step"]
    assert min(losses, key=losses.get) < end <= best["step"]
    assert best["training_state"]["best"]["val/loss"] == losses[best["step"]]
    assert run.metadata["final_metrics"]["final/best_val_loss"] == losses[best["step"]]


class TestWhatIsKept:
    def test_the_best_is_that_of_the_chosen_metric(self, model):
        """The highest loss: a direction in which the first evaluation of a training wins."""
        more = ("--checkpoint-metric", "val/loss", "--checkpoint-mode", "max")
        run = model.train(*more, "--eval-interval", "1")
        losses, best = run.rows("val/loss"), run.checkpoint("best.pt")
        worst = max(losses, key=losses.get)
        assert best["step"] == worst != 6
        assert run.metadata["final_metrics"]["final/best_val_loss"] == losses[worst]
        entries = {entry.step: entry for entry in read_index(run.dir / "checkpoints")}
        assert [step for step, entry in entries.items() if entry.best] == [worst]
        assert entries[worst].metrics["val/loss"] == losses[worst]

    def test_a_metric_that_does_not_exist(self, model):
        with pytest.raises(BadUse, match=r"CHECKPOINT_METRIC=val/los .* did you mean val/loss"):
            model.train("--checkpoint-metric", "val/los")
        assert not model.latest.dir.exists()

    def test_the_latest_and_milestones(self, model):
        """best.pt is another name of a file that is there anyway."""
        run = model.train("--checkpoint-interval", "1", "--checkpoint-every", "2")
        folder = run.dir / "checkpoints"
        steps = {int(path.stem[5:]) for path in folder.glob("step_*.pt")}
        best = run.checkpoint("best.pt")["step"]
        assert steps == {2, 4, 5, 6, best}
        assert (folder / "best.pt").samefile(folder / f"step_{best:08d}.pt")
        assert (folder / "last.pt").samefile(folder / "step_00000006.pt")

    def test_by_the_clock(self, model, monkeypatch):
        """Each look at the clock takes ten seconds."""
        now = [0.0]

        def tick() -> float:
            now[0] += 10
            return now[0]

        monkeypatch.setattr("lib.train.loop.Clock", functools.partial(Clock, now=tick))
        rarely = ("--checkpoint-interval", "100", "--eval-interval", "100")
        run = model.train(*rarely, "--checkpoint-minutes", "1", "--checkpoint-keep", "9")
        steps = [entry.step for entry in read_index(run.dir / "checkpoints")]
        assert 1 not in steps and 6 in steps and len(steps) in (2, 3)

    def test_compressed(self, model):
        plain, packed = model.train(), model.train("--checkpoint-compress")
        assert fingerprint(plain.weights()) == fingerprint(packed.weights())


class TestEnds:
    def test_early_stop(self, model):
        # At this rate the loss does not improve by more than rounding.
        slow = ("--learning-rate", "1e-20", "--eval-interval", "1")
        run = model.train(*slow, "--early-stop", "2", "--max-steps", "100")
        assert run.checkpoint()["training_state"]["evaluations_since_best"] == 2
        assert len(run.rows("val/loss")) < 20
        assert "no better val/loss in 2 evaluations" in run.log

    def test_max_time(self, model):
        long = ("--max-steps", "1000000", "--num-epochs", "1000000", "--eval-interval", "1000000")
        run = model.train(*long, "--max-time", "1")
        assert 1 <= run.metadata["final_metrics"]["final/training_time_s"] < 20
        assert len(run.rows("val/loss")) == 1, "the end is evaluated"

    def test_a_warm_up_longer_than_the_training_is_refused(self, model):
        """The number of steps in an epoch, and so in the training, is known once the data are."""
        epochs = ("--max-steps", "0", "--num-epochs", "1", "--batch-size", "64")
        with pytest.raises(BadUse, match=r"WARMUP_STEPS=1000000000 is longer .* which has"):
            model.train(*epochs, "--warmup-steps", "1000000000")
        assert not model.latest.dir.exists()


@pytest.mark.slow
def test_two_ranks_train_as_one_does(model):
    """Weights within 1e-5 after 20 steps; every validation example counts once."""
    long = ("--max-steps", "20", "--eval-interval", "10", *model.in_parts)
    alone, two = model.train(*long), model.train_on_ranks(2, *long)
    batch = two.metadata["batch"]
    assert batch["world_size"] == 2 and batch["effective"] == alone.metadata["batch"]["effective"]
    assert losses(two) == pytest.approx(losses(alone), abs=1e-5)
    for name, weight in alone.weights().items():
        torch.testing.assert_close(two.weights()[name], weight, rtol=0, atol=1e-5, msg=name)
    runs = [path.name for path in model.output.iterdir() if path.is_dir()]
    assert sorted(runs) == ["ranks", "run-1"], "one run, one directory"


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS[-1:], indirect=True)
def test_ranks_that_cannot_share_the_batch_say_so_once(model):
    command = model.command(2, "odd", "--batch-size", "3")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode != 0
    said = "error: BATCH_SIZE=3 × GRAD_ACCUM=1: 3 examples a step cannot be shared"
    assert done.stderr.count(said) == 1


@pytest.mark.slow
def test_a_program_run_from_elsewhere(model, tmp_path):
    """A diverging training ends with exit code 1 and one line about it."""
    rates = ("--optimizer", "sgd", "--learning-rate", "1e30", "--max-steps", "20")
    command = model.command(1, "elsewhere", *rates)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    *notes, error = done.stderr.splitlines()
    assert error.startswith("error: the ")
    assert all(line.startswith("note: ") for line in notes)


@pytest.mark.parametrize(("flag", "code"), [("--help", 0), ("--learning-rate=fast", 2)])
@pytest.mark.parametrize("name", MODELS)
def test_help_and_bad_flags_do_not_wait_for_pytorch(name, flag, code):
    program = [sys.executable, "-X", "importtime"]
    command = [*program, str(ROOT / name / "train.py"), flag]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "lib.config.settings" in done.stderr and " torch\n" not in done.stderr
