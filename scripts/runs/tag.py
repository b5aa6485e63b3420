# SPDX-License-Identifier: MIT
"""Add tags to a run and remove them, in progress or not.

    make tag RUN=name TAGS="+kept -wip"
    python -m scripts.runs.tag [--output-dir DIR] RUN --tags="+kept -wip"

A tag without a sign is added, so that nothing is removed that is not named. A tag has up to 64
letters, digits, '_', '.', ':', '/' and '-'. RUN is the name of a run, its unique beginning, or a
path, and has no default. Either all of TAGS is done or nothing, also when this is killed.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os

from lib import text
from lib.runs.words import change_tags
from scripts.common import named_run, run_parser
from scripts.runs.hints import print_next


def main() -> int:
    flags = run_parser(__doc__)
    flags.add_argument("--tags", metavar="TAGS", default=os.environ.get("TAGS", ""))
    options = flags.parse_args()
    run = named_run(options, "make tag")
    tags = change_tags(run, options.tags)
    print(text.one_line(f"{run.name}: {' '.join(tags) or 'no tags'}"))
    print_next(run)
    return 0


if __name__ == "__main__":
    run_main(main)
