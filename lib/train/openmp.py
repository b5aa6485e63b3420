# SPDX-License-Identifier: MIT
"""How the threads of a CPU operation wait for the next one; to be called before PyTorch is loaded.

spin_briefly()
import torch
"""

import os

# Turns of a loop, about as long as it takes to wake a thread, so that waiting never costs more
# than twice what the better choice would have (Karlin et al. 1991, competitive spinning).
_SPINS = 2000


def spin_briefly() -> None:
    """Have threads without work spin for a moment, then sleep, unless the environment says else.

    GNU's OpenMP spins for milliseconds, which slows a training down by a factor as soon as others
    compute on the machine, too. To sleep at once halves the speed of a small model
    (docs/performance.md). Other OpenMP libraries do not read this setting.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))
