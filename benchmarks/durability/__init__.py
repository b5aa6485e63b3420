# SPDX-License-Identifier: MIT
"""Trainings that are killed, resumed and compared: python -m benchmarks.durability."""
