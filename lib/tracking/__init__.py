# SPDX-License-Identifier: MIT
"""Experiment tracking that cannot hurt training: the journal goes to trackers in another process.

The doors: launch.py starts the forwarder and waits for it (all that lib.runs uses), forwarder.py is
that process, describe.py and cursor.py say what a run is and how far each tracker has got.
delivery.py fills one tracker; backends/ has one small file for each, the only importers of SDKs.
"""
