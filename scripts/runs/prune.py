# SPDX-License-Identifier: MIT
"""Remove old checkpoints of a run that has ended.

    make prune-checkpoints [RUN=name] [KEEP=1]
    python -m scripts.runs.prune [--output-dir DIR] [--keep 1] [RUN]

RUN is the name of a run, its unique beginning, or a path; without it, the latest run. The last KEEP
checkpoints stay, and the best one and the milestones of CHECKPOINT_EVERY. Those that stay are
compared with their digests first: a damaged one does not count, and is left where it is. A run in
progress is refused. Says what was removed, and how much space that freed.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
import re

from lib import text
from lib.errors import BadUse, Failure
from lib.runs.stored import disk_usage
from lib.train.checkpoint.prune import prune
from scripts.common import chosen_run, run_parser


def main() -> int:
    flags = run_parser(__doc__)
    flags.add_argument("--keep", metavar="N", default=os.environ.get("KEEP") or "1")
    options = flags.parse_args()
    if not re.fullmatch("[0-9]{1,9}", options.keep) or int(options.keep) < 1:
        raise BadUse(f"KEEP={options.keep}: must be a number from 1 on")
    run = chosen_run(options)
    before = disk_usage(run)
    try:
        pruned = prune(run, int(options.keep))
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}") from error
    for name in pruned.removed:
        print(f"removed {text.one_line(name)}")
    for name in pruned.damaged:
        print(f"damaged, left: {text.one_line(name)} (make verify RUN={run.name})")
    freed = text.size(max(0, before - disk_usage(run)))
    count = len(pruned.removed)
    print(f"{count or 'no'} checkpoint{'' if count == 1 else 's'} removed, {freed} are free again")
    return 0


if __name__ == "__main__":
    run_main(main)
