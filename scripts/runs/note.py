# SPDX-License-Identifier: MIT
"""Write a note into a run, in progress or not; each is kept with its time.

    make note RUN=name TEXT="the loss jumps at step 400"
    python -m scripts.runs.note [--output-dir DIR] RUN --text TEXT

RUN is the name of a run, its unique beginning, or a path, and has no default. A note has at most
10,000 characters. Secrets in it are redacted. Killed at any moment, the note is there or it is not.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os

from lib import text
from lib.runs.words import add_note
from scripts.common import named_run, run_parser
from scripts.runs.hints import print_next


def main() -> int:
    flags = run_parser(__doc__)
    flags.add_argument("--text", metavar="TEXT", default=os.environ.get("TEXT", ""))
    options = flags.parse_args()
    run = named_run(options, "make note")
    note = add_note(run, options.text)
    print(text.one_line(run.name))
    for line in (note["time"], *note["text"].splitlines()):
        print(f"  {text.printable(line)}")
    print_next(run)
    return 0


if __name__ == "__main__":
    run_main(main)
