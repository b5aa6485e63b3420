# SPDX-License-Identifier: MIT
"""Show how sparse each layer of a run's checkpoint is.

    make sparsity [RUN=name]
    python -m scripts.sparsity [--output-dir DIR] [--checkpoint last|best]

Counts zeros in the weights themselves, in layers that were pruned; sparsity is of these layers and
not of all parameters. RUN is a name, its unique beginning, or a path; without it, the latest run.
"""

import os

from lib import report
from lib.cli import Failure, run_main
from lib.runs import resolve
from scripts.runs import output_dir, parser


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("--checkpoint", choices=("last", "best"), default="last")
    options = flags.parse_args()
    run = resolve(output_dir(options.output_dir), os.environ.get("RUN", ""))

    from lib.export import trained_weights  # imports torch: bad use above answers at once
    from lib.pruning.report import layer_rows

    path = run / "checkpoints" / f"{options.checkpoint}.pt"
    weights, masks = trained_weights(path)
    if not masks:
        raise Failure(f"{path}: nothing was pruned in this run (PRUNING_METHOD=none)")
    layers = []
    for name in masks:
        weight = weights[name]
        zeros = weight.numel() - int(weight.count_nonzero())
        layers.append(
            {"name": name, "shape": weight.shape, "pruned": zeros, "total": weight.numel()}
        )
    print(path)
    for line in report.columns(layer_rows(layers), right=(2, 3, 4)):
        print(line)


if __name__ == "__main__":
    run_main(main)
