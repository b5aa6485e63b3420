# SPDX-License-Identifier: MIT
"""Train a run once more, as it was recorded, and compare what comes out.

    make replay [RUN=name] [KEEP=1] [FORMAT=json] [YES=1]
    python -m scripts.runs.replay [--output-dir DIR] [--keep] [--format FORMAT] [--yes] [RUN]

RUN is the name of a run, its unique beginning, or a path; without it, the latest run. The recorded
commit is checked out into a git work tree of its own, with the recorded diff, and trains there with
the recorded configuration, this environment's packages and the data that is here; your tree is not
touched. What cannot be the same here is said before. Then the journals are compared value by value
and the last and the best checkpoint tensor by tensor.

KEEP=1 keeps the new run beside the old one, as RUN_replay. FORMAT is table or json. A run that was
unpacked may bring code of somebody else in its git.diff: YES=1 says that you have read it. Each
result is a line of OUTPUT_DIR/replays.jsonl; the run itself is not changed.

Exit codes: 0 equal bit for bit, 1 it differs or could not be trained, 2 bad use.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import json
import math
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from lib import text
from lib.errors import BadUse
from lib.runs import metadata
from lib.runs.directory import make_directory
from lib.runs.replay.journals import Series, compare_journals, first_difference
from lib.runs.replay.machine import Fact, compare_machines
from lib.runs.replay.plan import Plan, plan_replay
from lib.runs.replay.training import train
from lib.runs.replay.tree import check_out, require_commit, work_place
from lib.runs.stored import StoredRun, load_run
from lib.signals import termination_raises
from lib.train.checkpoint.digest import CheckpointError
from lib.train.checkpoint.find import listed, steps_on_disk
from lib.train.checkpoint.peek import peek
from scripts.common import chosen_run, output_dir, run_parser

LEDGER = "replays.jsonl"


def recorded_threads(run: StoredRun) -> str:
    """The threads of a CPU operation, as the newest checkpoint has them; "" if none says."""
    for path in reversed(steps_on_disk(run.dir / "checkpoints").values()):
        try:
            threads = peek(path / "state.pt" if path.is_dir() else path)["versions"]["threads"]
        except (OSError, CheckpointError, KeyError, TypeError):
            continue
        if str(threads).isdigit():
            return str(threads)
    return ""


def require_trust(run: StoredRun, plan: Plan, yes: bool) -> None:
    """Raise BadUse for code that came with a file of somebody else, unless the user has read it."""
    if run.part("unpacked") and plan.diff and not yes:
        raise BadUse(
            f"{run.name} was unpacked from {text.one_line(run.part('unpacked').get('file'))}, and "
            f"{run.dir}/git.diff is code that would run here: read it, then add YES=1"
        )


def data_dir() -> str:
    """DATA_DIR of config.py, else its default."""
    try:
        from config import config
    except ModuleNotFoundError:
        return "data"
    return config.DATA_DIR


def ask_for_checkpoint(run: StoredRun, plan: Plan) -> None:
    """Have a replay that is stopped keep a checkpoint of the last step that can be compared.

    It would be saved there by chance only: the run saved it because it was interrupted, say.
    """
    steps = [step for step in steps_on_disk(run.dir / "checkpoints") if step <= (plan.until or 0)]
    if steps and "CONFIG_CHECKPOINT_EVERY=" in (run.dir / ".config").read_text("utf-8", "replace"):
        plan.settings["CHECKPOINT_EVERY"] = str(steps[-1])


def compare_weights(run: StoredRun, made: Path, until: int | None) -> list[dict[str, Any]]:
    """The last and the best checkpoint of the run against those of the same steps in `made`."""
    from lib.train.checkpoint.compare import compare_checkpoints

    folder, there = run.dir / "checkpoints", steps_on_disk(made / "checkpoints")
    entries = [e for e in listed(folder) if until is None or e.step <= until]
    chosen = {e.step: ["last"] for e in entries[-1:]}
    for entry in entries:
        if entry.best:
            chosen.setdefault(entry.step, []).append("best")
    files = steps_on_disk(folder)
    found = []
    for step, names in chosen.items():
        about: dict[str, Any] = {"step": step, "which": names, "parts": None}
        if step in there:
            about["parts"] = [asdict(p) for p in compare_checkpoints(files[step], there[step])]
        found.append(about)
    return found


def same_weights(weights: list[dict[str, Any]]) -> bool:
    """Whether all tensors are equal, of the checkpoints that could be compared."""
    parts = [part for each in weights for part in each["parts"] or ()]
    return all(part["equal"] == part["tensors"] for part in parts)


def configuration_note(run: StoredRun, plan: Plan, made: Path) -> str:
    """What to say if the configuration that was trained is not the one that the run recorded."""
    was, now = run.metadata.get("science_hash"), load_run(made).metadata.get("science_hash")
    if was == now or plan.settings.keys() - {
        "DATA_DIR",
        "CHECKPOINT_EVERY",
    }:  # other settings were asked for
        return ""
    return (
        f"the configuration of {run.name} has science_hash {now}, recorded is {was}: its .config "
        f"was changed (make verify RUN={run.name})"
    )


# -------------------------------------------------------------------------------- what is printed


def print_plan(run: StoredRun, plan: Plan, facts: list[Fact], threads: str, out: TextIO) -> None:
    """What will be trained, and what cannot be the same here."""
    changed = len(plan.diff.split("\ndiff --git ")) if plan.diff else 0
    diff = f" with {changed} changed file{'' if changed == 1 else 's'}" if changed else ""
    print(f"{text.one_line(run.name)}: commit {plan.commit[:12]}{diff}", file=out)
    rows = [("", "recorded", "here", "")]
    rows += [(f.name, f.recorded, f.here, "" if f.same else "differs") for f in facts]
    rows += [("threads", threads or "not recorded", threads or "as it comes", "")]
    print(*(f"  {line}" for line in text.columns(rows)), sep="\n", file=out)
    for note in plan.notes:
        print(f"note: {text.one_line(note)}", file=out)
    differing = [fact.name for fact in facts if fact.matters and not fact.same]
    expected = "equal bit for bit is to be expected"
    if differing:
        expected = f"the last bits may differ, since {', '.join(differing)} did change"
    elif any(fact.name == "GPUs" and fact.here != "none" for fact in facts):
        expected = "nothing here differs, but a GPU is not the same twice to the last bit"
    print(expected, "", sep="\n", file=out, flush=True)


def _short(value: float | str) -> str:
    return f"{float(value):.3g}"


def print_result(result: dict[str, Any], series: list[Series], out: TextIO) -> None:
    """The comparison; the first difference, if there is one, and how far they are apart."""
    rows = [("", "compared", "equal", "from step", "max abs", "max rel")]
    for each in series:
        missing = f" ({each.missing} missing)" if each.missing else ""
        far = (_short(each.max_abs), _short(each.max_rel)) if each.first else ("", "")
        since = str(each.first.step) if each.first else ""
        said = "yes" if each.equal else "no"
        rows.append((each.name, f"{each.compared}{missing}", said, since, *far))
    for about in result["weights"]:
        where = f"{' and '.join(about['which'])}, step {about['step']}"
        for part in about["parts"] or ():
            same = part["equal"] == part["tensors"]
            far = ("", "") if same else (_short(part["max_abs"]), _short(part["max_rel"]))
            counts = f"{part['equal']} of {part['tensors']} tensors"
            said = "yes" if same else "no"
            rows.append((f"{part['name']} ({where})", counts, said, "", *far))
        if about["parts"] is None:
            rows.append((f"checkpoint ({where})", "not kept by the replay", "", "", "", ""))
    print("", *text.columns(rows, right=(3, 4, 5)), "", sep="\n", file=out)
    if found := first_difference(series):
        name, at = found
        print(
            f"the first difference: {name} at step {at.step}, recorded {at.recorded!r}, "
            f"now {at.replayed!r}",
            file=out,
        )
    until = "" if result["until"] is None else f" up to step {result['until']}"
    print(f"{'equal, bit for bit' if result['equal'] else 'NOT equal'}{until}", file=out)


# ------------------------------------------------------------------------------------ the program


def keep(run: StoredRun, made: Path, where: Path) -> Path:
    """Move the new run to `where`; it names the old one. Returns its directory."""
    fields = metadata.load(made / "metadata.yaml")
    about = {"run": run.name, "run_id": run.metadata.get("run_id")}
    metadata.save(made / "metadata.yaml", {**fields, "replay_of": about})
    target = make_directory(where, f"{run.name}_replay")
    made.rename(target)  # which is empty
    return target


def finite_or_text(value: Any) -> Any:
    """Nested values for JSON, which has no NaN and no infinity: as a journal has them."""
    if isinstance(value, dict):
        return {key: finite_or_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite_or_text(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def note_result(where: Path, result: dict[str, Any]) -> None:
    """Append the result to the ledger: one write, by the owner alone."""
    line = json.dumps({key: value for key, value in result.items() if key != "machine"}) + "\n"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    ledger = os.open(where / LEDGER, flags, 0o600)
    try:
        os.write(ledger, line.encode())
    finally:
        os.close(ledger)


def environment() -> dict[str, Any]:
    """That of this process, with the version of PyTorch and the GPUs."""
    import torch  # noqa: F401, takes seconds: bad use has been answered

    return metadata.environment()


def replay(run: StoredRun, plan: Plan, where: Path, kept: bool, out: TextIO) -> dict[str, Any]:
    """Train and compare in the output directory `where`; prints to `out`, returns the result."""
    threads = recorded_threads(run)
    with termination_raises(), work_place(where, run.name) as place:
        check_out(place.tree, plan.commit, plan.diff)
        facts = compare_machines(run.part("environment"), environment())
        print_plan(run, plan, facts, threads, out)
        made = train(place, run, plan, threads, out)
        if note := configuration_note(run, plan, made):
            plan.notes.append(note)
            print(f"note: {text.one_line(note)}", file=out)
        series = compare_journals(run.journal, made / "logs" / "metrics.jsonl", plan.until)
        weights = compare_weights(run, made, plan.until)
        there = keep(run, made, where) if kept else None
    result = finite_or_text(
        {
            "run": run.name,
            "run_id": run.metadata.get("run_id"),
            "time": metadata.now(),
            "commit": plan.commit,
            "equal": bool(series) and all(s.equal for s in series) and same_weights(weights),
            "until": plan.until,
            "notes": plan.notes,
            "machine": [{**fact._asdict(), "same": fact.same} for fact in facts],
            "metrics": [{**asdict(s), "equal": s.equal} for s in series],
            "weights": weights,
            "kept": there and str(there),
        }
    )
    note_result(where, result)
    print_result(result, series, out)
    if there:
        print(f"kept: {text.one_line(there)}", file=out)
    return result


def main() -> int:
    flags = run_parser(__doc__)
    flags.add_argument("--keep", action="store_true", default=os.environ.get("KEEP") == "1")
    flags.add_argument("--yes", action="store_true", default=os.environ.get("YES") == "1")
    flags.add_argument("--format", metavar="FORMAT", default=os.environ.get("FORMAT", ""))
    options = flags.parse_args()
    if options.format not in ("", "table", "json"):
        raise BadUse(f"FORMAT={options.format}: must be table or json")
    run = load_run(chosen_run(options))
    plan = plan_replay(run, data_dir())
    ask_for_checkpoint(run, plan)
    require_trust(run, plan, options.yes)
    require_commit(plan.commit)
    as_json = options.format == "json"
    beside = run.dir.parent
    where = beside if os.access(beside, os.W_OK) else Path(output_dir(options.output_dir))
    result = replay(run, plan, where, options.keep, sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(result, indent=1))
    return int(not result["equal"])


if __name__ == "__main__":
    run_main(main)
