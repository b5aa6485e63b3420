# SPDX-License-Identifier: MIT
"""Pruning: scores, schedules, exact selection, and the Pruner that joins them (docs/pruning.md)."""
