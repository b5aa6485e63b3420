# SPDX-License-Identifier: MIT
"""Check that registry, runs, DVC and MLflow agree, and say how to mend what does not.

    make consistency [FORMAT=table|json]
    python -m scripts.registry.consistency [--output-dir DIR]

Every registered version must have its MLflow run, its stored model, its run directory or .dvc file,
and the checkpoint with its digest; every alias the version of its last promotion; every kept run
its MLflow run. Changes nothing. Exit code 1 when something lacks, or MLflow cannot be reached.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import json
import os

from lib import text
from lib.errors import BadUse
from lib.registry.consistency import check
from scripts.common import output_dir, parser
from scripts.registry.common import registry

FORMATS = ("table", "json")


def main() -> int:
    folder = output_dir(parser(__doc__).parse_args().output_dir)
    wanted = os.environ.get("FORMAT") or "table"
    if wanted not in FORMATS:
        raise BadUse(f"FORMAT={wanted}: want {', '.join(FORMATS)}")
    with registry() as client:
        found = check(client, folder)
    if wanted == "json":
        gaps = [vars(gap) for gap in found.gaps]
        print(json.dumps({"versions": found.versions, "kept": found.kept, "gaps": gaps}, indent=1))
    else:
        for gap in found.gaps:
            print(text.one_line(f"{gap.where}: {gap.missing}"))
            print(f"    {text.one_line(gap.cure)}")
        verdict = f"{len(found.gaps)} to mend" if found.gaps else "all is there"
        looked_at = (
            f"{count(found.versions, 'registered version')}, {count(found.kept, 'kept run')}"
        )
        print(f"{looked_at}: {verdict}")
    return int(bool(found.gaps))


def count(n: int, what: str) -> str:
    """ "1 kept run", "2 kept runs"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


if __name__ == "__main__":
    run_main(main)
