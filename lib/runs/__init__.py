# SPDX-License-Identifier: MIT
"""A run on disk: what writes it while it trains, and what reads it ever after.

    run           Run: the directory, status and messages of a training in progress
    journal       Journal and read_rows: every metric, one JSON object a line
    metadata      metadata.yaml: code, machine, results
    stored        find_runs, load_run, resolve: runs that are there, and their true status
    best          best_evaluation: what best.pt holds, told by the journal
    media_files   media_file: a file that a journal names, never one outside the run
    plots         plot_run: the curves
    redact        nothing that a run writes has secrets in it

Nothing here imports a tracker: what forwards the journal is handed to Run.track.
"""
