# SPDX-License-Identifier: MIT
"""A run on disk: its directory, journal and metadata, its plots, and finding stored runs again."""
