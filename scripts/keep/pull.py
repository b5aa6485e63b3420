# SPDX-License-Identifier: MIT
"""Get a kept run from DVC's cache or its remote.

    make pull RUN=name                            what its .dvc file says
    make pull TAG=run/name.v2                     another version, or a run that is gone from HEAD
    make pull RUN=name ONLY=checkpoints/best.pt   one file, or a folder of the run
    python -m scripts.keep.pull [--output-dir DIR] [--tag TAG] [--only PATH] [RUN]

RUN is the name of a kept run or the unique beginning of it; with a TAG that is not run/…, RUN says
which run of that commit is meant. Nothing that is here is overwritten. With ONLY, metadata.yaml
comes along, and the run is partial until all of it is pulled: it is not resumed, nor kept.
Exit codes: 0 it is here; 1 failure; 2 bad use.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os

from lib.runs.keep.kept import chosen_name
from lib.runs.keep.pull import pull
from lib.runs.keep.tags import run_of
from scripts.common import given_run, parser
from scripts.keep.common import naming_files, repository


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("run", metavar="RUN", nargs="?", default=given_run())
    flags.add_argument("--tag", metavar="TAG", default=os.environ.get("TAG", ""))
    flags.add_argument("--only", metavar="PATH", default=os.environ.get("ONLY", ""))
    options = flags.parse_args()
    where = repository(options.output_dir)
    if options.tag:
        name = run_of(where, options.tag, options.run)
    else:
        name = chosen_name(where, options.run)
    with naming_files():
        pulled = pull(where, name, only=options.only, tag=options.tag)
    what = f"{pulled.new} files are new" if pulled.new else "it was here already"
    print(f"{pulled.run_dir}: {what}")
    if pulled.is_partial:
        print(f"the run is partial; make pull RUN={name} gets the rest")
    else:
        print(f"next: make show RUN={name}")
    return 0


if __name__ == "__main__":
    run_main(main)
