# SPDX-License-Identifier: MIT
"""Draw the curves of a run again, from its journal, into its plots/ folder.

    make plots [RUN=name] [SCALE=log|linear]
    python -m scripts.runs.plots [--output-dir DIR] [--scale log|linear] [RUN]

RUN is the name of a run, its unique beginning, or a path; without it, the latest run. SCALE is the
axis of the loss; the default is what the run was configured with (PLOTS_LOG_LOSS).
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
import sys

from lib import text
from lib.errors import BadUse, Failure
from lib.runs.plots import plot_run
from scripts.common import chosen_run, run_parser

_LOG_LOSS = {"": None, "log": True, "linear": False}


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> int:
    flags = run_parser(__doc__)
    flags.add_argument("--scale", metavar="SCALE", default=os.environ.get("SCALE", ""))
    options = flags.parse_args()
    directory = chosen_run(options)
    if options.scale not in _LOG_LOSS:
        raise BadUse(f"SCALE={options.scale}: must be log or linear")
    try:
        written = plot_run(directory, log_loss=_LOG_LOSS[options.scale], say=_say)
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}") from error
    if not written:
        raise Failure(f"{directory} has logged nothing that can be drawn")
    print("\n".join(text.one_line(path) for path in written))
    return 0


if __name__ == "__main__":
    run_main(main)
