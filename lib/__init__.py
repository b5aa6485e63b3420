# SPDX-License-Identifier: MIT
"""AdamWPrune for other programs: optimizers that prune, runs with trackers, exact checkpoints.

    import adamwprune

    optimizer = adamwprune.AdamWPrune(model.parameters(), pruner, lr=0.001)
    with adamwprune.run("digits", config={"lr": 0.001}, trackers="trackio") as run:
        run.log({"train/loss": loss})

Installed with pip this package is `adamwprune`; in a checkout it is `lib`. Each name is imported
when it is first used: `import adamwprune` itself is quick and does not import PyTorch. docs/api.md
has examples.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.checkpoints import Checkpoints, Restored
    from .api.export import export, load_sparse
    from .api.run import Run, run, track
    from .errors import BadUse, Failure
    from .optim import build_optimizer
    from .optim.adamwprune import AdamWPrune
    from .optim.adamwspam import AdamWSPAM, Spam
    from .optim.schedule import lr_at
    from .optim.update import apply_update
    from .pruning.build import build_pruner
    from .pruning.pruner import Pruner
    from .pruning.schedules import Schedule
    from .pruning.targets import prunable
    from .runs.metadata import VERSION as __version__
    from .runs.open import open_run, open_runs

_MODULES = {
    "AdamWPrune": "optim.adamwprune",
    "AdamWSPAM": "optim.adamwspam",
    "BadUse": "errors",
    "Checkpoints": "api.checkpoints",
    "Failure": "errors",
    "Pruner": "pruning.pruner",
    "Restored": "api.checkpoints",
    "Run": "api.run",
    "Schedule": "pruning.schedules",
    "Spam": "optim.adamwspam",
    "__version__": "runs.metadata",
    "apply_update": "optim.update",
    "build_optimizer": "optim",
    "build_pruner": "pruning.build",
    "export": "api.export",
    "load_sparse": "api.export",
    "lr_at": "optim.schedule",
    "open_run": "runs.open",
    "open_runs": "runs.open",
    "prunable": "pruning.targets",
    "run": "api.run",
    "track": "api.run",
}

__all__ = [
    "AdamWPrune",
    "AdamWSPAM",
    "BadUse",
    "Checkpoints",
    "Failure",
    "Pruner",
    "Restored",
    "Run",
    "Schedule",
    "Spam",
    "__version__",
    "apply_update",
    "build_optimizer",
    "build_pruner",
    "export",
    "load_sparse",
    "lr_at",
    "open_run",
    "open_runs",
    "prunable",
    "run",
    "track",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".{_MODULES[name]}", __name__)
    found = getattr(module, "VERSION" if name == "__version__" else name)
    globals()[name] = found  # the next access does not come here
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
