# SPDX-License-Identifier: MIT
"""A live view of the runs of this machine, for a terminal: what `make watch` shows.

    listing     Listing: the runs of a directory, running ones first, kept up to date cheaply
    tail        Tail: the journal of one run, read as it grows; last_lines of its log
    panel       what is said of a run in a few lines, as plain text
    app         WatchApp: the screen and its keys (the only importer of textual)

Nothing here writes into a run or takes a lock that a training needs. A run that was killed is
marked interrupted, as by every program that looks.
"""
