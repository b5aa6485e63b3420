# SPDX-License-Identifier: MIT
"""Runs of which only some files were pulled: `.partial` in them, until the others are there."""

from pathlib import Path

from .pointer import path_of

MARK = ".partial"


def is_partial(run_dir: Path) -> bool:
    """Whether files of the kept run were never pulled here.

    So it is without metadata.yaml, too, when `dvc pull` was typed for one of its files.
    """
    if (run_dir / MARK).exists():
        return True
    return path_of(run_dir).exists() and not (run_dir / "metadata.yaml").exists()


def missing(run_dir: Path) -> str:
    """What to say of a partial run, and what to type; nothing of a whole one."""
    if not is_partial(run_dir):
        return ""
    return f"only some files of {run_dir.name} are here; make pull RUN={run_dir.name} gets the rest"
