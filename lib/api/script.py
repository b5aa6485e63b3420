# SPDX-License-Identifier: MIT
"""What is known of the script that begins a run: its configuration, its folder, names for it."""

import dataclasses
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import BadUse
from ..safe_yaml import to_plain


def plain_mapping(config: Any) -> dict[str, Any]:
    """The hyperparameters in values that YAML can hold. Raises BadUse for anything else."""
    if config is None:
        return {}
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    elif not isinstance(config, Mapping) and hasattr(config, "__dict__"):
        config = vars(config)
    if not isinstance(config, Mapping):
        raise BadUse(f"config is {type(config).__name__}, not a mapping of names to values")
    return to_plain(config)


def known_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of metadata.yaml that a configuration has under their usual names."""
    found: dict[str, Any] = {}
    if type(config.get("seed")) is int:
        found["seed"] = config["seed"]
    if isinstance(config.get("optimizer"), str):
        found["optimizer"] = config["optimizer"]
    if isinstance(config.get("model"), str):
        found["model"] = {"name": config["model"]}
    return found


def code_folder() -> Path:
    """The folder of the program: that of its script, else the working directory."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(script).resolve().parent if script else Path.cwd()


def default_name() -> str:
    """The name of the script, or `notebook`, and the time."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    stem = _fitting(Path(script).stem) if script else "notebook"
    return f"{stem}_{datetime.now():%Y%m%d-%H%M%S}"


def default_project() -> str:
    """The name of the working directory."""
    return _fitting(Path.cwd().name) or "adamwprune"


def _fitting(text: str) -> str:
    """`text` in the characters of a name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:100]
