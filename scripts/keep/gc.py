# SPDX-License-Identifier: MIT
"""Free disk space: runs that were discarded over 30 days ago, and DVC's copies that nothing uses.

    make gc [YES=1]
    python -m scripts.keep.gc [--output-dir DIR] [--yes]

DVC's cache keeps what any commit, tag, branch or .dvc file here refers to, so that every version of
every kept run stays, pushed or not. A cache that is shared with other repositories is left alone.
What would be freed is shown first; on a terminal you are asked, elsewhere nothing is done without
YES=1. Exit codes: 0 done, or nothing to do; 1 failure; 2 bad use.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os

from lib import text
from lib.runs.keep.discard import name_of
from lib.runs.keep.garbage import collect, find
from scripts.common import parser
from scripts.keep.ask import agreed
from scripts.keep.common import naming_files, repository


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("--yes", action="store_true", default=os.environ.get("YES") == "1")
    options = flags.parse_args()
    where = repository(options.output_dir)
    with naming_files(), where.exclusive():
        garbage = find(where)
        if garbage.is_shared:
            print(f"{where.cache} may be used by other repositories, too: left alone")
        for path in garbage.trash:
            print(f"discarded: {text.one_line(name_of(path))}")
        copies = len(garbage.objects) + len(garbage.halves)
        if not (garbage.trash or copies):
            print("nothing to free")
            return 0
        print(f"in DVC's cache: {copies} files that no commit, tag or .dvc file refers to")
        if not agreed(f"free {text.size(garbage.size)}", options.yes):
            print("nothing was freed")
            return 0
        collect(where, garbage)
    print(f"{text.size(garbage.size)} are free again")
    return 0


if __name__ == "__main__":
    run_main(main)
