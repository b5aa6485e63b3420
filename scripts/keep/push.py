# SPDX-License-Identifier: MIT
"""Send kept runs to the DVC remote.

    make push [RUN=name]
    python -m scripts.keep.push [--output-dir DIR] [RUN]

RUN is the name of a kept run or the unique beginning of it; without it, everything that DVC tracks
is sent, of all tags, data sets too. What the remote has already is not sent again. git is left to
you: what to type is printed. Exit codes: 0 the remote has it all; 1 failure; 2 bad use.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from lib.errors import BadUse
from lib.runs.keep.kept import chosen_name, kept_names
from lib.runs.keep.remote import push
from scripts.common import given_run, parser
from scripts.keep.common import naming_files, repository


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("run", metavar="RUN", nargs="?", default=given_run())
    options = flags.parse_args()
    where = repository(options.output_dir)
    names = [chosen_name(where, options.run)] if options.run else []
    if not names and not kept_names(where.output_dir):
        raise BadUse(f"no run in {where.output_dir} is kept: make keep RUN=name")
    with naming_files(), where.exclusive():
        push(where, names)
    print(f"the remote has {names[0] if names else 'all that is kept'}")
    print("next: git push --follow-tags")
    return 0


if __name__ == "__main__":
    run_main(main)
