# SPDX-License-Identifier: MIT
"""Which runs are kept with DVC, from the .dvc files beside them."""

from pathlib import Path

from ..runs.keep.pointer import SUFFIX, DamagedPointer, is_run, path_of, read


def dvc_md5(output_dir: str | Path, run_name: str) -> str:
    """The digest by which DVC knows a run directory; "" for one that is not kept.

    It is that of the list of its files, so two digests are equal only for equal files.
    """
    try:
        return read(path_of(Path(output_dir) / run_name)).md5
    except (OSError, DamagedPointer):
        return ""


def kept_runs(output_dir: str | Path) -> list[str]:
    """The names of the runs that are kept, sorted."""
    pointers = filter(is_run, Path(output_dir).glob(f"*{SUFFIX}"))
    return sorted(path.name.removesuffix(SUFFIX) for path in pointers)
