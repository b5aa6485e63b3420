# SPDX-License-Identifier: MIT
"""Runs that are kept with DVC and git, and runs that are discarded.

- keep: into the cache, a commit and a tag
- partial: runs of which only some files are here
- repository: the git repository with DVC in it, and what it must be like
- pointer, summary, tags: the files beside a kept run, and its tags
- git, dvc: the two commands as functions
"""
