# SPDX-License-Identifier: MIT
"""Data sets of images, whole in memory, and their augmentation."""
