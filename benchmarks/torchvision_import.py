# SPDX-License-Identifier: MIT
"""Importing torchvision beside a PyTorch that its compiled operators were not built for.

    torchvision = import_torchvision()

The wheels of torchvision carry operators for CUDA. Beside a CPU build of PyTorch they cannot be
loaded, and `import torchvision` raises, although its transforms and models are Python and need none
of them.
"""

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from types import ModuleType

import torch

_ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_EXPECTED = ("nms", "qnms")  # operators that torchvision describes while it is imported
_definitions: list[torch.library.Library] = []  # an operator lasts as long as its library


def import_torchvision() -> ModuleType:
    """The package torchvision; where its operators cannot be loaded, everything but these.

    Raises ImportError when it is not installed.
    """
    if "torchvision" not in sys.modules and not _definitions and not _operators_load():
        library = torch.library.Library("torchvision", "DEF")
        for name in _EXPECTED:
            library.define(name + _ARGUMENTS)
        _definitions.append(library)
    import torchvision

    return torchvision


def _operators_load() -> bool:
    """Whether the compiled operators can be loaded; also true where there is no torchvision."""
    package = find_spec("torchvision")
    if package is None:
        return True  # importing it will say so
    library = PathFinder.find_spec("_C", package.submodule_search_locations)
    try:
        torch.ops.load_library(library.origin if library else "")
    except (ImportError, OSError):
        return False
    return True
