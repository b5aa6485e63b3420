# SPDX-License-Identifier: MIT
"""What surrounds a training step, the same for every model.

    with Loop(settings, start, learner, plan, timetable, validate, meter) as loop:
        loop.announce(…)
        for step in loop:                       # from where `start` says; ends, stops, repeats
            with loop.catch_out_of_memory():
                …                               # forward and backward, one micro-batch at a time
            if loop.out_of_memory:
                continue
            grad_norm = learner.update(lr)
            loop.end_step(loss, grad_norm, lr)  # guard → log → evaluate → best → save, when due
        loop.finish()

The step itself is written out in the model's train.py.
"""

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..optim import describe_decay
from ..runs.best import best_fields
from ..runs.keep.data import data_hash
from ..tracking.launch import launch
from .batch_finding import BatchPlan, smaller_batch
from .best import Best
from .clock import Clock
from .evaluation import log_weights
from .flops import Meter
from .group import naming_lost_ranks
from .guard import Diverged, LossGuard
from .keeper import Keeper
from .learner import Learner
from .progress import open_progress
from .pruning_report import finish_pruning, log_scores, pruning_info
from .ranks import any_rank, mean_over_ranks, whole
from .runtime import Runtime
from .seeding import seed_step
from .start import Start
from .state import TrainingState
from .stop import StopRequest
from .timetable import Timetable


class Loop:
    """The steps of one training, and what follows each of them.

    Its `with` block is also that of the run (`run`), whose status records how it ended, and of the
    stop request (`stop`). `state` is the progress of the training.

    start: where the training begins; with its runtime. validate: called with this loop; returns
    `metrics` of the validation set, "loss" among them, the same on all ranks. of_loss: metrics that
    are functions of the loss, such as perplexity, to be logged for training and validation.
    """

    before_step: ClassVar[Callable[[Learner, Runtime, BatchPlan], None]] = staticmethod(
        lambda learner, runtime, plan: None
    )  # for whoever watches the steps of any training: lib/train/profile.py

    def __init__(
        self,
        settings: Any,
        start: Start,
        learner: Learner,
        plan: BatchPlan,
        timetable: Timetable,
        validate: "Callable[[Loop], Mapping[str, float]]",
        meter: Meter,
        *,
        metrics: Iterable[str] = ("loss",),
        of_loss: Mapping[str, Callable[[float], float]] | None = None,
    ) -> None:
        self.state, self.timetable = TrainingState(plan), timetable
        self.stop = StopRequest(agree=any_rank)
        self.out_of_memory = False  # whether the step in progress ran out of it
        self._settings, self._start, self._runtime = settings, start, start.runtime
        self._learner, self._model, self._pruner = learner, learner.model, learner.pruner
        self._validate, self._meter, self._of_loss = validate, meter, of_loss or {}
        self._best = Best(
            settings.CHECKPOINT_METRIC, settings.CHECKPOINT_MODE, [*metrics, *self._of_loss]
        )
        self._guard = LossGuard()
        self._step_begun = False  # and not ended: weights and optimizer may be partly updated
        self._unchecked: dict[str, Tensor] = {}  # of the latest step, still on the device
        self._ended = False

    def announce(self, data: str, *, model: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
        """Print what will be trained on what, and record `model` and `dataset` as metadata.

        `model["parameters"]` is their number; `data` describes the training set in a few words.
        """
        run, runtime, plan = self.run, self._runtime, self.state.plan
        peak = self._meter.peak_source
        self._start.check_data(dataset)
        self._dataset = dataset
        run.set_info(
            dataset={**dataset, "dvc_hash": data_hash(self._settings.as_dict(), dataset)},
            model=model,
            pruning=pruning_info(self._pruner),
            batch=plan.as_dict(),
            device=str(runtime.device),
            precision=runtime.precision,
            kernels=dict(runtime.kernels) or None,
            total_steps=self.timetable.total_steps,
            steps_per_epoch=self.timetable.steps_per_epoch,
            mfu_peak=peak or None,
        )
        run.say(
            f"{run.name}: {model['parameters']:,} parameters, {data}, "
            f"{self.timetable.total_steps:,} steps in {runtime.precision} on {runtime.device}"
        )
        run.say(f"{plan}; MFU is of {peak}" if peak else str(plan))
        if runtime.kernels:
            run.say("kernels: " + " ".join(f"{op}={name}" for op, name in runtime.kernels.items()))
        run.say(describe_decay(self._learner.optimizer))

    def __enter__(self) -> "Loop":
        settings, runtime, timetable = self._settings, self._runtime, self.timetable
        self._start.restore(self._learner, self.state, timetable.total_steps)
        with ExitStack() as within:
            self.run = within.enter_context(self._start.open_run(settings, self.state.step))
            self.run.track(partial(launch, trackers=settings.trackers, settings=settings.as_dict()))
            self._keeper = Keeper(settings, runtime, self._learner, self.state, self.run)
            within.callback(self._keeper.saver.close)
            self._progress = within.enter_context(
                open_progress(
                    timetable.total_steps,
                    timetable.steps_per_epoch,
                    done=self.state.step,
                    say=self.run.say,
                    stream=sys.stdout if runtime.is_main else io.StringIO(),
                )
            )
            within.enter_context(self.stop)
            within.enter_context(naming_lost_ranks())
            within.push(self._before_run_ends)
            self._within = within.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        self._within.__exit__(kind, *error)
        if kind is None:
            self.run.print_summary()

    def __iter__(self) -> Iterator[int]:
        """The number of each step, from 0: how many updates precede it."""
        self._clock = Clock(self.state.elapsed_s, self.state.step)
        self._keeper.begin(self._dataset, self._clock)
        self._finish_restored_step()
        while not self._ended:
            if self.out_of_memory:
                self._halve_batch()
            elif self._step_begun:
                raise RuntimeError("the previous step neither ended nor ran out of memory")
            self.stop.check()
            self._keeper.saver.poll()
            if self.stop.save_requested and self.state.step:  # else after the first step
                self._save_now()
            self._step_begun = True
            seed_step(
                self._settings.SEED, self.state.step, self._runtime.rank, self._runtime.device
            )
            self.before_step(self._learner, self._runtime, self.state.plan)
            yield self.state.step
        self.state.elapsed_s = self._clock.elapsed()

    @contextmanager
    def catch_out_of_memory(self) -> Iterator[None]:
        """Set `out_of_memory` when the block runs out of memory.

        The next turn of the loop repeats the step. By then the exception is gone, and with it the
        activations that its traceback kept alive.
        """
        try:
            yield
        except torch.OutOfMemoryError:
            self.out_of_memory = True

    def end_step(self, loss: Tensor, grad_norm: Tensor, lr: float, **means: Tensor) -> None:
        """Count the step and do what is due: guard → log → evaluate → best → save.

        `loss` and `means` are means over this rank's share of the batch, 0-d tensors on the device.
        Their means over all ranks are logged as train/loss and train/<name>.
        """
        state, due = self.state, self.timetable
        state.step += 1
        state.examples += state.plan.effective
        self._step_begun = False
        self._unchecked = {"training loss": loss}
        if self._learner.loss_scale.is_void:
            self.run.say(
                f"step {state.step}: a gradient overflows in float16, and the step changes no "
                f"weight; the loss scale is {self._learner.loss_scale.value:g} now"
            )
        else:
            self._unchecked["norm of the gradient"] = grad_norm
        self._ended = state.step == due.total_steps or self._is_out_of_time()
        logs = due.logs(state.step) or self._ended
        evaluates = due.evaluates(state.step) or self._ended
        saves = due.saves(state.step) or self._ended or self._keeper.is_overdue()
        if not (logs or evaluates or saves or self._runtime.reads_freely):
            return
        self._check()
        metrics = self._log({"loss": loss, **means}, grad_norm, lr) if logs else {}
        self._evaluate_and_save(evaluates, saves, metrics)

    def finish(self, **final: float) -> None:
        """Record the results: the best evaluation, `final` as final/<name>, pruning, plots."""
        state, run, settings = self.state, self.run, self._settings
        metrics = {f"final/best_{name.replace('/', '_')}": v for name, v in state.best.items()}
        metrics["final/training_time_s"] = state.elapsed_s
        metrics |= {f"final/{name}": value for name, value in final.items()}
        metrics |= finish_pruning(run, self._pruner, state.step)
        run.log(metrics, state.step)
        run.summary(metrics)
        if state.best:
            known = {"steps_per_epoch": self.timetable.steps_per_epoch}
            run.set_info(**best_fields(state.best_step, known))
        if settings.LOG_CHECKPOINTS and self._keeper.saver.has_saved_best():
            path = run.dir / "checkpoints" / "best.pt"
            run.log_artifact(path, "model", state.best, name=settings.MODEL, step=state.step)
        if settings.PLOTS:
            run.plot()

    # ------------------------------------------------------------------ parts of end_step

    def _is_out_of_time(self) -> bool:
        limit = self.timetable.max_time
        return limit > 0 and any_rank(self._clock.elapsed() >= limit)

    def _check(self) -> None:
        """Raise Diverged, on all ranks, unless the loss and the gradient of this step are finite.

        Called before every checkpoint: one that contains NaN must not replace a good one.
        """
        for name, value in self._unchecked.items():
            self._guard.check(name, mean_over_ranks(whole(value)).item(), self.state.step)
        self._unchecked = {}

    def _log(self, means: dict[str, Tensor], grad_norm: Tensor, lr: float) -> dict[str, float]:
        step, effective = self.state.step, self.state.plan.effective
        train = {name: mean_over_ranks(value).item() for name, value in means.items()}
        step_s = self._clock.lap(step)
        norm = {} if self._learner.loss_scale.is_void else {"grad_norm": whole(grad_norm).item()}
        metrics = {
            **self._named("train", train),
            "lr": lr,
            **norm,
            **self._learner.loss_scale.metrics(),
            "perf/step_ms": 1000 * step_s,
            **self._meter.metrics(effective / step_s),
            **self._pruner.metrics(),
        }
        self.run.log(metrics, step)
        log_scores(self.run, self._pruner, step)
        return metrics

    def _evaluate_and_save(self, evaluates: bool, saves: bool, metrics: dict[str, float]) -> None:
        """The end of a step; `metrics` are those that it has logged."""
        state = self.state
        with self._clock.paused():
            if evaluates:
                metrics |= self._evaluate()
            is_best = evaluates and state.best_step == state.step
            if saves or is_best or self._ended:
                self._keeper.save(metrics, is_best=is_best)
            if metrics:
                self._progress.update(state.step, metrics)

    def _evaluate(self) -> dict[str, float]:
        """Validate, note the best weights, and end the training after EARLY_STOP."""
        state, due = self.state, self.timetable
        with self._learner.averaged():
            metrics = self._named("val", self._validate(self))
        self.run.log(metrics, state.step)
        self._guard.check("validation loss", metrics["val/loss"], state.step)
        state.evaluated_step = state.step
        if self._pruner.done:  # until then the network is denser: its loss does not compare
            state.note(metrics, is_best=self._best.is_better(metrics, state.best))
        if due.draws_histograms(state.step):
            log_weights(self.run, self._model, state.step)
        if self._has_stopped_early():
            count, metric = due.early_stop, self._best.metric
            self.run.say(f"no better {metric} in {count} evaluations: training ends")
            self._ended = True
        return metrics

    def _has_stopped_early(self) -> bool:
        limit = self.timetable.early_stop
        return limit > 0 and self.state.evaluations_since_best >= limit

    def _finish_restored_step(self) -> None:
        """Do what was left of the step of the checkpoint: its training may have ended with it, or
        been interrupted in the evaluation that follows it.
        """
        state, due = self.state, self.timetable
        if state.step == 0:
            return
        self._ended = (
            state.step == due.total_steps or self._is_out_of_time() or self._has_stopped_early()
        )
        if state.evaluated_step < state.step and (due.evaluates(state.step) or self._ended):
            self._evaluate_and_save(True, due.saves(state.step), {})

    def _named(self, prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
        derived = {name: of(metrics["loss"]) for name, of in self._of_loss.items()}
        return {f"{prefix}/{name}": value for name, value in {**metrics, **derived}.items()}

    # ---------------------------------------------------------------- saving, stopping

    def _save_now(self) -> None:
        """On SIGUSR1."""
        self.stop.save_requested = False
        self._check()
        self._keeper.save({})
        self.run.say(f"step {self.state.step} is being saved, as SIGUSR1 asks")

    def _before_run_ends(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._keeper.saver.require_saved()
        elif issubclass(kind, KeyboardInterrupt):
            self._save_interrupted()

    def _save_interrupted(self) -> None:
        """Save the latest step on a stop request, if it is complete and its values are finite."""
        run, step = self.run, self.state.step
        if self._step_begun or step == 0:
            run.say(f"interrupted in the middle of step {step + 1}, which is not saved")
            return
        try:
            self._check()
            if self._keeper.saved_step != step:
                self._keeper.save({})
        except Diverged as error:
            run.say(f"interrupted; not saved: {error}")
            return
        if self._keeper.saver.has_saved_last():
            run.say(f"interrupted after step {step}; go on with: make resume RUN={run.name}")

    def _halve_batch(self) -> None:
        state, step = self.state, self.state.step + 1
        state.plan = smaller_batch(state.plan, self._model, self._runtime, step)
        self.out_of_memory = self._step_begun = False
        self.run.say(f"out of memory in step {step}: now {state.plan}; the step is repeated")
        self.run.set_info(batch=state.plan.as_dict())
