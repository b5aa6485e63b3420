# SPDX-License-Identifier: MIT
"""A run once more: its commit, its diff, its configuration, and what comes out of them now.

    plan      what of a run can be replayed, from which code, with which settings
    tree      the recorded code in a git work tree of its own, which is gone afterwards
    machine   recorded against here: versions, processor, GPUs, threads
    training  the training itself, by the recorded code's own `make`
    journals  two journals, value by value

The weights are compared by lib/train/checkpoint/compare.py, which needs PyTorch.
"""
