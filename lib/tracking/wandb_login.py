# SPDX-License-Identifier: MIT
"""Whether W&B runs online, found out without its SDK and without the network.

The training process asks at its start, so that a missing login is reported before any training time
is spent; the forwarder asks again.
"""

import configparser
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from ..advice import typed

CURES = (
    "Log in once with `wandb login` (or set WANDB_API_KEY), or choose offline with "
    "WANDB_MODE=offline"
    + typed(" or make SET='WANDB_OFFLINE=y'; `make wandb-sync`", "; `wandb sync`")
    + " sends offline runs"
)


def wandb_mode(offline: bool, environ: Mapping[str, str] | None = None) -> tuple[str, str]:
    """(online, offline or disabled; why).

    WANDB_MODE wins over the configuration, and that over what `wandb offline` has written.
    """
    environ = os.environ if environ is None else environ
    mode = environ.get("WANDB_MODE", "").strip().lower()
    if mode == "disabled":
        return "disabled", "WANDB_MODE=disabled"
    if mode in ("offline", "dryrun"):
        return "offline", f"WANDB_MODE={mode}"
    if offline and not mode:
        return "offline", "WANDB_OFFLINE=y"
    if not mode and (chosen := _chosen_by_command(environ)):
        return chosen, f"`wandb {chosen}` was typed here"
    if is_logged_in(environ):
        return "online", "logged in"
    return "offline", "not logged in"


def check(settings: Mapping[str, Any]) -> tuple[bool, str]:
    """(whether W&B is worth a try, what to say about it) before a run starts."""
    mode, why = wandb_mode(bool(settings.get("WANDB_OFFLINE")))
    if mode == "disabled":
        return False, f"wandb: {why}, so this run is not sent there"
    if why == "not logged in":
        return True, f"warning: wandb: not logged in, so this run is recorded offline. {CURES}"
    return True, ""


def _chosen_by_command(environ: Mapping[str, str]) -> str:
    """What `wandb offline` or `wandb disabled` left in a file, of this folder or the user's."""
    folder = Path(environ.get("WANDB_DIR") or ".")
    folder /= ".wandb" if (folder / ".wandb").exists() else "wandb"
    of_user = Path(environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    files = configparser.ConfigParser(interpolation=None)
    try:
        files.read([of_user / "settings", folder / "settings"], encoding="utf-8")
        mode = files.get("default", "mode", fallback="")
    except (OSError, configparser.Error, UnicodeDecodeError):
        return ""
    mode = {"dryrun": "offline"}.get(mode, mode)
    return mode if mode in ("offline", "disabled") else ""


def is_logged_in(environ: Mapping[str, str] | None = None) -> bool:
    """True when there is an API key for the W&B host in the environment or in the netrc file."""
    environ = os.environ if environ is None else environ
    if environ.get("WANDB_API_KEY") or environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    path = Path(environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
