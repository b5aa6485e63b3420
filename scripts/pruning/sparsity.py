# SPDX-License-Identifier: MIT
"""Show how sparse each layer of a run's checkpoint is.

    make sparsity [RUN=name]
    python -m scripts.pruning.sparsity [--output-dir DIR] [--checkpoint last|best] [RUN]

Counts the zeros among the weights of the pruned layers; sparsity is their share of these layers,
not of all parameters. RUN is a name, its unique beginning, or a path; without it, the latest run.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from lib import text
from scripts.common import checkpoint_parser, chosen_checkpoint


def main() -> None:
    path = chosen_checkpoint(checkpoint_parser(__doc__).parse_args())

    from lib.train.pruning_report import layer_rows  # imports torch: bad use has been answered
    from scripts.pruning.weights import load_pruned_weights

    weights, masks = load_pruned_weights(path)
    layers = []
    for name in masks:
        weight = weights[name]
        zeros = weight.numel() - int(weight.count_nonzero())
        layers.append(
            {"name": name, "shape": weight.shape, "pruned": zeros, "total": weight.numel()}
        )
    print(path)
    for line in text.columns(layer_rows(layers), right=(2, 3, 4)):
        print(line)


if __name__ == "__main__":
    run_main(main)
