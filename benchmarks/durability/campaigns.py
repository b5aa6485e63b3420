# SPDX-License-Identifier: MIT
"""One training that is interrupted several times in one way, resumed each time, and compared.

outcome = run_campaign(Campaign("while saving", CASES[0], kills=3, seed=1, root=root))
"""

import contextlib
import json
import os
import random
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.durability import cases, checks
from benchmarks.durability.cases import Case
from benchmarks.durability.checks import Finding, Seen
from benchmarks.durability.sessions import KILLED, Program, Session
from lib.files import ROOT
from lib.tracking import cursor as cursors
from lib.train.checkpoint.find import steps_on_disk

KINDS = {
    "at a random time": 30,
    "while saving": 20,
    "around rename, link, fsync, write": 18,
    "while starting and resuming": 10,
    "of a real process (make resume)": 5,
    "of the forwarder, then of the training": 4,
    "of one rank of two": 3,
    "of both ranks at once": 3,
    "disk full at a random byte": 7,
    "and the newest checkpoint damaged": 5,
}
_FAULTS = {
    "while saving": "saving",
    "around rename, link, fsync, write": "renaming",
    "while starting and resuming": "starting",
}
_LIMIT_S = 120.0  # far longer than any session
_IMPORTS_S = 5.0
_STARTING = 0.4  # share of a short training before its first step
_LEAST_FILE = 64 * 2**10  # the journal of a short training fits, a checkpoint does not
_MOST_FILE = 640 * 2**10


@dataclass(frozen=True)
class Campaign:
    """`kills` interruptions of one `kind`; everything drawn at random follows from `seed`."""

    kind: str
    case: Case
    kills: int
    seed: int
    root: Path
    trackers: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.root / "campaigns" / f"{self.seed:012x}"

    @property
    def reference(self) -> Path:
        return reference_folder(self.root, self.case) / "run"


@dataclass
class Outcome:
    """What came of a campaign: how many kills struck, and what must not have been."""

    kind: str
    case: str
    run: str
    kills: int = 0
    sessions: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)


def reference_folder(root: Path, case: Case) -> Path:
    """Where the training of `case` is that nobody disturbs."""
    return root / "references" / case.name.replace(" ", "-").replace(",", "")


def run_reference(root: Path, case: Case) -> dict[str, float]:
    """Train `case` to its end; returns its seconds and how many calls each place of a fault has."""
    folder = reference_folder(root, case)
    folder.mkdir(parents=True)
    argv = cases.flags(case, root, folder)
    started = time.monotonic()
    _require(Session(case.model, argv, folder, ranks=case.ranks), folder)
    known = {"seconds": time.monotonic() - started}
    counted = folder / "counted"
    counted.mkdir()
    argv = cases.flags(case, root, counted, "--checkpoint-interval", "2")
    _require(Session(case.model, argv, counted, ranks=case.ranks, counts=True), counted)
    known |= json.loads((counted / "calls.json").read_text())
    (folder / "known.json").write_text(json.dumps(known))
    return known


def _require(session: Session, folder: Path) -> None:
    code = session.wait(_LIMIT_S)
    if code:
        said = (folder / "session.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the undisturbed training in {folder} ended with {code}:\n{said}")


def run_campaign(campaign: Campaign) -> Outcome:
    """Interrupt, resume, compare; leaves the directory behind where something was found."""
    outcome = Outcome(campaign.kind, campaign.case.name, str(campaign.folder / "run"))
    started = time.monotonic()
    campaign.folder.mkdir(parents=True)
    try:
        _Player(campaign, outcome).play()
    except TimeoutError as error:
        outcome.findings.append(Finding("not resumed", f"a session hangs: {error}"))
    outcome.seconds = time.monotonic() - started
    if not outcome.findings and not campaign.trackers:
        shutil.rmtree(campaign.folder)
    return outcome


class _Player:
    """The state of a campaign in progress."""

    def __init__(self, campaign: Campaign, outcome: Outcome) -> None:
        self._campaign, self._outcome = campaign, outcome
        self._chance = random.Random(campaign.seed)
        self._folder, self._run = campaign.folder, campaign.folder / "run"
        self._known = json.loads((campaign.reference.parent / "known.json").read_text())
        self._saving = cases.saving(campaign.case, self._chance)
        self._seen = Seen()

    def play(self) -> None:
        outcome = self._outcome
        while outcome.kills < self._campaign.kills:
            code = self._interrupted_session()
            if code not in (0, KILLED) and (code == 2 or not self._may_fail()):
                outcome.findings.append(self._ended_with(code))
            outcome.findings += checks.after_interruption(self._run, self._seen)
            if self._campaign.kind.startswith("and the newest"):
                self._damage_newest()
            # A kill may also strike a training that has nothing left to do but to exit.
            if code == 0 or outcome.findings or _is_complete(self._run):
                break
        if not outcome.findings:
            self._finish()
        if not outcome.findings:
            outcome.findings += checks.against_reference(self._run, self._campaign.reference)

    def _finish(self) -> None:
        """Resume until the training is complete: once must do, since nobody interrupts it."""
        if _is_complete(self._run):
            return
        for _ in range(2 if self._campaign.case.ranks > 1 else 1):
            code = self._start().wait(_LIMIT_S)
            if code == 0:
                return
        self._outcome.findings.append(self._ended_with(code))

    def _may_fail(self) -> bool:
        """Whether an interruption of this kind may end in exit code 1."""
        return self._campaign.case.ranks > 1 or self._campaign.kind.startswith("disk full")

    def _ended_with(self, code: int) -> Finding:
        said = (self._folder / "session.log").read_text(errors="replace")[-800:]
        return Finding("not resumed", f"a session ended with {code}: {said}")

    def _start(self, fault: tuple[str, int] | None = None) -> Session:
        """A new run while there is no checkpoint to go on from, else a resumed one."""
        case, more = self._campaign.case, list(self._saving)
        self._outcome.sessions += 1
        if self._campaign.trackers:
            more += ["--tracker", ",".join(self._campaign.trackers)]
        resumes = bool(steps_on_disk(self._run / "checkpoints"))
        if not resumes and self._run.exists():
            shutil.rmtree(self._run)  # its name is to be free
            self._seen = Seen()
        flags = cases.flags(case, self._campaign.root, self._folder, *more)
        if self._campaign.kind.startswith("of a real process"):
            program = [sys.executable, str(ROOT / case.model / "train.py"), *flags]
            resume = ["make", "-C", str(ROOT), "resume", f"RUN={self._run}"]
            return Program(resume if resumes else program, self._folder)
        if resumes:
            flags = ["--resume", str(self._run), *cases.changes(case, self._chance)]
        return Session(case.model, flags, self._folder, ranks=case.ranks, fault=fault)

    # ----------------------------------------------------------------------- interruptions

    def _interrupted_session(self) -> int:
        """Start a session and interrupt it; returns its exit code, 0 if it came to its end."""
        kind = self._campaign.kind
        if place := _FAULTS.get(kind):
            calls = self._known[place] * (1 if place == "starting" else self._share_left())
            at = self._chance.randint(1, max(1, int(calls)))
            code = self._start((place, at)).wait(_LIMIT_S)
            self._outcome.kills += code == KILLED
            return code
        if kind.startswith("disk full"):
            return self._fill_disk()
        if kind.startswith("of the forwarder"):
            return self._kill_forwarder()
        session = self._start()
        session.sleep_until(self._chance.uniform(0.05, 0.95) * self._expected_seconds())
        pids = session.pids
        if kind.startswith("of one rank"):
            pids = [self._chance.choice(session.pids)]
        self._outcome.kills += session.kill(pids)
        return session.wait(_LIMIT_S)

    def _damage_newest(self) -> None:
        """Flip a bit of the newest checkpoint, or cut it off, if there is one before it."""
        files = list(steps_on_disk(self._run / "checkpoints").values())
        if len(files) < 2 or _is_complete(self._run):
            return
        content = bytearray(files[-1].read_bytes())
        place = self._chance.randrange(len(content))
        if self._chance.random() < 0.5:
            content[place] ^= 1 << self._chance.randrange(8)
        else:
            del content[place:]
        files[-1].write_bytes(content)  # last.pt and perhaps best.pt, too: they are links
        self._seen.damaged.append(bytes(content))

    def _share_left(self) -> float:
        """What part of the steps is still to be made, from the newest checkpoint on."""
        done = max(steps_on_disk(self._run / "checkpoints"), default=0)
        return max(0.05, 1 - done / self._campaign.case.steps)

    def _expected_seconds(self) -> float:
        """How long a session takes; a real process imports PyTorch first."""
        imports = _IMPORTS_S if self._campaign.kind.startswith("of a real process") else 0.0
        starting = _STARTING * self._known["seconds"]
        return imports + starting + (self._known["seconds"] - starting) * self._share_left()

    def _fill_disk(self) -> int:
        """For a part of a session no file can grow past a random size; training must go on.

        Half of the time it is killed meanwhile or afterwards.
        """
        session = self._start()
        seconds = self._expected_seconds()
        begin = self._chance.uniform(0.3, 0.8)
        session.sleep_until(begin * seconds)
        while session.alive() and not (self._run / "logs" / "metrics.jsonl").exists():
            time.sleep(0.002)
        session.fill_disk(self._chance.randint(_LEAST_FILE, _MOST_FILE))
        end = begin + self._chance.uniform(0.1, 0.5)
        kill = self._chance.uniform(begin, 1.2) if self._chance.random() < 0.5 else 9.9
        session.sleep_until(min(end, kill) * seconds)
        if kill < end:
            session.kill()
        session.fill_disk(None)
        if end < kill < 9:
            session.sleep_until(kill * seconds)
            session.kill()
        self._outcome.kills += 1
        return session.wait(_LIMIT_S)

    def _kill_forwarder(self) -> int:
        """The forwarder first; it is started again while the training goes on or is killed."""
        session = self._start()
        while session.alive() and (forwarder := session.forwarder()) is None:
            time.sleep(0.01)
        session.sleep_until(time.monotonic() - session.started + self._chance.uniform(0.2, 4.0))
        if session.alive() and forwarder is not None:
            with contextlib.suppress(Exception):
                forwarder.kill()
                self._outcome.kills += 1
        if self._chance.random() < 0.5:
            session.sleep_until(time.monotonic() - session.started + self._chance.uniform(0, 2))
            self._outcome.kills += session.kill()
        return session.wait(_LIMIT_S)


def _is_complete(run: Path) -> bool:
    try:
        return "status: completed\n" in (run / "metadata.yaml").read_text()
    except OSError:
        return False


def deliver_rest(run: Path, trackers: tuple[str, ...]) -> int:
    """What a user is told to type when a tracker is incomplete: make track. Returns its code."""
    states = [cursors.load(run, name) for name in trackers]
    if all(state is not None and state.condition == "finished" for state in states):
        return 0
    names = ",".join(trackers)
    command = f"{sys.executable} -m scripts.tracking.track {run} --tracker {names}"
    return os.waitstatus_to_exitcode(os.system(f"{command} > {run}/track.log 2>&1"))
