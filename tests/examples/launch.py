# SPDX-License-Identifier: MIT
"""Run examples/NAME.py as `python examples/NAME.py` does: python -m tests.examples.launch NAME.py …

torchvision may be one for CUDA beside a PyTorch for the CPU; libraries that find it import it.
"""

import runpy
import sys

from benchmarks.torchvision_import import import_torchvision
from lib.files import ROOT

if __name__ == "__main__":
    import_torchvision()
    program = str(ROOT / "examples" / sys.argv[1])
    sys.argv = [program, *sys.argv[2:]]
    sys.path[0] = str(ROOT / "examples")  # and not the root, where `adamwprune` would not be found
    runpy.run_path(program, run_name="__main__")
