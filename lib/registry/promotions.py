# SPDX-License-Identifier: MIT
"""Aliases of versions, and the history of who set them, when and why.

    promote(client, model, version, "production", by="Ada <ada@example.org>", why="best so far")
    for entry in history(model):
        print(entry.time, entry.alias, entry.version, entry.by, entry.why)

An entry is a tag of the registered model under a name of its own, so entries are only ever added,
also when two promote at once. It is written before the alias is set and confirmed after that: one
that was cut off before the alias was set never counts, one that was cut off after it does.
"""

import json
import secrets
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any

from ..errors import BadUse
from .versions import Name, the_name

MAX_TEXT = 2000  # characters of a reason; MLflow takes tags of 5000 bytes
_PREFIX = "promotion."
_TRIES = 10  # until those who promote at once agree


@dataclass(frozen=True)
class Promotion:
    """That `alias` was given to `version`; `previous` had it before, 0 for none.

    `time` is UTC, ISO 8601. `kind` is promote or rollback.
    """

    alias: str
    version: int
    previous: int
    by: str
    time: str
    why: str
    kind: str = "promote"
    done: bool = False


def history(model: Name) -> list[Promotion]:
    """The promotions that took effect, the oldest first."""
    entries = sorted(_entries(model).values(), key=lambda entry: entry.time)
    last = {entry.alias: entry for entry in entries}  # of each alias
    return [
        entry
        for entry in entries
        if entry.done or (entry is last[entry.alias] and _has_effect(model, entry))
    ]


def last_version(model: Name, alias: str) -> int:
    """The version that `alias` was given to last, by the history; 0 for none."""
    return next((e.version for e in reversed(history(model)) if e.alias == alias), 0)


def promote(
    client: Any,
    model: Name,
    version: int,
    alias: str,
    *,
    by: str,
    why: str,
    kind: str = "promote",
) -> Promotion | None:
    """Give `alias` to `version`, which must exist; None if it has it already.

    An alias that was set by hand is only recorded. Killed at any moment, the alias is on the old
    version with the old history, or on the new one with this entry.
    """
    _confirm(client, model)
    current, last = model.aliases.get(alias, 0), last_version(model, alias)
    if current == version == last:
        return None
    if current == version:
        current = last
    entry = Promotion(alias, version, current, by, _now(), why, kind)
    key = f"{_PREFIX}{entry.time.replace('+00:00', 'Z')}.{secrets.token_hex(3)}"
    client.set_registered_model_tag(model.name, key, json.dumps(asdict(entry)))
    _set_alias(client, model.name, alias, version)
    entry = replace(entry, time=_now(), done=True)  # the order in which two take effect
    client.set_registered_model_tag(model.name, key, json.dumps(asdict(entry)))
    _agree(client, model.name, alias)
    return entry


def _agree(client: Any, name: str, alias: str) -> None:
    """Of several that promote at once, the one that is last in the history has the alias.

    Each looks after its own entry, and again after it has set the alias: what it saw may have
    changed meanwhile.
    """
    for _ in range(_TRIES):
        model = the_name(client, name)
        last = last_version(model, alias)
        if model.aliases.get(alias) == last:
            return
        _set_alias(client, name, alias, last)


def _set_alias(client: Any, name: str, alias: str, version: int) -> None:
    """Once more where MLflow fails because another process has just made the same alias."""
    try:
        client.set_registered_model_alias(name, alias, str(version))
    except Exception as error:
        if "IntegrityError" not in str(error):
            raise
        client.set_registered_model_alias(name, alias, str(version))


def before(model: Name, alias: str, there: Collection[int]) -> int:
    """The version that a rollback gives `alias` to: what had it before the present one.

    Rollbacks take promotions back one after the other. Versions that are not `there` any more are
    passed over. Raises BadUse when there is none.
    """
    current = model.aliases.get(alias)
    if current is None:
        known = ", ".join(sorted(model.aliases)) or "none"
        raise BadUse(f"ALIAS={alias}: {model.name} has no such alias; it has: {known}")
    earlier = [number for number in _stack(model, alias) if number in there]
    while earlier and earlier[-1] == current:
        earlier.pop()
    if not earlier:
        raise BadUse(
            f"{model.name}@{alias} is version {current}, and no version that is still there had "
            f"this alias before; choose one: make promote NAME={model.name} VERSION=… ALIAS={alias}"
        )
    return earlier[-1]


def _stack(model: Name, alias: str) -> list[int]:
    """The versions that had `alias`, without those that were rolled back, the latest last."""
    stack: list[int] = []
    for entry in history(model):
        if entry.alias != alias:
            continue
        if entry.previous and not stack:
            stack.append(entry.previous)
        if entry.kind == "rollback":
            while stack and stack[-1] != entry.version:
                stack.pop()
        if not stack or stack[-1] != entry.version:
            stack.append(entry.version)
    return stack


def _entries(model: Name) -> dict[str, Promotion]:
    found = {}
    for key, text in model.tags.items():
        if key.startswith(_PREFIX):
            try:
                found[key] = Promotion(**json.loads(text))
            except (ValueError, TypeError):  # somebody else's tag
                continue
    return found


def _has_effect(model: Name, entry: Promotion) -> bool:
    return model.aliases.get(entry.alias) == entry.version


def _confirm(client: Any, model: Name) -> None:
    """Confirm the entries that count because of where their alias is, before it moves on."""
    counted = history(model)
    for key, entry in _entries(model).items():
        if entry in counted and not entry.done:
            confirmed = json.dumps(asdict(replace(entry, done=True)))
            client.set_registered_model_tag(model.name, key, confirmed)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
