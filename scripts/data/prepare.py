# SPDX-License-Identifier: MIT
"""Prepare the configured data set: `make data`.

Tokenises a corpus into <DATA_DIR>/<DATASET>-<TOKENIZER>/, or decodes images into one file of
DATA_DIR, as the configured model needs it. What is there already stays. However it is stopped, the
next `make data` resumes. The exit code is 1 when the data is not available.

Several machines share the work on a corpus: PART=2/8 (--part 2/8) prepares the second of eight
parts in <DATASET>-<TOKENIZER>.part-2-of-8/. With all parts in DATA_DIR, `make data` merges them
into what one machine would have made (docs/data.md).
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import os
import sys

from lib.errors import BadUse
from scripts.data.kinds import configured_data


def main() -> None:
    part, flags = taken_part(sys.argv[1:])
    settings, kind = configured_data(flags)
    if not part:
        print(kind.prepare_data(settings))
    elif settings.HAS_TEXT_DATA:
        print(kind.prepare_data(settings, part))
    else:
        raise BadUse(f"PART={part}: only a corpus of text is prepared in parts")


def taken_part(flags: list[str]) -> tuple[str, list[str]]:
    """(what --part or else PART says, the other flags)."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--part", default=os.environ.get("PART", ""))
    options, others = parser.parse_known_args(flags)
    return options.part, others


if __name__ == "__main__":
    run_main(main)
