# SPDX-License-Identifier: MIT
"""Verify every byte of the configured corpus' shards: `make data-check`.

Training checks headers, lengths and samples at each start; this reads everything. Each damaged
file is named with the offset of its first damage, and the exit status is 1.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import sys
from pathlib import Path

from lib.config.settings import load_settings
from lib.data.text.prepare import data_directory
from lib.data.text.shards import DataError, ShardHeader, check_entry, read_meta


def main() -> int:
    settings = load_settings("gpt2")
    directory = data_directory(Path(settings.DATA_DIR), settings.DATASET, settings.TOKENIZER)
    meta = read_meta(directory)
    damaged = 0
    for split in meta["splits"].values():
        for entry in split["shards"]:
            try:
                header = ShardHeader.read(directory / entry["file"])
                check_entry(header, entry, meta["vocab_size"])
                header.check_all()
            except DataError as error:
                print(f"error: {error}", file=sys.stderr)
                damaged += 1
            else:
                print(f"{header.path}: {header.count:,} tokens are sound")
    return 1 if damaged else 0


if __name__ == "__main__":
    run_main(main)
