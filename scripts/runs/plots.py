# SPDX-License-Identifier: MIT
"""Draw the curves of one run again, from its journal into its plots/ folder.

    make plots [RUN=name]
    python -m scripts.runs.plots [--output-dir DIR] [RUN]

RUN is the name of a run, its unique beginning, or a path; without it, the latest run.
"""

from lib import text
from lib.cli import run_main
from lib.errors import Failure
from lib.runs.plots import plot_run
from scripts.common import chosen_run, run_parser


def main() -> int:
    directory = chosen_run(run_parser(__doc__).parse_args())
    try:
        written = plot_run(directory)
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}") from error
    if not written:
        raise Failure(f"{directory} has logged nothing that could be drawn")
    print("\n".join(text.one_line(path) for path in written))
    return 0


if __name__ == "__main__":
    run_main(main)
