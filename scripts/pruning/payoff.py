# SPDX-License-Identifier: MIT
"""Measure whether the sparsity of a run pays on this machine.

    make payoff [RUN=name]
    python -m scripts.pruning.payoff [--output-dir DIR] [--checkpoint last|best] [RUN]

Compares dense and pruned: the size of the exported files, the memory of the pruned layers, and
their time, one layer after the other and nothing between them.

Linear layers: latency and throughput at batch sizes 1, 16 and 256, with the sparse kernels that
PyTorch has here: compressed rows (CSR) on a CPU, 2:4 on a GPU if all linear layers are 2:4; with
PRUNING_PATTERN=channel dense, without the rows that were removed.
Convolutions that lack whole filters (PRUNING_PATTERN=channel): a pass over 16 images of 8 × 8
pixels with all filters, and with those that are left. Other convolutions have no sparse kernel:
they stay dense in memory, and are not timed.

Dense and pruned are timed in turn until their ratio settles; a warning says when it does not, as on
a busy machine. The last lines say where pruning pays and where it does not.
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
    from lib.pruning.payoff import Payoff, Timing

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
    rows.append(_row("memory of pruned layers", *found.memory))
    rows += [_latency(f"latency, batch {batch}", timing) for batch, timing in found.times.items()]
    rows += [_throughput(batch, timing) for batch, timing in found.times.items()]
    if found.cut_time:
        rows.append(_latency("convolutions", found.cut_time))
    print("", *text.columns(rows, right=(1, 2, 3, 4)), "", sep="\n")
    _explain(found, len(masks))
    untimed = sum(masks[name].numel() for name in found.dense) / total
    print(*verdicts(found, untimed), sep="\n")


def _explain(found: "Payoff", layers: int) -> None:
    """What was measured how, and what was not."""
    from lib.pruning.payoff import EDGE, IMAGES

    of = f"of {layers} pruned layers"
    if found.linear:
        print(f"{len(found.linear)} {of} are linear: {found.kernel};")
    if found.cut:
        print(
            f"{len(found.cut)} {of} are convolutions that lack filters: timed without these, in "
            f"float32,\non {IMAGES} images of {EDGE} × {EDGE} pixels;"
        )
    if found.dense:
        print(
            f"{len(found.dense)} {of} are convolutions that stay dense: there are no sparse "
            "kernels for them;"
        )
    print("medians over rounds that time both in turn; the middle half is that of the rounds")
    unsettled = [f"batch size {batch}" for batch, t in found.times.items() if not t.settled]
    if found.cut_time and not found.cut_time.settled:
        unsettled.append("convolutions")
    if unsettled:
        print(
            f"warning: the times did not settle ({', '.join(unsettled)}): they say nothing about "
            "pruning.\nRepeat this while the machine does nothing else.",
        )


def _say(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


def _say_round(what: str, done: int, most: int) -> None:
    """A line for each measurement; on a terminal it counts the rounds."""
    if sys.stderr.isatty():
        start = "\n" if done == 0 else "\r"
        line = f"{start}measuring {what}: round {done} of at most {most} "
        print(line, end="", file=sys.stderr, flush=True)
    elif done == 0:
        _say(f"measuring {what}")


def _row(name: str, dense: int, pruned: int) -> tuple[str, ...]:
    return name, text.size(dense), text.size(pruned), f"{dense / pruned:.2f}", ""


def _latency(name: str, timing: "Timing") -> tuple[str, ...]:
    sides = (f"{1000 * side[1]:.3f} ms" for side in (timing.dense, timing.pruned))
    return name, *sides, *_ratio(timing)


def _throughput(batch: int, timing: "Timing") -> tuple[str, ...]:
    sides = (f"{batch / side[1]:,.0f} /s" for side in (timing.dense, timing.pruned))
    return f"throughput, batch {batch}", *sides, *_ratio(timing)


def _ratio(timing: "Timing") -> tuple[str, str]:
    low, middle, high = timing.ratio
    return f"{middle:.2f}", f"{low:.2f} – {high:.2f}"


def verdicts(found: "Payoff", untimed: float) -> list[str]:
    """What was found about time; `untimed` is the share of weights in convolutions left dense."""
    said = []
    if found.times:
        of = "Linear layers: " if found.cut or found.dense else ""
        said.append(of + verdict(found.times))
    if found.cut_time:
        compared = _compared(found.cut_time)
        said.append(f"Without the filters that were removed the convolutions {compared}.")
    if found.dense:
        said.append(
            f"The convolutions that stay dense, with {100 * untimed:.1f} % of the prunable "
            "weights, gain nothing but a smaller file."
        )
    return said


def _compared(timing: "Timing") -> str:
    if timing.settled and timing.ratio[0] > 1:
        return "are faster"
    if timing.settled and timing.ratio[2] < 1:
        return "are slower"
    return "show no clear difference"


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
