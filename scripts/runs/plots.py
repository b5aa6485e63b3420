# SPDX-License-Identifier: MIT
"""Draw the curves of one run again, from its journal into its plots/ folder.

    make plots [RUN=name]
    python -m scripts.runs.plots [--output-dir DIR] [RUN]

RUN is the name of a run, its unique beginning, or a path; without it, the latest run.
"""

import os

from lib.cli import run_main
from lib.errors import Failure
from lib.runs.plots import plot_run
from lib.runs.stored import resolve
from scripts.runs.table import output_dir, parser


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("run", metavar="RUN", nargs="?", default=os.environ.get("RUN", ""))
    arguments = flags.parse_args()
    directory = resolve(output_dir(arguments.output_dir), arguments.run)
    try:
        written = plot_run(directory)
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}") from error
    if not written:
        raise Failure(f"{directory} has logged nothing that could be drawn")
    print("\n".join(str(path) for path in written))
    return 0


if __name__ == "__main__":
    run_main(main)
