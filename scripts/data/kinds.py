# SPDX-License-Identifier: MIT
"""Which kind of data the configured model learns from, by what it selects in Kconfig."""

from collections.abc import Sequence
from types import ModuleType

from lib.config.settings import Settings, configured_model, load_settings
from lib.data.images import from_settings as images
from lib.data.text import from_settings as text
from lib.errors import BadUse

# By capability: modules with prepare_data(settings), which returns a line, and
# check_data(settings), which yields lines.
KINDS: dict[str, ModuleType] = {
    "HAS_IMAGE_DATA": images,
    "HAS_TEXT_DATA": text,
}


def configured_data(flags: Sequence[str]) -> tuple[Settings, ModuleType]:
    """The settings of the configuration and `flags`, and the module for their kind of data."""
    settings = load_settings(configured_model(flags), flags)
    for capability, module in KINDS.items():
        if getattr(settings, capability):
            return settings, module
    raise BadUse(f"MODEL={settings.MODEL} selects none of {', '.join(KINDS)}: no data to prepare")
