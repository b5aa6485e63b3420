# SPDX-License-Identifier: MIT
"""Keep a run: its files in DVC's cache, a commit of its .dvc file and summary, and a tag.

    make keep RUN=name MESSAGE="the baseline"
    python -m scripts.keep.keep [--output-dir DIR] [--message TEXT] [RUN]

RUN is the name of a run, its unique beginning, or a path. The commit has
outputs/training/NAME.dvc and NAME.summary.yaml and nothing else: what you have staged or changed
stays as it is. The annotated tag is run/NAME; a run that has changed since it was kept is kept
again, as run/NAME.v2. A run in progress is refused. When it is killed, type it again.
Exit codes: 0 kept, now or before; 1 failure; 2 bad use.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os

from lib import text
from lib.runs.keep.keep import keep
from scripts.common import named_run, run_parser
from scripts.keep.common import naming_files
from scripts.runs.clean import not_being_sent


def main() -> int:
    flags = run_parser(__doc__)
    flags.add_argument("--message", metavar="TEXT", default=os.environ.get("MESSAGE", ""))
    options = flags.parse_args()
    run = named_run(options, "make keep")
    with naming_files(), not_being_sent(run):
        kept = keep(run.dir, options.message)
    name, pointer = kept.run.name, kept.pointer
    what = f"{pointer.count} files, {text.size(pointer.size)}, tag {kept.tag}"
    if not kept.is_new:
        print(f"{name} is kept already, and has not changed since: {what}")
        return 0
    print(f"{name} is kept: {what}")
    if kept.run.status != "completed":
        print(f"note: the run is not completed, it is {kept.run.status}")
    print(f"next: make push RUN={name}, then git push --follow-tags")
    return 0


if __name__ == "__main__":
    run_main(main)
