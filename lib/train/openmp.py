# SPDX-License-Identifier: MIT
"""How the threads of a CPU operation wait for the next one; call it before importing PyTorch.

spin_briefly()
import torch
"""

import os

# Iterations, about as long as waking a thread takes, so that waiting never costs more than twice
# the better of spinning and sleeping (Karlin et al. 1991, competitive spinning).
_SPINS = 2000


def spin_briefly() -> None:
    """Have idle threads spin for a moment, then sleep, unless the environment says otherwise.

    GNU's OpenMP spins for milliseconds, which makes a training several times slower while other
    programs compute on the machine. Sleeping at once halves the speed of a small model
    (docs/performance.md). Other OpenMP libraries do not read this setting.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))
