# SPDX-License-Identifier: MIT
"""Write the weights of a run to a file, or a directory, for others.

    make export [RUN=name] [FORMAT=dense|sparse|2to4|hf] [CHECKPOINT=last|best] [OUT=path]
    python -m scripts.pruning.export [--checkpoint last|best] [--output PATH] [RUN]

The weights are those at the end of training (--checkpoint best: the best on the validation set),
with the pruned ones zero. dense is safetensors, in the published form of the model if it has one;
sparse is a bitmap and bfloat16 values, which lib.pruning.sparse_file.load_sparse reads; 2to4 is the
layout of torch.sparse.to_sparse_semi_structured; hf, for language models, is a directory with
weights, configuration, tokenizer and model card that Hugging Face's from_pretrained loads. It goes
into the run's directory unless --output says otherwise. RUN is a name, its unique beginning, or a
path; without it, the latest run.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from lib import text
from lib.errors import BadUse, Failure, did_you_mean
from lib.runs.stored import StoredRun, load_run
from scripts.common import checkpoint_parser, chosen_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from scripts.pruning.weights import Trained

HF = "hf"


def main() -> None:
    flags = checkpoint_parser(__doc__)
    flags.add_argument("--output", type=Path, metavar="PATH", default=os.environ.get("OUT") or None)
    options = flags.parse_args()
    checkpoint = chosen_checkpoint(options)
    wanted = os.environ.get("FORMAT") or "dense"
    run = load_run(checkpoint.parent.parent)

    from scripts.pruning.weights import export_module, load_trained  # imports torch

    module = export_module(run.model)
    _require_format(wanted, run, module)
    trained = load_trained(checkpoint)
    if run.status == "running":
        print(f"{run.name} is in progress: these are its weights after {trained.step:,} updates")
    if wanted == HF:
        _directory(options.output or run.dir / HF, run, module, trained, options.checkpoint)
    else:
        _file(wanted, options.output, run, module, trained)


def _require_format(wanted: str, run: StoredRun, module: ModuleType | None) -> None:
    from lib.pruning.export import FORMATS

    allowed = [*FORMATS, *([HF] if hasattr(module, "huggingface") else [])]
    if wanted in allowed:
        return
    want = f"want {', '.join(allowed)}{did_you_mean(wanted, allowed)}"
    if wanted == HF:
        raise BadUse(
            f"FORMAT={HF} is for language models; {run.name} is of the model {run.model}: {want}"
        )
    raise BadUse(f"FORMAT={wanted}: {want}")


def _file(
    wanted: str, output: Path | None, run: StoredRun, module: ModuleType | None, trained: "Trained"
) -> None:
    from lib.pruning.export import FORMATS

    suffix, export = FORMATS[wanted]
    weights = trained.weights
    if wanted == "dense" and hasattr(module, "published"):
        weights = module.published(weights, run.part("model"))
    path = output or run.dir / f"model{suffix}"
    try:
        notes = export(path, weights, trained.masks)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from error
    if wanted == "dense" and hasattr(module, "read_by"):
        notes = [*notes, module.read_by(weights)]
    _say(path, path.stat().st_size, weights, notes)


def _directory(
    path: Path, run: StoredRun, module: ModuleType, trained: "Trained", checkpoint: str
) -> None:
    from lib.config.settings import load_settings
    from lib.huggingface.card import Exported, model_card
    from lib.huggingface.directory import write

    settings = load_settings(run.model, ["--config", str(run.dir / ".config")])
    release = module.huggingface(settings, run, trained.weights)
    exported = Exported(checkpoint, trained.step, trained.averaged, trained.masks)
    about = {
        "run": run.name,
        "run_id": run.metadata.get("run_id"),
        "checkpoint": checkpoint,
        "step": trained.step,
    }
    size = write(path, release, model_card(run, release, exported), about)
    _say(path, size, release.weights, [])


def _say(path: Path, size: int, weights: Mapping[str, "Tensor"], notes: list[str]) -> None:
    n = sum(tensor.numel() for tensor in weights.values())
    zeros = n - sum(int(tensor.count_nonzero()) for tensor in weights.values())
    print(f"{path}: {text.size(size)}, {n:,} values, {zeros:,} of them zero")
    for note in notes:
        print(f"  {note}")


if __name__ == "__main__":
    run_main(main)
