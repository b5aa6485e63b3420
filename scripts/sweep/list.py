# SPDX-License-Identifier: MIT
"""List the ready sweeps in sweeps/, and those that were begun: python -m scripts.sweep.list

    make list-sweeps [STORAGE=URL]

Of a sweep that was begun it says how many of its cells are finished. `make sweep-show SWEEP=name`
shows the cells of one, `make sweep SWEEP=name` trains them.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
from pathlib import Path

from lib import text
from lib.errors import BadUse
from lib.sweep.reading import read_sweep, sweep_files
from scripts.common import output_dir, parser


def ready(files: list[Path]) -> list[str]:
    """A line for each file; of a damaged one, what is wrong."""
    rows = []
    for path in files:
        name = path.name.removesuffix(".yaml")
        try:
            sweep = read_sweep(path)
        except BadUse as error:
            rows.append((name, "", f"error: {str(error).splitlines()[0]}"))
        else:
            rows.append((name, sweep.method, sweep.description))
    return text.columns(rows) if rows else []


def begun(output: str, storage: str) -> list[str]:
    """A line for each sweep in the database, which is not made if it is missing."""
    folder = Path(output) / ".sweeps"
    if not storage and not folder.is_dir():
        return []
    from lib.sweep.storage import default_storage  # SQLAlchemy and Optuna take a second
    from lib.sweep.study import list_studies

    rows = [
        (name, f"{progress.finished} of {progress.total} finished", _failed(progress.failed))
        for name, progress in list_studies(storage or default_storage(output)).items()
    ]
    return text.columns(rows) if rows else []


def _failed(count: int) -> str:
    return f"{count} failed" if count else ""


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("--storage", metavar="URL", default=os.environ.get("STORAGE", ""))
    given = flags.parse_args()
    lines = ready(sweep_files())
    print("In sweeps/:" if lines else "There is no file in sweeps/.")
    print(*(f"  {line}" for line in lines), sep="\n")
    if found := begun(output_dir(given.output_dir), given.storage):
        print("\nBegun:", *(f"  {line}" for line in found), sep="\n")
    return 0


if __name__ == "__main__":
    run_main(main)
