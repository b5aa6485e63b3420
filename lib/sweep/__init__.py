# SPDX-License-Identifier: MIT
"""Many runs from one description: grids and searches, killed at any moment and gone on with.

- description: the file of a sweep, and the variables of `make matrix`
- cells: the configurations that it stands for, each checked by Kconfig
- study: which trial is next, running, done; kept by Optuna in SQLite or PostgreSQL
- worker: trains trials side by side, each an ordinary run
- report: tables, pages and the best configuration
"""
