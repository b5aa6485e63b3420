# SPDX-License-Identifier: MIT
"""Pruning a network while it trains: exactly as many weights as asked for (docs/pruning.md).

The doors:
- build.build_pruner: a Pruner from plain values, or an Unpruned, which does nothing;
- pruner.Pruner, schedules.Schedule, targets.prunable: the same in a program of your own, attached
  to any torch.optim.Optimizer;
- step_hooks: hooks of an optimizer that see true gradients and survive copies (lib.optim too);
- export.FORMATS, sparse_file, payoff: a pruned network as a file, and what it saves.

Behind them: scores are the formulas, ranking applies them to parameters and optimizer state, select
finds the k smallest, patterns and budgets say what is pruned as one and how much of each layer,
regrowth exchanges weights. masks, memory, state, shards and slices are the bookkeeping.
"""
