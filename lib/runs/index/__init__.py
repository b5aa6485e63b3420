# SPDX-License-Identifier: MIT
"""The index of an output directory: what listing and choosing runs needs, without reading them.

    reading    a journal from where it was read last time
    entry      what the index has of one run, from its directory
    rows       the tables, and what SQLite cannot hold
    database   a SQLite file that may be lost, damaged or read-only
    catalog    Catalog: entries brought up to date, and the runs as objects

It is never needed: without it the same is read from the runs. Nothing but the runs is true, and an
entry is used only while the files that it was made from have not changed.
"""
