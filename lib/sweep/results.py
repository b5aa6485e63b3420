# SPDX-License-Identifier: MIT
"""What of a finished run counts in a sweep: the values of its metrics, and facts for constraints.

values = measured(run, sweep.metrics)       # [0.43]; raises Unmeasured
facts = facts_of(run, sweep)                # {"sparsity": 0.9}
"""

from collections.abc import Iterable, Sequence

from ..errors import Failure, did_you_mean
from ..runs.stored import StoredRun
from ..text import one_line
from .description import Metric, Sweep


class Unmeasured(Failure):
    """A run that never logged a metric of the sweep."""


def value_of(run: StoredRun, metric: Metric) -> float | None:
    """The number that stands for `metric` in the run; None if it was never logged."""
    if metric.at == "last" and not metric.name.startswith("final/"):
        return run.value(f"{metric.name}:last")
    return run.value(metric.name)


def measured(run: StoredRun, metrics: Iterable[Metric]) -> list[float]:
    """The values of `metrics`, which may be NaN. Raises Unmeasured when one was never logged."""
    found = []
    for metric in metrics:
        value = value_of(run, metric)
        if value is None:
            raise Unmeasured(_missing(run, metric.name))
        found.append(value)
    return found


def _missing(run: StoredRun, name: str) -> str:
    """That the run logged no metric `name`, with those that may have been meant."""
    logged: Sequence[str] = [*run.metric_names, *run.part("final_metrics")]
    names = [n for n in dict.fromkeys(logged) if not n.startswith("system/")]
    hint = did_you_mean(name, names)
    listed = hint or f"; it logged {', '.join(map(one_line, names)) or 'nothing'}."
    return f"{run.name} logged no metric {name}{listed}"


def facts_of(run: StoredRun, sweep: Sweep) -> dict[str, float]:
    """name → value of the metrics that the constraints name, as far as the run logged them."""
    values = {constraint.name: run.value(constraint.name) for constraint in sweep.constraints}
    return {name: value for name, value in values.items() if value is not None}


def values_text(sweep: Sweep, values: Iterable[float]) -> str:
    """The values of the sweep's metrics in one line."""
    pairs = zip(sweep.metrics, values, strict=True)
    return ", ".join(f"{metric.name} {value:.5g}" for metric, value in pairs)
