# SPDX-License-Identifier: MIT
"""What stands around a training step: runtime, ranks, stop requests, checkpoints, progress."""
