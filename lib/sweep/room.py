# SPDX-License-Identifier: MIT
"""Whether the disk has room for another run, judged by the runs of the sweep so far.

room = Room(output_dir)
room.learn(run)             # after each completed run
if not room.fits(beside=2): raise Failure(room.full(left=30))
"""

import shutil
from pathlib import Path

from ..runs.stored import StoredRun, disk_usage
from ..text import size

_LEAST = 32 * 2**20  # twice what a new run asks for (lib/runs/directory.py)


class Room:
    """`largest` is the size of the largest run so far, in bytes."""

    def __init__(self, output_dir: Path) -> None:
        self._output_dir = output_dir
        self.largest = 0

    def learn(self, run: StoredRun) -> None:
        """Take the size of a completed run into account."""
        self.largest = max(self.largest, disk_usage(run.dir))

    def fits(self, beside: int) -> bool:
        """Whether there is room for one more run beside so many that are growing."""
        return self._free() >= _LEAST + self.largest * (beside + 1)

    def full(self, left: int) -> str:
        """That the disk is full, and what the `left` runs that are missing will take."""
        needed = _LEAST + self.largest * max(1, left)
        each = f" of about {size(self.largest)} each" if self.largest else ""
        return (
            f"the disk of {self._output_dir} is full: {size(self._free())} are free; what is "
            f"missing ({left} run{'' if left == 1 else 's'}{each}) takes about {size(needed)}. "
            "Free some space"
        )

    def _free(self) -> int:
        folder = self._output_dir
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free
