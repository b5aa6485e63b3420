# SPDX-License-Identifier: MIT
"""What people type for a symbol: short forms that share no word with its name.

They are suggested, never accepted: a configuration has one name for each thing.
"""

SYNONYMS = {
    "beta1": "ADAM_BETA1",
    "beta2": "ADAM_BETA2",
    "bf16": "PRECISION",
    "bs": "BATCH_SIZE",
    "clip": "GRAD_CLIP",
    "dtype": "PRECISION",
    "epsilon": "ADAM_EPS",
    "epoch": "NUM_EPOCHS",
    "fp32": "PRECISION",
    "gpu": "DEVICE",
    "iterations": "MAX_STEPS",
    "iters": "MAX_STEPS",
    "lr": "LEARNING_RATE",
    "max_iters": "MAX_STEPS",
    "max_norm": "GRAD_CLIP",
    "mixed_precision": "PRECISION",
    "name": "TRACKER_RUN_NAME",
    "opt": "OPTIMIZER",
    "output": "OUTPUT_DIR",
    "project": "TRACKER_PROJECT",
    "scheduler": "LR_SCHEDULE",
    "sparsity": "TARGET_SPARSITY",
    "steps": "MAX_STEPS",
    "tags": "TRACKER_TAGS",
    "warmup": "WARMUP_STEPS",
    "wd": "WEIGHT_DECAY",
    "workers": "NUM_WORKERS",
}
