# SPDX-License-Identifier: MIT
"""Measure whether the sparsity of a run pays on this machine.

    make payoff [RUN=name]
    python -m scripts.pruning.payoff [--output-dir DIR] [--checkpoint last|best] [RUN]

Compares dense and pruned: the size of the exported files, the memory of the weights, and latency
and throughput of the pruned linear layers, one after the other, at batch sizes 1, 16 and 256. The
pruned ones compute with the sparse kernels that PyTorch has here: compressed rows (CSR) on a CPU,
2:4 on a GPU that has it and for layers that are 2:4. Convolutions have no sparse kernel and are
left out of the times. Says plainly where pruning does not pay.
"""

import tempfile
from pathlib import Path

from lib import text
from lib.cli import run_main
from scripts.common import checkpoint_parser, chosen_checkpoint

BATCH_SIZES = (1, 16, 256)


def main() -> None:
    path = chosen_checkpoint(checkpoint_parser(__doc__).parse_args())

    from lib.pruning.export import FORMATS  # imports torch: bad use has been answered
    from lib.pruning.payoff import measure_layers
    from scripts.pruning.weights import load_pruned_weights

    weights, masks = load_pruned_weights(path)
    kept = sum(int(mask.sum()) for mask in masks.values())
    total = sum(mask.numel() for mask in masks.values())
    print(f"{path}: {100 * (1 - kept / total):.1f} % of {total:,} prunable weights are zero\n")

    with tempfile.TemporaryDirectory() as folder:
        sizes = {}
        halves = {name: weight.bfloat16() for name, weight in weights.items()}
        for name in ("dense", "sparse"):
            file = Path(folder) / name
            FORMATS[name][1](file, halves, masks)
            sizes[name] = file.stat().st_size
    found = measure_layers(weights, masks, BATCH_SIZES)
    rows = [("", "dense", "pruned", "dense / pruned")]
    rows.append(_row("file in bfloat16", sizes["dense"], sizes["sparse"], text.size))
    rows.append(_row("memory of linear layers", *found.memory, text.size))
    for batch, times in found.seconds.items():
        rows.append(_row(f"latency, batch {batch}", *times, _milliseconds))
    for batch, (dense, pruned) in found.seconds.items():
        each = f"{batch / dense:,.0f} /s", f"{batch / pruned:,.0f} /s"
        rows.append((f"throughput, batch {batch}", *each, f"{dense / pruned:.2f}"))
    print("\n".join(text.columns(rows, right=(1, 2, 3))))
    print(f"\n{found.kernel}; {len(found.layers)} of {len(masks)} pruned layers are linear")
    print(verdict(found.seconds))


def _row(name: str, dense: float, pruned: float, show) -> tuple[str, str, str, str]:
    return name, show(dense), show(pruned), f"{dense / pruned:.2f}"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3f} ms"


def verdict(seconds: dict[int, tuple[float, float]]) -> str:
    """One sentence on where the sparse kernels are faster than the dense ones."""
    faster = [batch for batch, (dense, pruned) in seconds.items() if pruned < dense]
    if not faster:
        return "Pruning does not pay in time on this machine: only the file gets smaller."
    if len(faster) == len(seconds):
        return "Pruning pays in time on this machine at every batch size that was measured."
    sizes = " and ".join(map(str, faster))
    return f"Pruning pays in time on this machine at batch size {sizes}, and not at the others."


if __name__ == "__main__":
    run_main(main)
