# SPDX-License-Identifier: MIT
"""What becomes of a trial when its training has ended: recorded in the study, and said.

    recorder = Recorder(study, orders, room, display)
    recorder.record(job, outcome)           # raises Hopeless for what stops the whole sweep
    recorder.complete(claim, run, "is reused", reused=True)

Its methods raise TakenAway when the trial is no longer this worker's.
"""

from contextlib import suppress

from ..errors import Failure
from ..runs.stored import StoredRun
from ..runs.words import add_note, change_tags
from . import outcome as ends
from .claims import Claim
from .jobs import Job, label_of
from .live import Display
from .orders import Orders
from .outcome import Outcome
from .results import Unmeasured, facts_of, measured, values_text
from .room import Room
from .study import Study


class Hopeless(Failure):
    """What would happen to every trial: nothing more is to be started. Nothing is lost."""


class Recorder:
    """Records the ends of the trials of `study`."""

    def __init__(self, study: Study, orders: Orders, room: Room, display: Display) -> None:
        self._study, self._sweep = study, study.sweep
        self._orders, self._room, self._display = orders, room, display
        self._has_values = False  # whether any run had values of the metrics

    def record(self, job: Job, ended: Outcome) -> None:
        """Record how the training of `job` ended. Raises Hopeless."""
        claim, name = job.claim, job.order.run_name
        if ended.kind == ends.COMPLETED and ended.run is not None:
            self._room.learn(ended.run)
            self.complete(claim, ended.run, "completed")
        elif ended.kind == ends.STOPPED and job.pruned:
            self._prune(claim, name, ended)
        elif ended.kind == ends.STOPPED:
            self._study.put_back(claim)
            self._display.say(f"{name} goes back: {ended.reason}")
        elif ended.kind == ends.LOST:
            again = self._study.put_back(claim, lost=ended.reason)
            self._display.say(f"{name} {'goes back' if again else 'failed'}: {ended.reason}")
        elif ended.kind == ends.DISK_FULL:
            self._study.put_back(claim)
            full = self._room.full(missing(self._study))
            raise Hopeless(f"{name}: {ended.reason}; {full}")
        else:
            self._fail(job, ended)

    def complete(self, claim: Claim, run: StoredRun, how: str, reused: bool = False) -> None:
        """Record a completed run; one that never logged the metric has failed.

        Raises Hopeless if no run has logged it yet: then the sweep cannot be right.
        """
        try:
            values = measured(run, self._sweep.metrics)
        except Unmeasured as error:
            if not self._has_values and not self._study.progress().complete:
                self._study.put_back(claim)
                raise Hopeless(f"{error} Mend `metric` in the sweep") from None
            self._study.fail(claim, str(error))
            self._display.say(f"{run.name} failed: {error}")
            return
        facts = facts_of(run, self._sweep)
        self._has_values = self._study.complete(claim, values, run.name, facts, reused=reused)
        said = values_text(self._sweep, values)
        self._display.say(f"{run.name} {how}: {said} ({label_of(claim)})")

    def _prune(self, claim: Claim, name: str, ended: Outcome) -> None:
        self._note(claim, ended)
        self._study.prune(claim, ended.reason)
        self._display.say(f"{name} pruned: {ended.reason}")
        if ended.run is not None:
            with suppress(Failure):  # what cannot be written is no reason to stop
                add_note(ended.run, f"pruned in its sweep: {ended.reason}")
                change_tags(ended.run, "+pruned")

    def _fail(self, job: Job, ended: Outcome) -> None:
        reason, changes = ended.reason, None
        if ended.kind == ends.OUT_OF_MEMORY and (changes := self._orders.halved(job.claim)):
            smaller = " ".join(f"{symbol}={value}" for symbol, value in changes.items())
            reason = f"{reason}; the next attempt has {smaller}"
        self._note(job.claim, ended)
        again = self._study.fail(job.claim, reason, changes)
        rest = "it is tried again" if again else f"what it printed: {job.order.log}"
        self._display.say(f"{job.order.run_name} failed: {reason}; {rest}")

    def _note(self, claim: Claim, ended: Outcome) -> None:
        if ended.run is not None:
            self._study.note_run(claim, ended.run.name)


def missing(study: Study) -> int:
    """How many trials are neither done nor running, at least 1."""
    progress = study.progress()
    return max(1, progress.total - progress.finished - progress.running)


def best_text(study: Study) -> str:
    """The best trial so far, in words; of two metrics there is no single one."""
    best = study.best() if len(study.sweep.metrics) == 1 else None
    return f"{values_text(study.sweep, best.values)} ({best.run}, {best.label})" if best else ""
