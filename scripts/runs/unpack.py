# SPDX-License-Identifier: MIT
"""Make a run of a file that `make pack` wrote, maybe on another machine.

    make unpack FILE=run.tar.zst [NAME=another]
    python -m scripts.runs.unpack [--output-dir DIR] [--name NAME] FILE

The file is compared with the SHA-256 at its end, and each file in it with its own; paths, sizes and
free space are checked before anything is written. Nothing in it is executed. The run appears whole
or not at all, readable by its owner only, under the name that it had, or NAME; a run that is there
is never replaced. `unpacked` in its metadata.yaml says when, and from which file.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
from pathlib import Path

from lib import text
from lib.errors import BadUse, Failure
from lib.runs.open import open_runs
from lib.runs.pack.unpacking import unpack
from lib.runs.stored import StoredRun, load_run
from lib.signals import termination_raises
from scripts.common import output_dir, parser
from scripts.runs.transfer import transfer


def print_notes(run: StoredRun, where: Path) -> None:
    """What to know about the run, and what to type next."""
    run_id = str(run.metadata.get("run_id"))
    alike = open_runs(where, where=f"run_id={run_id}") if run_id.isalnum() else []
    for other in alike:
        if other.name != run.name:
            print(
                f"note: it is the same run as {text.one_line(other.name)}, with the same run_id: "
                "trackers keep both as one (make branch begins another)"
            )
    if (run.dir / "git.diff").is_file():
        print("note: git.diff is code of somebody else: read it before you apply or replay it")
    print(f"next: make show RUN={run.name}, make verify RUN={run.name}")


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("file", metavar="FILE", nargs="?", default=os.environ.get("FILE", ""))
    flags.add_argument("--name", metavar="NAME", default=os.environ.get("NAME", ""))
    options = flags.parse_args()
    if not options.file:
        raise BadUse("which file? make unpack FILE=run.tar.zst")
    file, where = Path(options.file).expanduser(), Path(output_dir(options.output_dir))
    if not file.is_file():
        raise BadUse(f"FILE={text.one_line(options.file)}: there is no such file")
    try:
        with termination_raises(), transfer(file.name, 2 * file.stat().st_size) as seen:
            made = unpack(file, where, options.name, seen=seen)
    except OSError as error:
        raise Failure(f"{error.filename or where}: {error.strerror}; nothing was kept") from error
    run = load_run(made)
    print(f"{text.one_line(made)}: {run.status}, from {text.one_line(file)}")
    print_notes(run, where)
    return 0


if __name__ == "__main__":
    run_main(main)
