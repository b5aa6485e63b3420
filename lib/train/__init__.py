# SPDX-License-Identifier: MIT
"""What surrounds a training step, the same for every model.

runtime         setup: device, precision, threads, seed
group, ranks    process_group; replicate, shard, reduce_gradients
batch_finding   plan_batch, find_batch: how a batch is divided
precision       choose_precision and kernels by trial, compile_on_gpu
remembered      what trials found out about this machine
batch_norm      norm_layer: statistics of one rank, of all, or fixed
learner         Learner: optimizer, pruner, learning rate and mean of the weights of a model
timetable       Timetable: what is due after which step
loop            Loop: the steps, and what follows each of them
evaluation      eval_batches, mean_over_examples: the same on any number of ranks
checkpoint      load: a checkpoint that is known to be whole
"""
