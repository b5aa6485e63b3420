# SPDX-License-Identifier: MIT
"""For programs that are not part of this project: what a training of your own can use of it.

    run            run, track and Run: a run of any script, without a configuration
    checkpoints    Checkpoints: save and restore a training loop, bit for bit
    export         pruned weights as files for others

lib/__init__.py has the names that users import.
"""
