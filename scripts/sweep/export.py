# SPDX-License-Identifier: MIT
"""Write a sweep for another program: python -m scripts.sweep.export SWEEP [--format F] [--out F]

wandb: a file for `wandb sweep`, whose agents run the training program of this project. It is
written to OUTPUT_DIR/.sweeps/NAME/wandb/sweep.yaml, or to --out; in that folder are the .config
files that the trainings start from. What is different when W&B runs the sweep is said; what W&B
cannot do is an error. SWEEP is the name of a file in sweeps/, its path, or a sweep that was begun.
SWEEP, FORMAT, OUT and STORAGE may be in the environment, or on the make line.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
import shlex
import sys
from pathlib import Path

import yaml

from lib.errors import BadUse, Failure
from lib.files import write_atomic
from lib.runs.directory import make_private
from lib.sweep.storage import FOLDER
from lib.sweep.wandb_export import wandb_export
from scripts import common
from scripts.sweep.common import chosen_sweep

FORMATS = ("wandb",)


def main(argv: list[str] | None = None) -> None:
    parser = common.parser(__doc__ or "")
    given = os.environ.get
    parser.add_argument("sweep", metavar="SWEEP", nargs="?", default=given("SWEEP", ""))
    parser.add_argument("--format", metavar="FORMAT", default=given("FORMAT", "") or "wandb")
    parser.add_argument("--out", metavar="FILE", default=given("OUT", ""))
    parser.add_argument("--storage", metavar="URL", default=given("STORAGE", ""))
    options = parser.parse_args(argv)
    if options.format not in FORMATS:
        raise BadUse(f"FORMAT={options.format}: there is {', '.join(FORMATS)}")
    runs = common.output_dir(options.output_dir)
    sweep = chosen_sweep(options.sweep, runs, options.storage)
    folder = Path(runs) / FOLDER / sweep.name / "wandb"
    export = wandb_export(sweep, folder)
    path = Path(options.out) if options.out else folder / "sweep.yaml"
    head = "".join(
        f"# {line}\n" for line in ("Start agents in the root of the project.", *export.remarks)
    )
    text = yaml.safe_dump(export.config, sort_keys=False, allow_unicode=True, width=100)
    try:
        for private in (folder.parent.parent, folder.parent, folder):
            make_private(private)
        for config, content in export.configs.items():
            write_atomic(config, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, head + text)
    except OSError as error:
        raise Failure(f"{error.filename or path}: {error.strerror}") from None
    for remark in export.remarks:
        print(f"note: {remark}", file=sys.stderr)
    print(f"wrote {path}; next, in the root of the project: wandb sweep {shlex.quote(str(path))}")


if __name__ == "__main__":
    run_main(main)
