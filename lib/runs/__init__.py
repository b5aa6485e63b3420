# SPDX-License-Identifier: MIT
"""A run on disk: what writes it during training, and what reads it afterwards.

    run           Run: the directory, status and messages of a training in progress
    journal       Journal and read_rows: every metric, one JSON object a line
    metadata      metadata.yaml: code, machine, results
    resumes       which rows of a journal still count after a resume
    branch        a new run that begins where another one was
    pack          a run in one file for somebody else, and back
    replay        a run trained once more from what it recorded, and compared
    stored        find_runs, load_run, resolve: stored runs
    open          open_runs, open_run: the same, filtered and sorted, from an index
    query         WHERE and SORT
    choose        chosen_runs: by names, patterns and WHERE
    series        Series, Summary: metrics as arrays and in numbers
    direction     lower_is_better: by the name of a metric
    status        the true status of a run that was killed
    words         add_note, change_tags, conclude: what is said about a run once it exists
    amend         changing metadata.yaml so that no writer undoes what another one wrote
    best          best_evaluation: the one whose weights best.pt holds, from the journal
    media_files   media_file: a file that a journal names, if it is inside the run
    plots         plot_run: the curves
    redact        keeps secrets out of everything that a run writes

Nothing here imports a tracker: what forwards the journal is handed to Run.track.

    from lib.runs import open_run, open_runs        # imports what they need when they are used
"""

from typing import Any

__all__ = ["open_run", "open_runs"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import open as module

        return getattr(module, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
