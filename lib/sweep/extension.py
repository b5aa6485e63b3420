# SPDX-License-Identifier: MIT
"""Two descriptions under one name: what differs, and whether one can grow into the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..config.dotconfig import shorten
from ..errors import BadUse
from .description import Sweep

# What a sweep that has begun can take. Cells are compared by themselves (study._extend).
_GROWS = {"axes", "arms", "seeds", "trials", "hours", "retries", "description"}
_WHEN_ENUMERATED = {"axes", "arms", "seeds"}
_MOST = 6  # differences in a message


def differences(there: Sweep, here: Sweep) -> str:
    """What of the description `here` differs from the one that is `there`, in a line."""
    old, new = _flat(json.loads(there.to_json())), _flat(json.loads(here.to_json()))
    found = [
        f"{name} is {_shown(old.get(name))} there and {_shown(new.get(name))} here"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name) and name != "description"
    ]
    more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return "; ".join(found[:_MOST]) + more


def check_extension(there: Sweep, here: Sweep) -> None:
    """Raise BadUse where `here` changes what the trials of `there` have in common."""
    old, new = json.loads(there.to_json()), json.loads(here.to_json())
    allowed = _GROWS if there.enumerated else _GROWS - _WHEN_ENUMERATED
    fixed = [
        name for name in {**old, **new} if old.get(name) != new.get(name) and name not in allowed
    ]
    if fixed:
        raise BadUse(
            f"sweep {here.name} cannot be extended by another {' and '.join(fixed)} "
            f"({differences(there, here)}): its trials would not compare. Use another name"
        )
    if there.trials and here.trials and here.trials < there.trials:
        raise BadUse(
            f"sweep {here.name} has {there.trials} trials; a sweep can only grow, not to "
            f"{here.trials}"
        )


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """{dotted name: value} of nested mappings."""
    if not isinstance(value, Mapping):
        return {path: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _flat(item, f"{path}.{key}" if path else key)
    return found


def _shown(value: Any) -> str:
    return "missing" if value is None else shorten(json.dumps(value), 60)
