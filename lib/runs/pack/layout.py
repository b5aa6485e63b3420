# SPDX-License-Identifier: MIT
"""What a pack looks like, from its first byte to its last, and which paths may be in one.

    zstd( tar header of manifest.json, manifest.json
          tar header of NAME/path, the file        in the order of the manifest
          …
          two blocks of zeros )
    a frame that zstd skips, with the SHA-256 of all bytes before it

Nothing in the archive is left to chance: each header is a function of the path and the size or
target in the manifest. A reader therefore compares headers instead of interpreting them.
"""

import os
import re
import tarfile
from pathlib import Path, PurePosixPath

from ...errors import Failure
from ..status import RESERVE

FORMAT = 1  # of the archive; part of the manifest
MANIFEST = "manifest.json"
SUFFIX = ".tar.zst"

BLOCK = 512  # bytes; tar pads everything to multiples of it
END = bytes(2 * BLOCK)
ZSTD = b"\x28\xb5\x2f\xfd"  # the first bytes of a pack
WINDOW = 2**23  # bytes that zstd may look back, which bounds the memory of a reader

_LABEL = b"sha256:"
_SKIPPED = b"\x50\x2a\x4d\x18" + (len(_LABEL) + 64).to_bytes(4, "little") + _LABEL
FOOTER_BYTES = len(_SKIPPED) + 64

_LONGEST_PART, _LONGEST_PATH, _DEEPEST = 255, 1000, 16
# What a run needs only while it is written, and how far trackers of this machine have got with it.
_LOCAL = re.compile(r"\..+\.[0-9]+\.tmp|.*\.lock|\.reserve", re.DOTALL)
_LOCAL_FOLDERS = (PurePosixPath("tracking"), PurePosixPath("logs/tensorboard"))
assert _LOCAL.fullmatch(RESERVE)


class PackError(Failure):
    """A pack cannot be written or read."""


def is_local(path: str) -> bool:
    """Whether the file at `path` in a run means nothing anywhere else, and stays out of a pack."""
    parts = PurePosixPath(path)
    in_local_folder = any(folder in (parts, *parts.parents) for folder in _LOCAL_FOLDERS)
    return in_local_folder or bool(_LOCAL.fullmatch(parts.name))


def path_problem(path: str) -> str:
    """Why `path` cannot be that of a file in a run, or nothing."""
    parts = path.split("/")
    if not path or not path.isprintable() or "\\" in path:
        return "it has characters that are not allowed"
    if any(part in ("", ".", "..") for part in parts):
        return "it does not stay within the run"
    longest = max(len(os.fsencode(part)) for part in parts)
    if longest > _LONGEST_PART or len(os.fsencode(path)) > _LONGEST_PATH or len(parts) > _DEEPEST:
        return "it is too long"
    return "it belongs to one machine" if is_local(path) else ""


def header(path: str, size: int, link: str = "") -> bytes:
    """The tar header of a file of `size` bytes, or of another name of the file `link`."""
    info = tarfile.TarInfo(path)
    info.mode, info.size = 0o600, size
    if link:
        info.type, info.linkname = tarfile.LNKTYPE, link
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def padding(size: int) -> bytes:
    """What follows a file of `size` bytes."""
    return bytes(-size % BLOCK)


def footer(hexdigest: str) -> bytes:
    """The last bytes of a pack; `hexdigest` is that of all bytes before."""
    return _SKIPPED + hexdigest.encode()


def digest_in(end: bytes) -> str:
    """The SHA-256 in the last FOOTER_BYTES of a file; empty if they are not a footer."""
    return end.removeprefix(_SKIPPED).decode("ascii", "replace") if end[:-64] == _SKIPPED else ""


def shown(path: str | Path) -> str:
    """`path` for a message: whatever it holds, on one line."""
    text = str(path)
    return text if text.isprintable() else ascii(text)
