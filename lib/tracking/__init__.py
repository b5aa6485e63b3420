# SPDX-License-Identifier: MIT
"""Experiment tracking that cannot hurt training: another process sends the journal to trackers.

The doors: launch.py starts that process, the forwarder, and waits for it (all that training uses);
forwarder.py is its program; describe.py says what a run is, cursor.py how far each tracker has got.
delivery.py fills one tracker; backends/ has one small file for each, the only importers of SDKs.
"""
