# SPDX-License-Identifier: MIT
"""What the programs about kept and discarded runs share."""

from collections.abc import Iterator
from contextlib import contextmanager

from lib.errors import Failure
from lib.runs.keep.repository import Repository
from scripts.common import output_dir


def repository(given: str | None) -> Repository:
    """That of --output-dir, else of OUTPUT_DIR of the configuration. Raises BadUse."""
    return Repository.of(output_dir(given))


@contextmanager
def naming_files() -> Iterator[None]:
    """Make an error of the file system within the block a Failure that names the file."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Failure(
            f"{where}{error.strerror}. Mend that, and type the same again: it goes on"
        ) from error
