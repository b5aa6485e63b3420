# SPDX-License-Identifier: MIT
"""From a user's words to typed values: the Kconfig tree, assignments, .config, Settings."""
