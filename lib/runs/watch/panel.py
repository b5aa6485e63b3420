# SPDX-License-Identifier: MIT
"""What `make watch` says of runs in a few lines of plain text: for the screen, and without one."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from ... import text
from .. import status
from .listing import Entry
from .tail import Tail, last_lines

_BAR = 10  # columns
_FIRST = ("loss", "accuracy", "perplexity", "lr", "sparsity", "grad_norm")
_SPLITS = ("train", "val", "test")
_NEVER_DRAWN = ("final/",)
_UNITS = {"_ms": " ms", "_percent": " %", "_gib": " GiB", "_c": " °C", "_w": " W"}


def quantities(names: Iterable[str]) -> dict[str, list[str]]:
    """What can be drawn: quantity → its metrics, such as loss → train/loss, val/loss.

    Loss and the like come first, then other metrics of the training, then perf/* and system/*.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        if not name.startswith(_NEVER_DRAWN):
            split, _, rest = name.partition("/")
            found.setdefault(rest if rest and split in _SPLITS else name, []).append(name)
    for metrics in found.values():
        metrics.sort(key=lambda name: _rank(name.partition("/")[0], _SPLITS))
    return dict(sorted(found.items(), key=lambda item: (_rank(item[0], _FIRST), _room(item[0]))))


def _rank(name: str, order: tuple[str, ...]) -> int:
    return order.index(name) if name in order else len(order)


def _room(quantity: str) -> int:
    return _rank(quantity.partition("/")[0], ("", "perf", "system")) % 3


def state_line(entry: Entry, tail: Tail, now: float | None = None) -> str:
    """running for 12 min, last row 3 s ago; completed in 2 h; failed: the error."""
    fields = entry.fields
    if entry.status == "running":
        now = time.time() if now is None else now
        said = "running"
        if started := _last_start(entry):
            said += f" for {text.age(now - started)}"
        return f"{said}, last row {text.age(now - tail.time)} ago" if tail.time else said
    said = entry.status
    if lasted := text.duration(fields.get("duration_s")):
        said += f" after {lasted}"
    if error := fields.get("error"):
        said += f": {error}"
    return text.one_line(said)


def _last_start(entry: Entry) -> float | None:
    resumes = entry.fields.get("resumes")
    last = resumes[-1] if isinstance(resumes, list) and resumes else {}
    at = last.get("time") if isinstance(last, dict) else None
    moment = status.instant(at or entry.fields.get("start_time"))
    return moment.timestamp() if moment else None


def progress_line(entry: Entry, tail: Tail) -> str:
    """step 1,200 of 2,000  60 % ████████████········  3 min 20 s left"""
    total, step = entry.fields.get("total_steps"), tail.step
    if type(total) is not int or total <= 0:
        return f"step {step:,}"
    share = min(1.0, step / total)
    bar = "█" * round(_BAR * share) + "·" * (_BAR - round(_BAR * share))
    said = f"step {step:,} of {total:,}  {100 * share:.0f} % {bar}"
    pace = tail.steps_per_s()
    if entry.status == "running" and pace and step < total:
        said += f"  {text.duration((total - step) / pace)} left"
    return said


def numbers_line(tail: Tail) -> str:
    """The latest values of the training, and its best evaluation."""
    rest = ("perf/", "system/", "final/", "artifact/")
    latest = {n: v for n, v in tail.last.items() if not n.startswith(rest)}
    order = [name for names in quantities(latest).values() for name in names]
    said = [f"{name} {text.metric(name, latest[name])}" for name in order]
    if found := tail.best.found:
        name = tail.best.criterion[0]
        said.insert(0, f"best {name} {text.metric(name, found.metrics[name])} at {found.step:,}")
    return "  ".join(map(text.one_line, said))


def machine_line(tail: Tail, room: str) -> str:
    """The latest values of `room`, perf or system, with their units."""
    values = {n.removeprefix(f"{room}/"): v for n, v in tail.last.items() if n.startswith(room)}
    return "  ".join(text.one_line(_with_unit(name, v)) for name, v in values.items())


def _with_unit(name: str, value: float) -> str:
    for ending, unit in _UNITS.items():
        if name.endswith(ending):
            return f"{name.removesuffix(ending)} {value:.4g}{unit}"
    short = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if name.endswith("_per_s"):
        return f"{short} {name.removesuffix('_per_s')}/s"
    return f"{name} {short}"


def troubles(tail: Tail) -> str:
    """Values that are not finite, and damaged rows; empty when there are none."""
    said = [
        f"{name}: {count:,} × NaN or infinite since step {first:,}"
        for name, (count, first) in tail.lost.items()
    ]
    if tail.damaged:
        said.append(f"{tail.damaged:,} damaged rows: make verify")
    return text.one_line("; ".join(said))


def about(entry: Entry, tail: Tail) -> list[str]:
    """All of it, a line each; what is not known is left out."""
    loading = f"reading the journal: {100 * tail.progress:.0f} %" if tail.progress < 1 else ""
    lines = [state_line(entry, tail), progress_line(entry, tail), numbers_line(tail)]
    lines += [machine_line(tail, "perf"), machine_line(tail, "system"), troubles(tail), loading]
    return [line for line in lines if line]


def row(entry: Entry, step: int | None) -> tuple[str, str]:
    """(name, what there is to say in a few characters) of a run in the list."""
    total = entry.fields.get("total_steps")
    if entry.status == "running" and step is not None:
        known = type(total) is int and total > 0
        return entry.name, f"{100 * step / total:.0f} %" if known else f"{step:,}"
    return entry.name, entry.status


def snapshot(
    entries: Iterable[Entry], chosen: Entry, steps: Mapping[str, int], lines: int
) -> list[str]:
    """The list of runs and the run `chosen`, for where there is no terminal."""
    rows = [row(entry, steps.get(entry.name)) for entry in entries]
    tail = Tail(chosen.dir, chosen.fields)
    while tail.read(seconds=1.0):
        pass
    log = log_lines(chosen.dir, lines)
    said = ["", text.one_line(chosen.name), *(f"  {line}" for line in about(chosen, tail))]
    return [*text.columns(rows), *said, *(["", *(f"  {line}" for line in log)] if log else [])]


def log_lines(run_dir: Path, count: int) -> list[str]:
    """The last lines of the run's train.log, safe to print."""
    return [text.one_line(line) for line in last_lines(run_dir / "logs" / "train.log", count)]
