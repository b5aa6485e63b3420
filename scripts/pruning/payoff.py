# SPDX-License-Identifier: MIT
"""Measure whether the sparsity of a run pays on this machine.

    make payoff [RUN=name]
    python -m scripts.pruning.payoff [--output-dir DIR] [--checkpoint last|best] [RUN]

Compares dense and pruned: the size of the exported files, the memory of the weights, and latency
and throughput of the pruned linear layers, one after the other, at batch sizes 1, 16 and 256. The
pruned ones use the sparse kernels that PyTorch has here: compressed rows (CSR) on a CPU, 2:4 on a
GPU that supports it if all layers are 2:4. Convolutions have no sparse kernel and are left out of
the times. Dense and pruned are timed in turn until their ratio settles; a warning says when it does
not, as on a busy machine. The last lines say where pruning pays and where it does not.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lib import text
from scripts.common import checkpoint_parser, chosen_checkpoint

if TYPE_CHECKING:
    from lib.pruning.payoff import Timing

BATCH_SIZES = (1, 16, 256)


def main() -> None:
    path = chosen_checkpoint(checkpoint_parser(__doc__).parse_args())

    from lib.pruning.export import FORMATS  # imports torch: bad use has been answered
    from lib.pruning.payoff import measure_layers
    from scripts.pruning.weights import load_pruned_weights

    weights, masks = load_pruned_weights(path)
    kept = sum(int(mask.sum()) for mask in masks.values())
    total = sum(mask.numel() for mask in masks.values())
    print(f"{path}: {100 * (1 - kept / total):.1f} % of {total:,} prunable weights are zero")

    _say("writing both files")
    with tempfile.TemporaryDirectory() as folder:
        sizes = {}
        halves = {name: weight.bfloat16() for name, weight in weights.items()}
        for name in ("dense", "sparse"):
            file = Path(folder) / name
            FORMATS[name][1](file, halves, masks)
            sizes[name] = file.stat().st_size
    found = measure_layers(weights, masks, BATCH_SIZES, _say_round)
    rows = [("", "dense", "pruned", "dense / pruned", "middle half")]
    rows.append(_row("file in bfloat16", sizes["dense"], sizes["sparse"]))
    rows.append(_row("memory of linear layers", *found.memory))
    rows += [_latency(batch, timing) for batch, timing in found.times.items()]
    rows += [_throughput(batch, timing) for batch, timing in found.times.items()]
    print("", *text.columns(rows, right=(1, 2, 3, 4)), sep="\n")
    print(f"\n{found.kernel}; {len(found.layers)} of {len(masks)} pruned layers are linear;")
    print("medians over rounds that time both in turn; the middle half is that of the rounds")
    if unsettled := [batch for batch, timing in found.times.items() if not timing.settled]:
        print(
            f"warning: the times did not settle at batch size {_list(unsettled)}: they say nothing "
            "about pruning.\nRepeat this while the machine does nothing else.",
        )
    print(verdict(found.times))


def _say(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


def _say_round(batch: int, done: int, most: int) -> None:
    """A line for each batch size; on a terminal it counts the rounds."""
    if sys.stderr.isatty():
        start = "\n" if done == 0 and batch != BATCH_SIZES[0] else "\r"
        line = f"{start}measuring batch size {batch}: round {done} of at most {most} "
        print(line, end="", file=sys.stderr, flush=True)
    elif done == 0:
        _say(f"measuring batch size {batch}")


def _row(name: str, dense: int, pruned: int) -> tuple[str, ...]:
    return name, text.size(dense), text.size(pruned), f"{dense / pruned:.2f}", ""


def _latency(batch: int, timing: "Timing") -> tuple[str, ...]:
    sides = (f"{1000 * side[1]:.3f} ms" for side in (timing.dense, timing.pruned))
    return f"latency, batch {batch}", *sides, *_ratio(timing)


def _throughput(batch: int, timing: "Timing") -> tuple[str, ...]:
    sides = (f"{batch / side[1]:,.0f} /s" for side in (timing.dense, timing.pruned))
    return f"throughput, batch {batch}", *sides, *_ratio(timing)


def _ratio(timing: "Timing") -> tuple[str, str]:
    low, middle, high = timing.ratio
    return f"{middle:.2f}", f"{low:.2f} – {high:.2f}"


def verdict(times: Mapping[int, "Timing"]) -> str:
    """Sentences on the batch sizes at which the sparse kernels are faster than the dense ones.

    Faster means that the rounds agree and three quarters of them say so.
    """
    faster = [batch for batch, timing in times.items() if timing.settled and timing.ratio[0] > 1]
    slower = [batch for batch, timing in times.items() if timing.settled and timing.ratio[2] < 1]
    if len(faster) == len(times):
        return "Pruning pays in time on this machine at every batch size that was measured."
    if len(slower) == len(times):
        return "Pruning does not pay in time on this machine: only the file gets smaller."
    parts = []
    if faster:
        parts.append(f"Pruning pays in time on this machine at batch size {_list(faster)}.")
    if slower:
        parts.append(f"Pruning does not pay in time at batch size {_list(slower)}.")
    if open_ := [batch for batch in times if batch not in (*faster, *slower)]:
        parts.append(f"At batch size {_list(open_)} there is no clear difference.")
    return "\n".join(parts)


def _list(batches: list[int]) -> str:
    *most, last = map(str, batches)
    return f"{', '.join(most)} and {last}" if most else last


if __name__ == "__main__":
    run_main(main)
