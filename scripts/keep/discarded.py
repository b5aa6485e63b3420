# SPDX-License-Identifier: MIT
"""List the runs that were discarded: their numbers, and why.

    make discarded [FORMAT=table|json]
    python -m scripts.keep.discarded [--output-dir DIR] [--format table|json]

`back` says for how many more days make undiscard can take a run back. JSON has all that the ledger
has, settings that are not the defaults among it.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import json
import os
import time
from pathlib import Path
from typing import Any

from lib import text
from lib.errors import BadUse
from lib.runs.keep import ledger
from lib.runs.keep.discard import DAYS, since
from scripts.common import output_dir, parser

FORMATS = ("table", "json")
HEADER = ("run", "model", "optimizer", "val loss", "discarded", "back", "reason")


def row(output_dir: Path, entry: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a line under HEADER."""
    metrics = entry.get("final_metrics")
    loss = metrics.get("final/best_val_loss", "") if isinstance(metrics, dict) else ""
    return (
        str(entry.get("run_name")),
        str(entry.get("model") or ""),
        str(entry.get("optimizer") or ""),
        text.metric("val/loss", loss),
        str(entry.get("time"))[:10],
        _days_left(output_dir / ledger.TRASH / str(entry.get("trash"))),
        str(entry.get("reason") or ""),
    )


def _days_left(trashed: Path) -> str:
    if not trashed.is_dir():
        return "gone"
    return f"{max(0.0, DAYS - (time.time() - since(trashed)) / 86400):.0f} d"


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("--format", default=os.environ.get("FORMAT") or "table")
    options = flags.parse_args()
    if options.format not in FORMATS:
        raise BadUse(f"FORMAT={options.format}: must be {' or '.join(FORMATS)}")
    folder = Path(output_dir(options.output_dir))
    entries = ledger.discarded(folder)
    if options.format == "json":
        print(json.dumps(entries, indent=2, ensure_ascii=False))
    elif entries:
        rows = [HEADER, *(row(folder, entry) for entry in entries)]
        print(*text.columns(rows, right=(3,)), sep="\n")
    else:
        print(f"no run in {folder} was discarded")
    return 0


if __name__ == "__main__":
    run_main(main)
