# SPDX-License-Identifier: MIT
"""Whether a metric is better when it is lower, by its name.

lower_is_better("val/loss")         # True
lower_is_better("val/accuracy")     # False
lower_is_better("lr")               # None: neither is better
"""

import re

_LOWER = {"loss", "perplexity", "ppl", "error", "mse", "rmse", "mae", "nll", "wer", "cer", "bpb"}
_LOWER |= {"ms", "s", "bytes"}
_HIGHER = {"accuracy", "acc", "f1", "auc", "precision", "recall", "bleu", "rouge", "mfu", "top5"}


def lower_is_better(name: str) -> bool | None:
    """True for losses, errors and times, False for accuracies and rates, None for all others.

    The words of the name decide, the last one first: `final/best_val_loss`, `val/error_top5`. A
    rate ends in per_s: `perf/tokens_per_s`.
    """
    words = re.split(r"[^a-z0-9]+", name.lower())
    if words[-2:-1] == ["per"]:
        return False
    for word in reversed(words):
        if word in _HIGHER and "error" not in words:
            return False
        if word in _LOWER:
            return True
    return None
