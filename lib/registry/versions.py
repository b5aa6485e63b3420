# SPDX-License-Identifier: MIT
"""What the registry holds: names, their versions and aliases.

    for version in versions(client):
        print(version.uri, version.metrics, version.tags["run_name"])

The tags of a version say which run and which weights it is made of. They come in the one request
that creates the version, so that there is none without them; MLflow itself adds none.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import BadUse, did_you_mean

PAGE = 1000  # entries of one request


@dataclass(frozen=True)
class Name:
    """A registered model: alias → version, and its tags."""

    name: str
    aliases: Mapping[str, int]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Version:
    """A version of a registered model. `mlflow_run` is MLflow's id of the run, `source` the
    address of the stored model, `created` in seconds since the epoch.
    """

    name: str
    number: int
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    mlflow_run: str
    source: str
    created: float
    description: str

    @property
    def uri(self) -> str:
        """What MLflow loads it by."""
        return f"models:/{self.name}/{self.number}"

    @property
    def run_name(self) -> str:
        return self.tags.get("run_name", "")

    @property
    def metrics(self) -> dict[str, float]:
        """Those of the checkpoint: the tags that are named like metrics, such as val/loss."""
        found = {}
        for name, value in self.tags.items():
            if "/" in name:
                try:
                    found[name] = float(value)
                except ValueError:
                    continue
        return {name: value for name, value in found.items() if not math.isnan(value)}


def names(client: Any, name: str = "") -> list[Name]:
    """All registered models, by name; with `name` that one, if it is there."""
    wanted = f"name = '{name}'" if name else None
    found = _all(lambda token: client.search_registered_models(wanted, PAGE, page_token=token))
    made = [
        Name(m.name, {alias: int(v) for alias, v in m.aliases.items()}, dict(m.tags)) for m in found
    ]
    return sorted(made, key=lambda model: model.name)


def the_name(client: Any, name: str) -> Name:
    """The registered model `name`. Raises BadUse, with similar names."""
    found = names(client, name)
    if not found:
        others = [model.name for model in names(client)]
        hint = did_you_mean(name, others) or (
            f"; there are {', '.join(others[:5])}" if others else "; nothing is registered yet"
        )
        raise BadUse(f"NAME={name}: no such model in the registry{hint}")
    return found[0]


def versions(client: Any, models: Iterable[Name]) -> list[Version]:
    """The versions of `models` that can be used, by name and number.

    All of them come in one search, which does not give their aliases: `models` has these.
    """
    aliases: dict[tuple[str, int], list[str]] = {}
    known = []
    for model in models:
        known.append(model.name)
        for alias, number in sorted(model.aliases.items()):
            aliases.setdefault((model.name, number), []).append(alias)
    wanted = f"name = '{known[0]}'" if len(known) == 1 else None
    found = _all(lambda token: client.search_model_versions(wanted, PAGE, page_token=token))
    made = [
        Version(
            name=v.name,
            number=int(v.version),
            aliases=tuple(aliases.get((v.name, int(v.version)), ())),
            tags=dict(v.tags),
            mlflow_run=v.run_id or "",
            source=v.source or "",
            created=v.creation_timestamp / 1000,
            description=v.description or "",
        )
        for v in found
        if v.status == "READY" and v.name in known
    ]
    return sorted(made, key=lambda version: (version.name, version.number))


def the_version(client: Any, model: Name, number: int) -> Version:
    """Version `number` of `model`. Raises BadUse, with the versions that there are."""
    there = versions(client, [model])
    for version in there:
        if version.number == number:
            return version
    listed = ", ".join(str(version.number) for version in there) or "none"
    raise BadUse(f"VERSION={number}: {model.name} has no such version; there are: {listed}")


def _all(request: Callable[[str | None], Any]) -> Iterator[Any]:
    token = None
    while True:
        page = request(token)
        yield from page
        token = page.token
        if not token:
            return
