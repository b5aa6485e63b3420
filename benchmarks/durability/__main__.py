# SPDX-License-Identifier: MIT
"""Kill trainings at random, resume them, and compare them with trainings that nobody disturbed.

    make bench-durability [N=1000] [SEED=1] [MINUTES=30]
    python -m benchmarks.durability [--kills 100] [--seed 1] [--minutes 60] [--jobs 2]
                                    [--folder DIR] [--only WORD] [--skip WORDS] [--case WORD]

Each campaign is one training of benchmarks/durability/cases.py that is interrupted a few times in
one way (KINDS in campaigns.py). After each interruption every file is looked at and the training is
resumed; in the end weights, optimizer, masks, random state, journal and trackers are compared.
Prints progress on stderr and a table in Markdown on stdout; outcomes.jsonl in DIR has a line for
each campaign. Campaigns with findings keep their directories there. What is drawn at random follows
from the seed; when exactly a kill strikes also depends on the machine.

Exit code 1 if anything was lost, torn, doubled or different.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import importlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from benchmarks.durability import cases, checks
from benchmarks.durability.campaigns import (
    KINDS,
    Campaign,
    Outcome,
    deliver_rest,
    run_campaign,
    run_reference,
)
from benchmarks.durability.cases import CASES, RANKS, TRACKED
from benchmarks.durability.checks import COLUMNS, Finding
from lib.errors import BadUse
from lib.text import duration

_KILLS_OF_A_TRAINING = 3
_ROUNDS = 20  # some trainings end before all their kills strike; others make up for them
# What the trainings import on their way; in a fork that would take longer than the training.
_IMPORTED_LATE = ("torch._inductor", "PIL.Image", "PIL.PngImagePlugin", "tiktoken")
_TRACKERS = (("tensorboard", "trackio"),) * 3 + (("wandb", "tensorboard"), ("mlflow", "trackio"))


def plan(wanted: Mapping[str, int], seed: str, root: Path, word: str = "") -> list[Campaign]:
    """Campaigns with as many interruptions as are `wanted` of each kind, in a random order.

    Of the cases with `word` in their name, where there are any.
    """
    chance = random.Random(seed)
    campaigns = []
    for kind, left in wanted.items():
        pool = RANKS if "rank" in kind else TRACKED if "forwarder" in kind else CASES
        pool = [case for case in pool if word in case.name] or pool
        order = chance.sample(pool, len(pool))
        for number in range(-(-left // _KILLS_OF_A_TRAINING)):
            kills = min(_KILLS_OF_A_TRAINING, left - number * _KILLS_OF_A_TRAINING)
            trackers = chance.choice(_TRACKERS) if "forwarder" in kind else ()
            case, own = order[number % len(order)], chance.getrandbits(48)
            campaigns.append(Campaign(kind, case, kills, own, root, trackers))
    chance.shuffle(campaigns)
    return campaigns


def shares(kills: int, only: str, skip: str) -> dict[str, int]:
    """How many of `kills` each kind gets, at least one; both select by words in its name."""
    words = [word for word in skip.split(",") if word]
    kinds = {
        kind: share
        for kind, share in KINDS.items()
        if only in kind and not any(word in kind for word in words)
    }
    if not kinds:
        raise BadUse(f"--only {only} --skip {skip}: none is left of: {'; '.join(KINDS)}")
    total = sum(kinds.values())
    return {kind: max(1, round(kills * share / total)) for kind, share in kinds.items()}


def prepare(root: Path) -> None:
    """Data, and an environment in which everything that is written stays below `root`."""
    cases.write_data(root)
    for name in [n for n in os.environ if n.startswith(("WANDB_", "MLFLOW_", "TRACKIO_"))]:
        del os.environ[name]
    places = {"TRACKIO_DIR": "trackio", "WANDB_DIR": "wandb", "HOME": "home"}
    for name, folder in places.items():
        (root / folder).mkdir()
        os.environ[name] = str(root / folder)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root}/mlflow.db"
    os.environ["WANDB_MODE"] = "offline"
    torch.set_num_threads(1)  # a thread of this process would not be in its forks
    models = {case.model for case in (*CASES, *RANKS, *TRACKED)}
    for module in (*_IMPORTED_LATE, *(f"{model}.train" for model in sorted(models))):
        importlib.import_module(module)


def play(
    wanted: Mapping[str, int], given: argparse.Namespace, root: Path, deadline: float
) -> Iterator[tuple[Campaign, Outcome]]:
    """Campaigns and what came of them, until the kills are as many as wanted.

    None begins after `deadline`.
    """
    left, known = Counter(wanted), set()
    with multiprocessing.get_context("fork").Pool(given.jobs) as pool:
        for number in range(_ROUNDS):
            campaigns = plan(left, f"{given.seed}, round {number}", root, given.case)
            new = {campaign.case for campaign in campaigns} - known
            for done, _ in enumerate(pool.imap(partial(run_reference, root), new), 1):
                say(f"\rundisturbed trainings: {done} of {len(new)}")
            say("\n" if new else "")
            known |= new
            for campaign, outcome in pool.imap_unordered(partial(_before, deadline), campaigns):
                if outcome is not None:
                    left[campaign.kind] -= outcome.kills
                    yield campaign, outcome
            left = +left
            if not left:
                return


def _before(deadline: float, campaign: Campaign) -> tuple[Campaign, Outcome | None]:
    return campaign, run_campaign(campaign) if time.monotonic() < deadline else None


def say(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)


def compare_trackers(campaign: Campaign, outcome: Outcome) -> list[Finding]:
    """What the trackers of a campaign lack, or have twice."""
    run = Path(outcome.run)
    if outcome.findings or not campaign.trackers:
        return []
    if code := deliver_rest(run, campaign.trackers):
        return [Finding("tracker rows", f"make track ended with {code}: {run}/track.log")]
    return [f for tracker in campaign.trackers for f in checks.in_tracker(run, tracker)]


def table(outcomes: list[Outcome]) -> Iterator[str]:
    """A row for each kind and the sum, in Markdown."""
    yield f"| kill | kills | {' | '.join(COLUMNS)} |"
    yield f"|---|--:|{'--:|' * len(COLUMNS)}"
    for kind in (*KINDS, ""):
        rows = [outcome for outcome in outcomes if kind in ("", outcome.kind)]
        if not rows:
            continue
        found = Counter(finding.column for outcome in rows for finding in outcome.findings)
        cells = " | ".join(str(found[column]) for column in COLUMNS)
        yield f"| {kind or '**all**'} | {sum(o.kills for o in rows)} | {cells} |"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    environment = os.environ.get
    parser.add_argument("--kills", type=int, default=int(environment("N") or 100))
    parser.add_argument("--seed", type=int, default=int(environment("SEED") or 1))
    parser.add_argument("--minutes", type=float, default=float(environment("MINUTES") or 60))
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--folder", type=Path, help="a new one (default: a temporary one)")
    parser.add_argument("--only", default="", metavar="WORD", help="kinds with this in their name")
    parser.add_argument("--skip", default="", metavar="WORDS", help="not those, between commas")
    parser.add_argument("--case", default="", metavar="WORD", help="trainings with this, if any")
    return parser.parse_args()


def report(outcome: Outcome, findings: Iterable[Finding], seed: int) -> None:
    """Say at once what was found, and where."""
    for finding in findings:
        say(
            f"\n{finding.column}: {finding.text}\n  seed {seed}, {outcome.case}, "
            f"{outcome.kind}: {outcome.run}\n"
        )


def kill_and_compare(given: argparse.Namespace, root: Path) -> list[Outcome]:
    """All of it, with progress on stderr."""
    wanted, deadline = (
        shares(given.kills, given.only, given.skip),
        time.monotonic() + 60 * given.minutes,
    )
    kills, played = 0, []
    for campaign, outcome in play(wanted, given, root, deadline):
        played.append((campaign, outcome))
        kills += outcome.kills
        say(f"\r{kills} kills of {sum(wanted.values())}")
        report(outcome, outcome.findings, given.seed)
    say("\n")
    for campaign, outcome in played:  # here, because trackers' clients start threads
        found = compare_trackers(campaign, outcome)
        outcome.findings += found
        report(outcome, found, given.seed)
    return [outcome for _, outcome in played]


def main() -> int:
    given = options()
    root = given.folder or Path(tempfile.mkdtemp(prefix="durability-"))
    root.mkdir(parents=True, exist_ok=True)
    root, started = root.resolve(), time.monotonic()
    prepare(root)
    outcomes = kill_and_compare(given, root)
    with (root / "outcomes.jsonl").open("w") as file:
        file.writelines(json.dumps(asdict(outcome)) + "\n" for outcome in outcomes)
    print(*table(outcomes), "", sep="\n")
    sessions = sum(outcome.sessions for outcome in outcomes)
    print(
        f"{len(outcomes)} trainings of {len({o.case for o in outcomes})} cases in {sessions} "
        f"sessions, seed {given.seed}, {duration(time.monotonic() - started)}"
    )
    found = any(outcome.findings for outcome in outcomes)
    if found or given.folder is not None:
        say(f"outcomes: {root}/outcomes.jsonl\n")
    else:
        shutil.rmtree(root)
    return int(found)


if __name__ == "__main__":
    run_main(main)
