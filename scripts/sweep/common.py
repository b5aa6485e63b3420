# SPDX-License-Identifier: MIT
"""What the programs about sweeps share."""

from pathlib import Path

from lib.errors import BadUse
from lib.sweep.description import Sweep
from lib.sweep.reading import read_sweep


def chosen_sweep(given: str, output: str, storage: str) -> Sweep:
    """The sweep of a file, or one that was begun. Raises BadUse."""
    try:
        return read_sweep(given)
    except BadUse as error:
        begun = storage or (Path(output) / ".sweeps").is_dir()
        if not begun or not given or "no such sweep" not in str(error):
            raise
        from lib.sweep.storage import default_storage
        from lib.sweep.study import list_studies, open_study

        url = storage or default_storage(output)
        if given not in list_studies(url):
            raise
        return open_study(given, url, create=False).sweep
