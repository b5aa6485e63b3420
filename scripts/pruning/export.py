# SPDX-License-Identifier: MIT
"""Write the weights of a run to a file for others.

    make export [RUN=name] [FORMAT=dense|sparse|2to4]
    python -m scripts.pruning.export [--checkpoint last|best] [--output FILE] [RUN]

The weights are those at the end of training (--checkpoint best: the best on the validation set),
with the pruned ones zero. dense is safetensors, in the published form of the model if it has one;
sparse is a bitmap and bfloat16 values, which lib.pruning.sparse_file.load_sparse reads; 2to4 is the
layout of torch.sparse.to_sparse_semi_structured. The file goes into the run's directory unless
--output says otherwise. RUN is a name, its unique beginning, or a path; without it, the latest run.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
from pathlib import Path

from lib import text
from lib.errors import BadUse, Failure
from scripts.common import checkpoint_parser, chosen_checkpoint


def main() -> None:
    flags = checkpoint_parser(__doc__)
    flags.add_argument("--output", type=Path, metavar="FILE")
    options = flags.parse_args()
    checkpoint = chosen_checkpoint(options)
    wanted = os.environ.get("FORMAT") or "dense"

    from lib.pruning.export import FORMATS  # imports torch: bad use has been answered
    from scripts.pruning.weights import load_weights, published

    if wanted not in FORMATS:
        raise BadUse(f"FORMAT={wanted}: want {', '.join(FORMATS)}")
    suffix, export = FORMATS[wanted]
    run_dir = checkpoint.parent.parent
    weights, masks = load_weights(checkpoint)
    if wanted == "dense":
        weights = published(run_dir, weights)
    path = options.output or run_dir / f"model{suffix}"
    try:
        notes = export(path, weights, masks)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from error
    n = sum(tensor.numel() for tensor in weights.values())
    zeros = n - sum(int(tensor.count_nonzero()) for tensor in weights.values())
    print(f"{path}: {text.size(path.stat().st_size)}, {n:,} values, {zeros:,} of them zero")
    for note in notes:
        print(f"  {note}")


if __name__ == "__main__":
    run_main(main)
