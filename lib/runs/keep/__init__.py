# SPDX-License-Identifier: MIT
"""Runs that are kept with DVC and git, and runs that are discarded.

- git, dvc: the two commands as functions
"""
