# SPDX-License-Identifier: MIT
"""What the programs about kept runs share."""

from lib.runs.keep.repository import Repository
from scripts.common import output_dir


def repository(given: str | None) -> Repository:
    """That of --output-dir, else of OUTPUT_DIR of the configuration. Raises BadUse."""
    return Repository.of(output_dir(given))
