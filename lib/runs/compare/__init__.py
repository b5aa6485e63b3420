# SPDX-License-Identifier: MIT
"""Runs side by side, and the rows of a leaderboard. Nothing here writes into a run.

differences    what differs between mappings; settings, environment and data of runs
metrics        the metrics of runs side by side, and which value is the best
code           commits, what changed between them, uncommitted changes
comparison     compare(runs): all of these
curves         draw(runs, metrics): the curves of all runs in one picture
seeds          runs that differ in the seed alone are one group
significance   tests of a difference between two groups, and their correction
caution        what the runs of a row, and the rows, do not have in common
student        Student's t distribution
leaderboard    leaderboard(runs, by): the groups in order, each tested against the first
"""
