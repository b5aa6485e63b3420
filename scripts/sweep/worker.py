# SPDX-License-Identifier: MIT
"""Train for a sweep that was begun elsewhere: python -m scripts.sweep.worker (`make sweep-worker`)

    make sweep-worker SWEEP=name STORAGE=URL [JOBS=n] [GPUS=0,1|all|none] [REUSE=y]

Any number of workers, on this and other machines, share what is missing of the sweep. Everything
that a worker needs to know of it is in the database STORAGE; no file of the sweep has to be here,
but the same code and the data. Put STORAGE into the environment if there is a password in it.
Everything else is as for `make sweep`, and so are the exit codes.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from pathlib import Path

from lib.errors import BadUse
from lib.sweep.storage import default_storage
from lib.sweep.study import open_study
from scripts.common import output_dir
from scripts.sweep.common import slots_of, sweep_parser
from scripts.sweep.run import train


def main() -> int:
    options = sweep_parser(__doc__).parse_args()
    if not options.sweep:
        raise BadUse("SWEEP= is missing: make sweep-worker SWEEP=name STORAGE=URL")
    folder, slots = Path(output_dir(options.output_dir)), slots_of(options)
    storage = options.storage or default_storage(folder)
    study = open_study(options.sweep, storage, create=False)
    return train(study, folder, slots, options.reuse)


if __name__ == "__main__":
    run_main(main)
