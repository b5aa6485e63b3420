# SPDX-License-Identifier: MIT
"""What a person says about a run once it exists: notes, tags, a conclusion.

    add_note(run, "the loss jumps at step 400")
    change_tags(run, "+kept -wip")
    conclude(run, "as good with half the weights", "confirmed")

They are fields of metadata.yaml, each with its time, and nothing that was said is lost:

    notes: [{time, text}]
    tags: [kept]    tag_changes: [{time, added, removed}]
    conclusion: {time, expected, actual, verdict, metrics}    earlier_conclusions: [the same]

`expected` is the run's hypothesis, `metrics` are its numbers at that moment. The run may be in
progress. Secrets are redacted as in all of metadata.yaml. Trackers get the words with the
description of the run (lib/tracking/describe.py). The journal of a run that has ended is not
touched: a cache may hold the same file.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import BadUse, did_you_mean
from . import metadata
from .amend import amend
from .stored import StoredRun, last_metrics

VERDICTS = ("confirmed", "refuted", "open")

_LONGEST = 10_000  # characters of a note or a result
_LONGEST_TOGETHER = 400_000  # of a run; metadata.yaml is not read above 4 MiB
_MOST_TAGS = 100
_MOST_CHANGES = 1000  # of tags that are remembered
_MOST_METRICS = 200
_TAG = re.compile(r"\w[\w.:/-]{0,63}")  # W&B takes 64 characters, MLflow these


def add_note(run: StoredRun, text: str) -> dict[str, Any]:
    """Add a note; returns {time, text} as it is stored. Raises BadUse, Failure."""
    note = {"time": metadata.now(), "text": _checked(text, "TEXT")}

    def change(fields: dict[str, Any]) -> dict[str, Any]:
        return _limited({**fields, "notes": [*entries(fields, "notes"), note]})

    return amend(run.dir, change)["notes"][-1]


def change_tags(run: StoredRun, changes: str) -> list[str]:
    """Add and remove tags, such as "+kept -wip"; a word without a sign is added.

    Returns the tags. Adding one that is there changes nothing. Raises BadUse, with nothing
    changed, for a tag to be removed that is not there, and for one that no tag can be; Failure.
    """
    added, removed = _parsed(changes)

    def change(fields: dict[str, Any]) -> dict[str, Any]:
        old = tags(fields)
        for tag in removed:
            if tag not in old:
                hint = did_you_mean(tag, old) or f"; it has {', '.join(old) or 'none'}"
                raise BadUse(f"{run.name} has no tag {tag} to remove{hint}")
        entry = {"time": metadata.now(), "added": [t for t in added if t not in old]}
        entry["removed"] = removed
        new = applied(old, [entry])
        if new == old:
            return fields
        if len(new) > _MOST_TAGS:
            raise BadUse(f"{run.name} would have {len(new)} tags; at most {_MOST_TAGS} are allowed")
        history = [*entries(fields, "tag_changes"), entry][-_MOST_CHANGES:]
        return {**fields, "tags": new, "tag_changes": history}

    return tags(amend(run.dir, change))


def conclude(run: StoredRun, result: str, verdict: str = "open") -> dict[str, Any]:
    """Set the run's hypothesis against its `result`; returns the conclusion as it is stored.

    An earlier conclusion moves to `earlier_conclusions`. Raises BadUse, Failure.
    """
    if verdict not in VERDICTS:
        hint = did_you_mean(verdict, VERDICTS)
        raise BadUse(f"VERDICT={verdict}: must be one of {', '.join(VERDICTS)}{hint}")
    actual, numbers = _checked(result, "RESULT"), _metrics_now(run)

    def change(fields: dict[str, Any]) -> dict[str, Any]:
        earlier = [*entries(fields, "earlier_conclusions"), conclusion(fields)]
        now = {
            "time": metadata.now(),
            "expected": str(fields.get("hypothesis") or ""),
            "actual": actual,
            "verdict": verdict,
            "metrics": numbers,
        }
        new = {**fields, "conclusion": now}
        if any(earlier):
            new["earlier_conclusions"] = [entry for entry in earlier if entry]
        return _limited(new)

    return conclusion(amend(run.dir, change))


def tags(fields: Mapping[str, Any]) -> list[str]:
    """The tags in metadata.yaml."""
    found = fields.get("tags")
    return list(map(str, found)) if isinstance(found, list) else []


def conclusion(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The conclusion in metadata.yaml; empty without one."""
    found = fields.get("conclusion")
    return found if isinstance(found, dict) else {}


def entries(fields: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The list of entries called `name` in metadata.yaml, each with its time, oldest first."""
    found = fields.get(name)
    return [e for e in found if isinstance(e, dict)] if isinstance(found, list) else []


def applied(configured: Sequence[str], changes: Iterable[Mapping[str, Any]]) -> list[str]:
    """The tags `configured` after `changes`, in the order in which they were added."""
    now = dict.fromkeys(configured)
    for entry in changes:
        for tag in _texts(entry, "removed"):
            now.pop(tag, None)
        now.update(dict.fromkeys(_texts(entry, "added")))
    return list(now)


def without(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a new run that begins as a copy of this one: with its tags as configured alone."""
    before = dict.fromkeys(tags(fields))
    for entry in reversed(entries(fields, "tag_changes")):
        for tag in _texts(entry, "added"):
            before.pop(tag, None)
        before.update(dict.fromkeys(_texts(entry, "removed")))
    said = ("notes", "tag_changes", "conclusion", "earlier_conclusions", "evaluations")
    return {**{k: v for k, v in fields.items() if k not in said}, "tags": list(before)}


def as_markdown(fields: Mapping[str, Any]) -> str:
    """The conclusion and the notes, latest first, for the page of a tracker; empty without any."""
    parts = []
    if last := conclusion(fields):
        expected = f"Expected: {last.get('expected')}\n\n" if last.get("expected") else ""
        head = f"**Conclusion** ({last.get('verdict')}, {_minute(last)})"
        parts.append(f"{head}\n\n{expected}Actual: {last.get('actual')}")
    for note in reversed(entries(fields, "notes")):
        parts.append(f"**Note** ({_minute(note)})\n\n{note.get('text')}")
    return "\n\n".join(parts)


def _minute(entry: Mapping[str, Any]) -> str:
    return str(entry.get("time"))[:16].replace("T", " ")


def _texts(entry: Mapping[str, Any], name: str) -> list[str]:
    found = entry.get(name)
    return list(map(str, found)) if isinstance(found, list) else []


def _parsed(changes: str) -> tuple[list[str], list[str]]:
    """(tags to add, tags to remove)"""
    added: dict[str, None] = {}
    removed: dict[str, None] = {}
    for word in changes.replace(",", " ").split():
        tag = word.removeprefix("+") if word.startswith("+") else word.removeprefix("-")
        if not _TAG.fullmatch(tag):
            raise BadUse(
                f"TAGS: {word} is not a tag: up to 64 letters, digits, '_', '.', ':', '/' and '-', "
                "the first one a letter, a digit or '_'; + before it adds it, - removes it"
            )
        (removed if word.startswith("-") else added)[tag] = None
    if both := added.keys() & removed.keys():
        raise BadUse(f"TAGS: {', '.join(sorted(both))} cannot be both added and removed")
    if not (added or removed):
        raise BadUse('TAGS= is missing: TAGS="+kept -wip" adds kept and removes wip')
    return list(added), list(removed)


def _checked(text: str, name: str) -> str:
    text = text.strip()
    if not text:
        raise BadUse(f'{name}= is missing: {name}="…" is what you have to say')
    if len(text) > _LONGEST:
        raise BadUse(f"{name} has {len(text):,} characters; at most {_LONGEST:,} are allowed")
    return text


def _limited(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields`, unless notes and conclusions are longer together than a run can have."""
    said = [*entries(fields, "notes"), *entries(fields, "earlier_conclusions"), conclusion(fields)]
    length = sum(len(str(entry)) for entry in said)
    if length > _LONGEST_TOGETHER:
        raise BadUse(
            f"its notes and conclusions would have {length:,} characters together; at most "
            f"{_LONGEST_TOGETHER:,} are kept in metadata.yaml. Write a file instead, and name it"
        )
    return fields


def _metrics_now(run: StoredRun) -> dict[str, Any]:
    """What was logged last, and the final metrics."""
    logged = {k: v for k, v in last_metrics(run.journal).items() if not k.startswith("system/")}
    numbers = {**logged, **run.part("final_metrics")}
    return dict(list(numbers.items())[:_MOST_METRICS])
