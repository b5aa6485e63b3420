# SPDX-License-Identifier: MIT
"""What to type next: a make target in a checkout; in an installed package Python, without make.

need("PIL.Image", "run.log_image", "pillow").open(path)     # a package that may be missing
"""

import shlex
from importlib import import_module
from types import ModuleType

from .errors import Failure

IN_CHECKOUT = __package__ == "lib"


def typed(make: str, python: str) -> str:
    """`make` for a user of a checkout, `python` for one of the package `adamwprune`."""
    return make if IN_CHECKOUT else python


def installing(package: str) -> str:
    """How to get a package that is missing."""
    return typed("make install", f"pip install {shlex.quote(package)}")


def need(package: str, what: str, name: str = "") -> ModuleType:
    """The module `package`, which `what` cannot do without; `name` is what pip calls it.

    Raises Failure, with the cure, when it is not installed.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        name = name or package.partition(".")[0]
        cure = installing(name)
        raise Failure(f"{what} needs the package {name}: {cure}") from None
