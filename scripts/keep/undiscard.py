# SPDX-License-Identifier: MIT
"""Take a run back that was discarded, from the trash.

    make undiscard RUN=name
    python -m scripts.keep.undiscard [--output-dir DIR] RUN

RUN is the name of the run; of several that had it, the one that was discarded last. Exit codes:
0 it is back; 2 bad use.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from pathlib import Path

from lib.runs.keep.discard import undiscard
from scripts.common import given_run, output_dir, parser
from scripts.keep.common import naming_files


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("run", metavar="RUN", nargs="?", default=given_run())
    options = flags.parse_args()
    with naming_files():
        directory = undiscard(Path(output_dir(options.output_dir)), options.run)
    print(f"{directory} is back: make show RUN={directory.name}")
    return 0


if __name__ == "__main__":
    run_main(main)
