# SPDX-License-Identifier: MIT
"""What a run was recorded on against what is here; PyTorch must have been imported.

for fact in compare_machines(run.metadata, environment(), threads):
    print(fact.name, fact.recorded, fact.here, fact.same, fact.matters)
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

# Packages that compute or read what a model is trained on.
_NUMERIC = ("torch", "numpy", "scikit-learn", "datasets", "tiktoken", "pillow", "torchvision")


class Fact(NamedTuple):
    """One line of the table; `matters` if the last bits of a training depend on it."""

    name: str
    recorded: str
    here: str
    matters: bool

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.recorded == self.here


def compare_machines(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[Fact]:
    """The `environment` of a run against that of this process, as lib/runs/metadata.py has both."""
    facts = [
        Fact("Python", _text(recorded.get("python")), _text(here.get("python")), matters=True),
        Fact("PyTorch", _text(recorded.get("torch")), _text(here.get("torch")), matters=True),
        Fact("CPU", _cpu(recorded, "model"), _cpu(here, "model"), matters=True),
        Fact("cores", _cpu(recorded, "cores"), _cpu(here, "cores"), matters=False),
        Fact("GPUs", _gpus(recorded), _gpus(here), matters=True),
    ]
    for name in ("cuda", "cudnn", "driver", "os"):
        was, now = _text(recorded.get(name)), _text(here.get(name))
        if was != now:
            facts.append(Fact(name, was, now, matters=name in ("cuda", "cudnn")))
    was, now = (_packages(each) for each in (recorded, here))
    names = [name for name in dict.fromkeys([*was, *now]) if name != "torch"]
    facts += [
        Fact(name, _text(was.get(name)), _text(now.get(name)), matters=name in _NUMERIC)
        for name in names
        if was.get(name) != now.get(name)
    ]
    return facts


def _text(value: Any) -> str:
    return "none" if value is None or value == "" else str(value)


def _cpu(environment: Mapping[str, Any], key: str) -> str:
    cpu = environment.get("cpu")
    return _text(cpu.get(key)) if isinstance(cpu, Mapping) else "none"


def _gpus(environment: Mapping[str, Any]) -> str:
    gpus = environment.get("gpus")
    names = [str(g.get("name")) for g in gpus if isinstance(g, Mapping)] if gpus else []
    return ", ".join(f"{names.count(n)} × {n}" for n in dict.fromkeys(names)) or "none"


def _packages(environment: Mapping[str, Any]) -> Mapping[str, Any]:
    found = environment.get("packages")
    return found if isinstance(found, Mapping) else {}
