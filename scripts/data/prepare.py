# SPDX-License-Identifier: MIT
"""Prepare the configured data set: `make data`.

Tokenises a corpus into <DATA_DIR>/<DATASET>-<TOKENIZER>/, or decodes images into one file of
DATA_DIR, as the configured model needs it. What is there already stays. However it is stopped, the
next `make data` resumes. The exit code is 1 when the data is not available.
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
