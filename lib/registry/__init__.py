# SPDX-License-Identifier: MIT
"""Registered models: versions, aliases and their history in MLflow, and what belongs to each."""
