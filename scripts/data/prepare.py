# SPDX-License-Identifier: MIT
"""Prepare the configured data set: `make data`.

Tokenises a corpus into <DATA_DIR>/<DATASET>-<TOKENIZER>/, or decodes images into one file of
DATA_DIR, as the model of the configuration needs it. What is there already stays. When it is
stopped, by whatever means, the next `make data` goes on. Exits 1 when the data cannot be had.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from scripts.data.kinds import configured_data


def main() -> None:
    settings, kind = configured_data()
    print(kind.prepare_data(settings))


if __name__ == "__main__":
    run_main(main)
