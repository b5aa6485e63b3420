# SPDX-License-Identifier: MIT
"""Print the best configuration of a sweep as a defconfig.

    make sweep-best SWEEP=name [TRIAL=number] [STORAGE=postgresql://…] > defconfigs/NAME
    python -m scripts.sweep.best [--trial N] [--storage URL] SWEEP

Over seeds the best is the configuration with the best mean; one that violates a constraint is never
it. A sweep of two metrics has no best one: the trials of its Pareto front are named, and TRIAL
takes one of them. TRIAL takes any complete trial. Nothing but the defconfig is printed on standard
output; its first lines say which trials it comes from. The seed is that of the first trial.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
import re

from lib.errors import BadUse
from lib.sweep.cells import Space
from lib.sweep.report.best import best_defconfig
from scripts.common import parser
from scripts.sweep.reading import add_sweep, opened


def main() -> int:
    flags = parser(__doc__)
    add_sweep(flags)
    flags.add_argument("--trial", metavar="N", default=os.environ.get("TRIAL", ""))
    given = flags.parse_args()
    if not re.fullmatch("[0-9]{0,9}", given.trial):
        raise BadUse(f"TRIAL={given.trial}: must be the number of a trial")
    board = opened(given)
    number = int(given.trial) if given.trial else None
    print(best_defconfig(board, Space(board.sweep), number), end="")
    return 0


if __name__ == "__main__":
    run_main(main)
