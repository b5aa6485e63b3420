# SPDX-License-Identifier: MIT
"""What surrounds a training step, the same for every model.

runtime         setup: device, precision, threads, seed
group, ranks    process_group; replicate, shard, reduce_gradients
batch_finding   plan_batch, find_batch: how a batch is divided
learner         Learner: optimizer, pruner and learning rate of a model
timetable       Timetable: what is due after which step
loop            Loop: the steps, and what follows each of them
evaluation      eval_batches, mean_over_examples: the same on any number of ranks
checkpoint      load: a checkpoint that is known to be whole
"""
