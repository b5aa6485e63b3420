# SPDX-License-Identifier: MIT
"""WHERE and SORT: which runs, in which order.

syntax   parse: text → a tree of comparisons; errors point at the place
fields   what every run has: name, status, started, …, and the kind of each
values   comparing a value of a kind with what was typed
select   Query: the runs that fit, sorted
"""
