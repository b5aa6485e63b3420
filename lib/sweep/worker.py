# SPDX-License-Identifier: MIT
"""The worker: trains the trials of a sweep, one in each slot, until none is left.

    with open_display(sys.stdout) as display:
        Worker(study, output_dir, slots, display).run()

One loop in one thread claims trials, starts trainings, follows their journals, reports evaluations
to the pruner and records results. Threads and signal handlers only put what happened into a queue.
Any number of workers share a sweep: the study hands out each trial once.
"""

import queue
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .. import lock
from ..errors import Failure
from ..runs.metadata import new_id
from ..signals import Terminated, forget_closed_terminal, termination_signals
from .claims import BEAT_S, Claim
from .colleagues import Colleagues
from .jobs import Job, Pace, label_of
from .live import Display
from .orders import Orders, sweep_folder
from .outcome import COMPLETED
from .recorder import Hopeless, Recorder, best_text, missing
from .reuse import Reusable
from .room import Room
from .slots import Slot
from .storage import TakenAway
from .study import Study
from .training import Training, runs_of

_LOOK_S = 0.5  # between two looks at the journals
_ASK_S = 2.0  # between two questions whether there is a trial, while others train the rest
_CUT_OFF = 3  # heartbeats that were missed in a row
_STOPPED = "the sweep was stopped"


class Worker:
    """Trains the trials of `study` in `slots`; `run` returns when nothing is left to train.

    `reusable`: runs that are taken instead of training them again.
    """

    def __init__(
        self,
        study: Study,
        output_dir: Path,
        slots: Sequence[Slot],
        display: Display,
        reusable: Reusable | None = None,
    ) -> None:
        self.id = f"{socket.gethostname()}-{new_id()}"
        self._colleagues = Colleagues(sweep_folder(output_dir, study.sweep.name) / "workers")
        self._study, self._sweep, self._display = study, study.sweep, display
        self._orders, self._room = Orders(study.sweep, output_dir), Room(output_dir)
        self._recorder = Recorder(study, self._orders, self._room, display)
        self._reusable, self._pace = reusable, Pace(len(slots))
        self._free = list(slots)[::-1]
        self._jobs: list[Job] = []
        self._events: queue.SimpleQueue[Training | int] = queue.SimpleQueue()
        self._stop = 0  # the signal that asks for it
        self._error: Failure | None = None  # for which nothing more is started
        self._asked_at = self._beat_at = -float("inf")
        self._best = ""
        self._nothing_left = False

    def run(self) -> None:
        """Train until every trial is done, here or elsewhere.

        Raises KeyboardInterrupt or Terminated after a signal, and Failure for what stops the sweep;
        by then no training is running and what was not done can be claimed again.
        """
        with _heard(self._events.put), self._colleagues.joined(self.id):
            try:
                self._progress = self._study.progress()
                self._best = best_text(self._study)
                while self._turn():
                    pass
            finally:
                self._abandon()
        if self._error:
            raise self._error
        if self._stop:
            raise KeyboardInterrupt if self._stop == signal.SIGINT else Terminated(self._stop)

    # ------------------------------------------------------------------------------- the loop

    def _turn(self) -> bool:
        """One turn of the loop; False when there is nothing left to do."""
        self._fill()
        if not self._jobs and (self._stop or self._error or self._nothing_left):
            return False
        self._take_events()
        for job in list(self._jobs):
            with self._recording(job):
                self._look(job)
        if time.monotonic() - self._beat_at >= BEAT_S:
            self._beat()
        self._display.show(self._pace.view(self._sweep, self._progress, self._jobs, self._best))
        return True

    def _fill(self) -> None:
        """Claim a trial for each free slot, as long as there are any."""
        while self._free and not (self._stop or self._error):
            if time.monotonic() - self._asked_at < _ASK_S:
                return
            if not self._room.fits(beside=len(self._jobs)):
                self._give_up(Hopeless(self._room.full(missing(self._study))))
                return
            claim = self._study.claim(self.id)
            if claim is None:
                self._asked_at = time.monotonic()
                self._see_others()
                return
            with self._recording():
                self._take(claim)

    def _see_others(self) -> None:
        """There is nothing to claim now: what dead workers held may come back, or all is done."""
        lost, progress = self._beat(), self._progress
        over = progress.waiting == 0 or self._study.out_of_time()
        self._nothing_left = progress.done or (not lost and progress.running == 0 and over)

    def _take(self, claim: Claim) -> None:
        """Begin with a claimed trial, or record at once what was trained before."""
        if self._reusable and (run := self._reusable.run_of(claim.key)):
            self._recorder.complete(claim, run, "is reused", reused=True)
            return
        job = Job(claim, self._free.pop(), self._orders.order(claim))
        self._jobs.append(job)
        self._begin(job)

    def _begin(self, job: Job) -> None:
        """Start the training, unless its run is complete, or still held by a dying process."""
        order = job.order
        runs = runs_of(order.output_dir, order.run_name, order.launch_id)
        if any(not lock.is_free(run.dir / ".lock") for run in runs):
            return
        if complete := [run for run in runs if run.status == "completed"]:
            self._leave(job)
            self._recorder.complete(job.claim, complete[-1], "was complete")
            return
        training = Training(order, job.slot)
        try:
            training.start(self._events.put)
        except OSError as error:
            raise Failure(f"cannot start {order.program}: {error.strerror}") from error
        job.training = training
        goes_on = any(any((run.dir / "checkpoints").glob("*")) for run in runs)
        said = "goes on" if goes_on else "starts"
        self._display.say(f"{order.run_name} {said}: {label_of(job.claim)}")

    def _look(self, job: Job) -> None:
        """Report what a training has logged since the last look, and stop it if that is bad."""
        if job.training is None:
            self._begin(job)
            return
        for step, value in job.training.look():
            if self._sweep.pruner is None or job.pruned or not job.mine:
                continue  # the journal has all of them
            if self._study.report(job.claim, step, value):
                job.pruned = True
                job.training.stop(signal.SIGUSR2, f"given up by the pruner at step {step}")

    def _take_events(self) -> None:
        """Wait for the next event, at most until the next look; then take all there are."""
        with suppress(queue.Empty):
            event = self._events.get(timeout=_LOOK_S)
            while True:
                if isinstance(event, Training):
                    self._ended(event)
                else:
                    self._signalled(event)
                event = self._events.get_nowait()

    def _beat(self) -> list[int]:
        """Say that this worker lives, and see how the others are; returns what dead ones held."""
        held = [job for job in self._jobs if job.mine]
        taken = {claim.number for claim in self._study.beat([job.claim for job in held])}
        before, self._beat_at = self._beat_at, time.monotonic()
        for job in held:
            if job.claim.number in taken:
                self._let_go(job)
        # While the database was away, nobody could beat: the others are given a moment to do so.
        was_cut_off = _CUT_OFF * BEAT_S < self._beat_at - before < float("inf")
        lost = [] if was_cut_off else self._study.lost(self._colleagues.is_dead)
        if lost:
            self._display.say(f"a worker died: what it trained waits again ({len(lost)})")
            self._asked_at = -float("inf")
        self._progress = self._study.progress()
        return lost

    # ----------------------------------------------------------------------------- how it ends

    def _ended(self, training: Training) -> None:
        """Record how a training ended, and free its slot."""
        job = next(job for job in self._jobs if job.training is training)
        with self._recording(job):
            self._look(job)
        ended = training.outcome()
        self._leave(job)
        self._asked_at = -float("inf")
        if job.mine:
            if ended.kind == COMPLETED:
                self._pace.learn(time.monotonic() - job.began)
                # What a grid trains next does not depend on this result: no slot waits for it.
                if self._sweep.enumerated and self._progress.complete:
                    self._fill()
            with self._recording(job):
                self._recorder.record(job, ended)
            self._asked_at = -float("inf")  # also if there was nothing to claim a moment ago
        self._progress = self._study.progress()
        self._best = best_text(self._study)

    @contextmanager
    def _recording(self, job: Job | None = None) -> Iterator[None]:
        """Within the block a trial may turn out to be another worker's, or the sweep hopeless."""
        try:
            yield
        except TakenAway as error:
            if job is None:
                self._display.say(str(error))
            else:
                self._let_go(job)
        except Hopeless as error:
            self._give_up(error)

    def _leave(self, job: Job) -> None:
        self._jobs.remove(job)
        self._free.append(job.slot)

    def _let_go(self, job: Job) -> None:
        """The trial was taken away: this worker was thought dead, or somebody changed it."""
        if not job.mine:
            return
        job.mine = False
        self._display.say(f"{job.order.run_name} was taken away: another worker has it")
        if job.training is not None:
            job.training.stop(signal.SIGTERM, "taken away")
        elif job in self._jobs:  # it waits for the run, as the other worker does now
            self._leave(job)

    def _give_up(self, error: Hopeless) -> None:
        """Start nothing more, and let the trainings in progress save and end."""
        if self._error is None:
            self._error = Hopeless(f"{error}, then: make sweep SWEEP={self._sweep.name}")
            self._stop_all(signal.SIGTERM)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            forget_closed_terminal()
        if not self._stop:
            self._stop = number
            if self._jobs:
                self._display.say("stopping: the trainings save and end (Ctrl-C: at once)")
            self._stop_all(signal.SIGTERM)
        elif number == signal.SIGINT:
            self._stop_all(signal.SIGKILL)

    def _stop_all(self, number: int) -> None:
        """Stop the trainings; what has not started yet goes back."""
        for job in list(self._jobs):
            if job.training is not None:
                job.training.stop(number, _STOPPED)
            else:
                self._leave(job)
                with self._recording(job):
                    self._study.put_back(job.claim)

    def _abandon(self) -> None:
        """After an error: no training goes on without its worker."""
        with suppress(Failure):
            self._stop_all(signal.SIGTERM)
        while any(job.training and not job.training.ended for job in self._jobs):
            with suppress(queue.Empty):
                if self._events.get(timeout=_LOOK_S) == signal.SIGINT:
                    self._stop_all(signal.SIGKILL)
        for job in self._jobs:
            with suppress(Failure):
                self._study.put_back(job.claim)


@contextmanager
def _heard(put: Callable[[int], None]) -> Iterator[None]:
    """Within the block the signals that stop are put into the queue, and do nothing else."""
    numbers = [signal.SIGINT, *termination_signals()]
    before = {n: signal.signal(n, lambda number, frame: put(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
