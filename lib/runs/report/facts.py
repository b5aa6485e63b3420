# SPDX-License-Identifier: MIT
"""What a report says of one run besides its curves and media, ready for the page.

    facts = facts_of(run, logged)
    facts.about         # [("status", "completed"), …]
    facts.settings      # [Menu("Training", [Setting("SEED", "0", origin=""), …]), …]

All texts are redacted again and made printable: a directory may come from somebody else. Missing
and damaged files leave their part empty. Metadata may hold anything; nothing here trusts its types.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ... import text
from .. import evaluations
from ..best import Evaluation, epoch_of
from ..redact import redact, redact_tree
from ..stored import StoredRun
from .files import MOST_DIFF, Menu, diff_of, end_of_log, settings_of
from .logged import Logged

_MOST_CHARACTERS = 20_000  # of a text

Pairs = list[tuple[str, str]]


class Metric(NamedTuple):
    """A row of the table of metrics; `low` and `high` are (value, step)."""

    name: str
    count: int
    first: str
    last: str
    low: tuple[str, str]
    high: tuple[str, str]


@dataclass
class Facts:
    """One run for the templates: texts, and pairs of a label and a text."""

    name: str
    status: str
    about: Pairs
    words: Pairs
    notes: Pairs
    results: Pairs
    best: Evaluation | None
    metrics: list[Metric]
    settings: list[Menu]
    environment: Pairs
    packages: Pairs
    git: Pairs
    diff: str
    commands: list[str]
    remarks: list[str]
    log: str
    tags: list[str] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """How many settings are not at their defaults."""
        return sum(bool(setting.origin) for menu in self.settings for setting in menu.settings)


def facts_of(run: StoredRun, logged: Logged) -> Facts:
    """Everything that the templates ask for; reads the small files of the run."""
    fields = redact_tree(run.metadata)
    machine = _part(fields, "environment")
    notes = [note for note in _list(fields.get("notes")) if isinstance(note, Mapping)]
    diff = diff_of(run.dir)
    return Facts(
        name=text.one_line(run.name),
        status=text.one_line(run.status),
        about=list(_about(fields, logged.best)),
        words=list(_words(fields)),
        notes=[(_text(note.get("time")), _text(note.get("text"))) for note in notes],
        tags=[text.one_line(tag)[:100] for tag in _list(fields.get("tags"))],
        results=list(_results(fields)),
        best=logged.best,
        metrics=[_metric(name, logged) for name in logged.curves if not name.startswith("final/")],
        settings=settings_of(run.dir),
        environment=list(_flat({k: v for k, v in machine.items() if k != "packages"})),
        packages=list(_flat(_part(machine, "packages"))),
        git=list(_flat(_part(fields, "git"))),
        diff=diff[:MOST_DIFF],
        commands=_commands(run, fields),
        remarks=_remarks(run, fields, logged, diff),
        log=end_of_log(run.dir / "logs" / "train.log"),
    )


# ------------------------------------------------------------------------------------- the summary


def _about(fields: Mapping[str, Any], best: Evaluation | None) -> Iterator[tuple[str, str]]:
    model, data = _part(fields, "model"), _part(fields, "dataset")
    batch = _part(fields, "batch")
    parameters = model.get("parameters")
    sized = f"{parameters:,} parameters" if type(parameters) is int else ""
    rows = {
        "status": fields.get("status"),
        "error": fields.get("error"),
        "model": ", ".join(filter(None, (_text(model.get("name", "")), sized))),
        "data set": data.get("name"),
        "optimizer": fields.get("optimizer"),
        "best step": f"{best.step:,}" if best else fields.get("best_step"),
        "best epoch": _number(epoch_of(best.step, fields)) if best else "",
        "duration": text.duration(fields.get("duration_s")),
        "started": fields.get("start_time"),
        "ended": fields.get("end_time"),
        "device": fields.get("device"),
        "precision": fields.get("precision"),
        "batch size": batch.get("effective"),
        "seed": fields.get("seed"),
        "resumed": len(_list(fields.get("resumes"))) or "",
        "group": fields.get("group"),
        "job type": fields.get("job_type"),
        "run id": fields.get("run_id"),
        "science hash": fields.get("science_hash"),
        "command": fields.get("command"),
    }
    for label, value in rows.items():
        if value is not None and value != "":
            yield label, _text(value)
    yield from _flat({"parent": fields.get("parent")})


def _words(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What was expected of the run, and what came of it."""
    for label in ("description", "hypothesis"):
        if fields.get(label):
            yield label, _text(fields[label])
    conclusion = fields.get("conclusion")
    if isinstance(conclusion, Mapping):
        for label, value in conclusion.items():
            known = label == "expected" and value == fields.get("hypothesis")
            if value and not known and not isinstance(value, dict):  # metrics are in the results
                yield f"conclusion: {text.one_line(label)}", _text(value)
    elif conclusion:
        yield "conclusion", _text(conclusion)


def _results(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in _part(fields, "final_metrics").items():
        yield text.metric_label(text.one_line(name)), text.one_line(text.metric(name, value))
    yield from _flat(_part(fields, "results"))
    yield from ((text.one_line(name), value) for name, value in evaluations.as_rows(fields))


def _metric(name: str, logged: Logged) -> Metric:
    import numpy as np

    curve, finite = logged.curves[name], logged.curves[name].finite()

    def at(index: int) -> tuple[str, str]:
        return text.metric(name, float(finite.values[index])), f"{int(finite.steps[index]):,}"

    low, high = ("", ""), ("", "")
    if len(finite):
        low, high = at(int(np.argmin(finite.values))), at(int(np.argmax(finite.values)))
    ends = [text.metric(name, float(value)) for value in curve.values[[0, -1]]]
    return Metric(text.one_line(name), len(curve), ends[0], ends[1], low, high)


# ---------------------------------------------------------------------- what to type, what to know


def _commands(run: StoredRun, fields: Mapping[str, Any]) -> list[str]:
    """What to type in a checkout to train the same again."""
    git = _part(fields, "git")
    place = shlex.quote(text.one_line(run.dir))
    commands = []
    if git.get("commit"):
        commands.append(f"git checkout {shlex.quote(text.one_line(git['commit']))}")
    if (run.dir / "git.diff").is_file():
        commands.append(f"git apply {place}/git.diff")
    return [*commands, f"cp {place}/.config .config", "make"]


def _remarks(run: StoredRun, fields: Mapping[str, Any], logged: Logged, diff: str) -> list[str]:
    """What is missing or limited, and should be known before the rest is believed."""
    remarks = []
    if run.status == "running":
        remarks.append("The run is in progress: this is what it had logged when it was read.")
    if run.status == "unreadable":
        remarks.append(f"The metadata cannot be read: {_text(fields.get('error'))}")
    if run.status == "kept":
        pull = f"make pull RUN={shlex.quote(text.one_line(run.name))}"
        remarks.append(f"The run is kept, but not here; this is its summary. To get it: {pull}")
    elif not logged.rows:
        remarks.append("There is no journal of this run, or nothing is in it: no curves, no media.")
    if logged.damaged:
        remarks.append(f"Damaged rows of the journal that are left out: {logged.damaged:,}.")
    if fields.get("lost_rows"):
        remarks.append(f"Rows that the training could not write: {_text(fields['lost_rows'])}.")
    if len(diff) > MOST_DIFF:
        remarks.append(f"Of git.diff the first {MOST_DIFF:,} characters are shown.")
    return remarks


# -------------------------------------------------------------------------------------- plain texts


def _flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested mappings with dotted names; empty ones are left out."""
    for key, value in fields.items():
        label = f"{prefix}{text.one_line(key)}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{label}.")
        elif isinstance(value, list):
            if value:
                yield label, _text(", ".join(map(str, value)))
        elif isinstance(value, bool):
            yield label, "yes" if value else "no"
        elif value is not None and value != "":
            yield label, _text(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _text(value: Any) -> str:
    return redact(text.printable(value))[:_MOST_CHARACTERS]


def _part(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = fields.get(name)
    return found if isinstance(found, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
