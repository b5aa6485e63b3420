# SPDX-License-Identifier: MIT
"""Which symbols are not part of a run's science: they change none of its numbers.

Two runs whose other symbols are equal are the same experiment, whatever their names, directories
and trackers. Everything that is not listed here counts, so that a new symbol is science until
somebody lists it; a new menu must be listed on one side or the other.
"""

import hashlib
import json
from collections.abc import Mapping

MENUS_OF_SCIENCE = (
    "Model",
    "Data",
    "Training",
    "Device",
    "Learning rate",
    "Optimizer",
    "Pruning",
)
MENUS_WITHOUT = ("Run", "Experiment Tracking")

# In menus of science: where data is kept and how fast it is prepared, how often something is
# written, and the text that is sampled after training.
SYMBOLS_WITHOUT = frozenset(
    {
        "CHECKPOINT_COMPRESS",
        "CHECKPOINT_EVERY",
        "CHECKPOINT_INTERVAL",
        "CHECKPOINT_KEEP",
        "CHECKPOINT_MINUTES",
        "DATA_DIR",
        "LOG_INTERVAL",
        "NUM_WORKERS",
        "SAMPLE_PROMPT",
        "SAMPLE_TEMPERATURE",
        "SAMPLE_TOKENS",
        "SAMPLE_TOP_K",
    }
)


def is_science(name: str, menu: tuple[str, ...]) -> bool:
    """Whether the symbol `name`, in menus with the titles `menu`, can change a run's numbers."""
    return name not in SYMBOLS_WITHOUT and not (menu and menu[0] in MENUS_WITHOUT)


def hash_of(science: Mapping[str, object]) -> str:
    """16 hex digits, equal where {symbol: value} of a run's science is."""
    text = json.dumps(science, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
