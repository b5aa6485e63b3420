# SPDX-License-Identifier: MIT
"""Which runs are kept with DVC, from the .dvc files beside them."""

from pathlib import Path

from lib.runs.safe_yaml import load_mapping


def dvc_md5(output_dir: str | Path, run_name: str) -> str:
    """The digest by which DVC knows a run directory; "" for one that is not kept.

    It is that of the folder's listing, so two digests are equal only for equal files.
    """
    try:
        (out,) = load_mapping(Path(output_dir) / f"{run_name}.dvc")["outs"]
        return str(out["md5"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def kept_runs(output_dir: str | Path) -> list[str]:
    """The names of the runs that are kept, sorted."""
    return sorted(path.stem for path in Path(output_dir).glob("*.dvc"))
