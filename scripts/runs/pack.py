# SPDX-License-Identifier: MIT
"""Put a run into one file, for somebody without DVC or a shared disk.

    make pack [RUN=name] [OUT=file] [CHECKPOINTS=all|last|best|none]
    python -m scripts.runs.pack [--output-dir DIR] [--out FILE] [--checkpoints WHICH] [RUN]

RUN is the name of a run, its unique beginning, or a path; without it, the latest run. OUT is a new
file or a folder, by default RUN.tar.zst in the current folder. CHECKPOINTS is all (the default),
none, last, best, or both: last,best. The same run gives the same file, bit for bit. It begins with
a list of its files and their SHA-256, ends with its own, and can be read by its owner only. Left
out are locks, temporary files, and how far trackers have got with the run. `make unpack` makes a
run of it again.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from lib import text
from lib.errors import BadUse, Failure, did_you_mean
from lib.runs.pack import layout
from lib.runs.pack.manifest import Manifest
from lib.runs.pack.packing import write_pack
from lib.runs.stored import StoredRun, disk_usage, load_run
from lib.signals import termination_raises
from lib.train.checkpoint.digest import same
from lib.train.checkpoint.find import BEST, LAST, listed
from lib.train.checkpoint.index import INDEX, Entry
from scripts.common import chosen_run, run_parser
from scripts.runs.transfer import transfer

FOLDER = "checkpoints/"
WORDS = ("all", "none", "last", "best")
PRIVATE = {
    "git.diff": "the changes to the code that were not committed",
    "logs/train.log": "all that the training printed",
    "metadata.yaml": "command line, machine, names of untracked files",
}


def chosen_checkpoints(folder: Path, given: str) -> list[Entry]:
    """The checkpoints that CHECKPOINTS=`given` names. Raises BadUse."""
    words = set(given.replace(",", " ").split()) or {"all"}
    for word in sorted(words - set(WORDS)):
        hint = did_you_mean(word, WORDS)
        raise BadUse(f"CHECKPOINTS={given}: must be all, none, last, best or last,best{hint}")
    if len(words) > 1 and words & {"all", "none"}:
        raise BadUse(f"CHECKPOINTS={given}: all and none stand alone")
    if words == {"none"}:
        return []
    entries = listed(folder)
    if words == {"all"}:
        return entries
    found = {"last": entries[-1:], "best": [entry for entry in entries if entry.best]}
    for word in sorted(words):
        if not found[word]:
            raise BadUse(f"CHECKPOINTS={given}: {folder.parent.name} has no {word} checkpoint")
    return [entry for entry in entries if any(entry in found[word] for word in words)]


def left_out(folder: Path, kept: list[Entry]) -> Callable[[str], bool]:
    """Whether a file of the run, by its path, belongs to a checkpoint that is not among `kept`."""
    names = {INDEX} if kept else set()
    names |= {entry.file for entry in kept}
    names |= {
        name for name in (LAST, BEST) for entry in kept if same(folder / entry.file, folder / name)
    }

    def without(path: str) -> bool:
        inside = path.removeprefix(FOLDER)
        return path.startswith(FOLDER) and inside.partition("/")[0] not in names

    return without


def consistent(folder: Path, kept: list[Entry]) -> dict[str, Path | bytes]:
    """What says that the checkpoints `kept` are all that there are: the index, and last.pt."""
    if not kept:
        return {}
    index = json.dumps({"checkpoints": [asdict(entry) for entry in kept]}, indent=1) + "\n"
    newest = folder / kept[-1].file
    last = {FOLDER + LAST: newest} if newest.is_file() else {}  # a sharded one has no such name
    return {FOLDER + INDEX: index.encode(), **last}


def output_file(given: str, run: StoredRun) -> Path:
    """The new file that OUT names. Raises BadUse when it is there, or would be in the run."""
    out = Path(given).expanduser()
    if not given or out.is_dir():
        out = out / f"{run.name}{layout.SUFFIX}"
    if os.path.lexists(out):
        raise BadUse(f"there is {layout.shown(out)} already: remove it, or give another OUT=…")
    if not out.parent.is_dir():
        raise BadUse(f"OUT={given}: there is no folder {layout.shown(out.parent)}")
    if run.dir.resolve() in out.resolve().parents:
        raise BadUse(f"OUT={given}: that is inside the run")
    return out


def print_contents(manifest: Manifest) -> None:
    """What is in the pack by folder, and what in it may be private."""
    groups: dict[str, list[int]] = {}
    for file in manifest.files:
        first, slash, _ = file.path.partition("/")
        groups.setdefault(f"{first}/" if slash else first, []).append(file.size)
    rows = [
        (name, f"{len(sizes)} file{'' if len(sizes) == 1 else 's'}", text.size(sum(sizes)))
        for name, sizes in sorted(groups.items())
    ]
    print(*(f"  {line}" for line in text.columns(rows, right=(1, 2))), sep="\n")
    here = {file.path for file in manifest.files}
    print("look before you send it, redaction does not find every secret:")
    shown = [(path, about) for path, about in PRIVATE.items() if path in here]
    print(*(f"  {line}" for line in text.columns(shown)), sep="\n")


def main() -> int:
    flags = run_parser(__doc__)
    flags.add_argument("--out", metavar="FILE", default=os.environ.get("OUT", ""))
    flags.add_argument("--checkpoints", metavar="WHICH", default=os.environ.get("CHECKPOINTS", ""))
    options = flags.parse_args()
    run = load_run(chosen_run(options))
    folder = run.dir / "checkpoints"
    kept = chosen_checkpoints(folder, options.checkpoints)
    chosen = options.checkpoints.strip() not in ("", "all")
    out = output_file(options.out, run)
    try:
        with termination_raises(), transfer(run.name, 2 * disk_usage(run.dir)) as seen:
            manifest, digest = write_pack(
                run,
                out,
                without=left_out(folder, kept) if chosen else lambda path: False,
                replaced=consistent(folder, kept) if chosen else {},
                seen=seen,
            )
    except OSError as error:
        raise Failure(f"{error.filename or out}: {error.strerror}; nothing was written") from error
    shown = text.one_line(out)
    print(f"{shown}: {text.one_line(run.name)}, {text.size(out.stat().st_size)}")
    print_contents(manifest)
    print(f"sha256 {digest}")
    print(f"to make a run of it: make unpack FILE={shown}")
    return 0


if __name__ == "__main__":
    run_main(main)
