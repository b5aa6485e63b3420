# SPDX-License-Identifier: MIT
"""What a run records about its pruning, besides the metric `sparsity`.

    run.set_info(pruning=pruning_info(pruner))      # before the first step
    log_scores(run, pruner, step)                   # at the logging interval
    metrics = finish_pruning(run, pruner, step)     # at the end

For a run without pruning they record nothing.
"""

import math
from typing import Any

from torch import Tensor

from .. import text
from ..pruning.build import Unpruned
from ..pruning.pruner import Pruner
from ..pruning.select import BINS

OCTAVE = BINS // 512  # bins of the selection between two powers of two


def pruning_info(pruner: Pruner | Unpruned) -> dict[str, Any]:
    """{target, end_step} for metadata.yaml.

    Evaluations before `end_step` are of a denser network and never count as the best.
    """
    if isinstance(pruner, Unpruned):
        return {}
    return {"target": pruner.schedule.target, "end_step": pruner.schedule.end}


def log_scores(run: Any, pruner: Pruner | Unpruned, step: int) -> None:
    """Record the histogram of the scores ranked since the last call, if there is a new one."""
    if pruner.histogram is not None:
        run.log_counts("pruning/scores", *score_histogram(pruner.histogram), step)
        pruner.histogram = None


def score_histogram(counts: Tensor) -> tuple[list[int], list[float]]:
    """n counts by power of two, from those of lib/pruning/select.py, and their n + 1 edges.

    Leading and trailing empty bins are left out.
    """
    octaves = counts.view(-1, OCTAVE).sum(1)
    filled = octaves.nonzero().flatten()
    first, last = int(filled[0]), int(filled[-1])
    return octaves[first : last + 1].tolist(), [_edge(i) for i in range(first, last + 2)]


def _edge(octave: int) -> float:
    """The lower edge of `octave`: 256 of negative numbers, largest first, then 256 of positive."""
    exponent = octave - 256 if octave >= 256 else 256 - octave
    size = 0.0 if exponent == 0 else math.ldexp(1.0, exponent - 127)
    return size if octave >= 256 else -size


def finish_pruning(run: Any, pruner: Pruner | Unpruned, step: int) -> dict[str, float]:
    """Verify that the pruned weights are zero, print and record the layers; final/sparsity.

    Raises RuntimeError naming a layer in which a pruned weight is not zero.
    """
    layers = pruner.layers()
    if not layers:
        return {}
    pruner.verify()
    rows = [[str(x) for x in row] for row in layer_rows(layers)]
    for line in text.columns(rows, right=(2, 3, 4)):
        run.say(line)
    columns = ("name", "shape", "pruned", "total", "sparsity")
    cells = [[str(row[key]) if key == "shape" else row[key] for key in columns] for row in layers]
    run.log_table("pruning/layers", columns, cells, step)
    return {"final/sparsity": pruner.sparsity}


def layer_rows(layers: list[dict[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """A heading, a row for each prunable layer, and their total, which sparsity refers to."""
    pruned, total = (sum(layer[key] for layer in layers) for key in ("pruned", "total"))
    everything = {"name": "all prunable", "shape": [], "pruned": pruned, "total": total}
    rows = [("layer", "shape", "pruned", "of", "sparsity")]
    for layer in [*layers, everything]:
        share = layer["pruned"] / layer["total"] if layer["total"] else 0.0
        shape = " × ".join(str(n) for n in layer["shape"])
        count = f"{layer['pruned']:,}", f"{layer['total']:,}"
        rows.append((layer["name"], shape, *count, f"{100 * share:.2f} %"))
    return rows
