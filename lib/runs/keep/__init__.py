# SPDX-License-Identifier: MIT
"""Runs that are kept with DVC and git, and runs that are discarded.

- keep: into the cache, a commit and a tag
- kept: what is kept, and where its files are
- remote: sending kept runs to DVC's remote, and asking what it has
- pull: getting one back, whole or in part
- partial: runs of which only some files are here
- discard: into the trash and back; the numbers stay in the ledger
- ledger: what was discarded, and whether the same was tried before
- garbage: what `make gc` frees
- data: what DVC calls the data of a training
- repository: the git repository with DVC in it, and what it must be like
- pointer, summary, tags: the files beside a kept run, and its tags
- git, dvc: the two commands as functions
"""
