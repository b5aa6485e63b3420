# SPDX-License-Identifier: MIT
"""Set the result of a run against its hypothesis; kept with the time and the metrics of now.

    make conclude RUN=name RESULT="as good with half the weights" VERDICT=confirmed
    python -m scripts.runs.conclude [--output-dir DIR] RUN --result TEXT [--verdict VERDICT]

VERDICT is confirmed, refuted or open (the default). A later conclusion replaces the earlier one,
which stays in earlier_conclusions of metadata.yaml. RUN is the name of a run, its unique beginning,
or a path, and has no default. Killed at any moment, the conclusion is the old one or the new one.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os

from lib import text
from lib.runs.words import conclude
from scripts.common import named_run, run_parser
from scripts.runs.hints import print_next


def main() -> int:
    flags = run_parser(__doc__)
    flags.add_argument("--result", metavar="TEXT", default=os.environ.get("RESULT", ""))
    flags.add_argument("--verdict", default=os.environ.get("VERDICT") or "open")
    options = flags.parse_args()
    run = named_run(options, "make conclude")
    said = conclude(run, options.result, options.verdict)
    expected = said["expected"] or "nothing; HYPOTHESIS, set before a run, says what you expect"
    print(text.one_line(run.name))
    rows = [("verdict", said["verdict"]), ("expected", expected), ("actual", said["actual"])]
    rows += [(name, text.metric(name, value)) for name, value in said["metrics"].items()]
    print(*(f"  {line}" for line in text.columns(rows)), sep="\n")
    print_next(run)
    return 0


if __name__ == "__main__":
    run_main(main)
