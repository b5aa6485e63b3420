# SPDX-License-Identifier: MIT
"""Verify every byte of the configured data set: `make data-check`.

Each start of a training checks headers, lengths and samples of a corpus; this reads everything.
Each damaged file is named, a shard with the offset of its first damage, and the exit code is 1.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import sys

from scripts.data.kinds import configured_data


def main() -> None:
    settings, kind = configured_data(sys.argv[1:])
    for line in kind.check_data(settings):
        print(line)


if __name__ == "__main__":
    run_main(main)
