# SPDX-License-Identifier: MIT
"""Train what .config says: python -m scripts.train.launch (which is what `make` calls)

$FRAGMENTS, $SET and $TRACKER hold for this launch alone. The configuration is resolved once and
frozen (lib/config/frozen.py), so that launches can run side by side from one tree, whatever happens
to .config meanwhile. From the environment, and so from the make line:

    NPROC=n          processes on this machine (default: one for each GPU; one without a GPU)
    NNODES=n         machines; n:m for a number that may vary between n and m
    NODE_RANK=k      number of this machine, from 0; without it the machines agree on their order,
                     as they must when their number varies or MAX_RESTARTS is given
    MASTER_ADDR=host MASTER_PORT=29500   where they meet: machine 0
    MAX_RESTARTS=n   how often to restart all processes after one failed (default 0)
    LAUNCH_ID=word   names the launch (default: new for each launch; under Slurm made from the job)

Processes that are started again, by MAX_RESTARTS, by a change in the number of machines, because
Slurm requeued the job, or by whoever gave LAUNCH_ID, go on with the run of this launch.

Exit codes: those of the training; of several processes, that of the first one that failed.
"""

from lib.cli import become, begin, run_main

if __name__ == "__main__":
    begin()

import hashlib
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lib.config import configpy, store
from lib.config.dotconfig import ConfigError, shorten
from lib.config.frozen import freeze
from lib.config.resume import AUTO
from lib.config.tree import Tree
from lib.errors import BadUse
from lib.files import write_atomic
from scripts.config.change import load_or_make, override, overrides


class Layout(NamedTuple):
    """How many processes run where, as given; `nproc` is 0 for the machine's default."""

    nproc: int
    nnodes: str
    node_rank: str
    master_addr: str
    master_port: str
    max_restarts: int

    @property
    def alone(self) -> bool:
        """One machine, no restarts: a single process needs no launcher."""
        return self.nnodes == "1" and self.max_restarts == 0

    @property
    def restarts(self) -> bool:
        """Whether processes may be started again within this launch."""
        return self.max_restarts > 0 or ":" in self.nnodes

    def torchrun_arguments(self, job: str) -> list[str]:
        """The options of torchrun; `job` names the meeting of machines that find their order."""
        words = [f"--nproc-per-node={self.nproc}", f"--max-restarts={self.max_restarts}"]
        if self.nnodes == "1":
            return [*words, "--standalone"]
        words.append(f"--nnodes={self.nnodes}")
        if self.node_rank:
            where = [f"--master-addr={self.master_addr}", f"--master-port={self.master_port}"]
            return [*words, f"--node-rank={self.node_rank}", *where]
        endpoint = f"--rdzv-endpoint={self.master_addr}:{self.master_port}"
        return [*words, "--rdzv-backend=c10d", f"--rdzv-id={job}", endpoint]


def layout_from(given: Mapping[str, str]) -> Layout:
    """The layout given by NPROC, NNODES and so on. Raises BadUse."""
    nproc, restarts = given.get("NPROC", ""), given.get("MAX_RESTARTS", "") or "0"
    layout = Layout(
        nproc=_number("NPROC", nproc, "a number of processes from 1 on") if nproc else 0,
        nnodes=given.get("NNODES", "") or "1",
        node_rank=given.get("NODE_RANK", ""),
        master_addr=given.get("MASTER_ADDR", ""),
        master_port=given.get("MASTER_PORT", "") or "29500",
        max_restarts=_number("MAX_RESTARTS", restarts, "how often, a number from 0 on", 0),
    )
    low, _, high = layout.nnodes.partition(":")
    _number("NNODES", low, "a number of machines, or n:m")
    if high and _number("NNODES", high, "a number of machines, or n:m") < int(low):
        raise BadUse(f"NNODES={layout.nnodes}: the smaller number comes first")
    _number("MASTER_PORT", layout.master_port, "a port, a number from 1 on")
    if layout.nnodes == "1":
        return layout
    if not layout.master_addr:
        raise BadUse(f"NNODES={layout.nnodes} needs MASTER_ADDR=<host of machine 0>")
    if layout.node_rank:
        rank = _number("NODE_RANK", layout.node_rank, "which machine this is, from 0", 0)
        elastic = f"NNODES={layout.nnodes}" if high else ""
        elastic = f"MAX_RESTARTS={restarts}" if layout.max_restarts else elastic
        if elastic:
            raise BadUse(f"{elastic} needs machines that agree on their order: leave out NODE_RANK")
        if rank >= int(low):
            raise BadUse(f"NODE_RANK={rank}: with NNODES={low} the last one is {int(low) - 1}")
    return layout


def _number(name: str, text: str, wanted: str, least: int = 1) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
        raise BadUse(f"{name}={shorten(text)}: {wanted}")
    return int(text)


def configure(tree: Tree) -> None:
    """Load .config and apply what is given for this launch; prints what differs from defaults."""
    layers = overrides()
    path = store.config_path()
    with store.locked():
        load_or_make(tree)
        _follow(tree, path)
    kept = [
        f"{e.name}={shlex.quote(shorten(e.text))}" for e in tree.entries() if e.text != e.default
    ]
    print(f"{path}: {' '.join(kept) or 'all defaults'}")
    if layers:
        override(tree, layers, "for this launch alone:")


def _follow(tree: Tree, path: Path) -> None:
    """Update config.py after .config was edited, unless it was made from another file."""
    text = configpy.render(tree.values(), str(path))
    try:
        follows = configpy.read(store.CONFIG_PY)[1] == str(path)
    except (ConfigError, FileNotFoundError):
        follows = True
    if follows and (
        not store.CONFIG_PY.exists()
        or store.CONFIG_PY.read_text() != text
        or store.CONFIG_PY.stat().st_mtime_ns < path.stat().st_mtime_ns
    ):
        write_atomic(store.CONFIG_PY, text)


def default_nproc(device: str) -> int:
    """One process for each GPU; one if DEVICE is the CPU or there is no GPU."""
    if device == "cpu":
        return 1
    script = Path(__file__).with_name("detect-gpus.sh")
    found = subprocess.run([script, "count"], stdout=subprocess.PIPE, text=True, check=True)
    return max(1, int(found.stdout))


def launch_id(tree: Tree, layout: Layout, given: Mapping[str, str]) -> str:
    """A name for this launch, the same on all its machines and when it is started again.

    Raises BadUse when the machines need one that they cannot make.
    """
    if name := given.get("LAUNCH_ID"):
        if not re.fullmatch(r"[\w.-]{1,100}", name, re.ASCII):
            raise BadUse(f"LAUNCH_ID={shorten(name)}: up to 100 letters, digits, '.', '_' and '-'")
        return name
    if job := given.get("SLURM_JOB_ID"):
        # What differs from the defaults: some defaults are made from the name of the machine.
        digest = hashlib.sha256(tree.defconfig_text().encode()).hexdigest()
        return f"slurm-{job}-{digest[:12]}"
    if layout.restarts and layout.nnodes != "1":
        raise BadUse(
            "machines that restart need LAUNCH_ID=<a word for this launch, new, and the same on "
            "all of them>: by it they find the run to go on with"
        )
    return secrets.token_hex(6)


def goes_on(layout: Layout, given: Mapping[str, str]) -> bool:
    """Whether there may be a run of this launch already, from before a restart."""
    requeued = given.get("SLURM_RESTART_COUNT", "0") not in ("", "0")
    return layout.restarts or requeued or bool(given.get("LAUNCH_ID"))


def start(tree: Tree, layout: Layout, source: str, resume: str = "") -> int:
    """Freeze what `tree` holds, read from the file `source`, and train it; returns the exit code.

    `resume` is what the training goes on with, as for `--resume`; empty for a new run.
    """
    values = tree.values()
    layout = layout._replace(nproc=layout.nproc or default_nproc(str(values["DEVICE"])))
    os.environ["LAUNCH_ID"] = launch_id(tree, layout, os.environ)
    os.environ.update(freeze(tree, source))
    program = [f"{values['MODEL']}/train.py", *(["--resume", resume] if resume else [])]
    if layout.nproc == 1 and layout.alone:
        become(*program)

    # By default torchrun gives each process a single thread.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // layout.nproc)))
    # Each attempt needs a store of its own: in a shared one it finds the addresses of processes
    # that are gone, and waits for them forever.
    if layout.restarts:
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    sys.stdout.flush()
    # PyTorch takes seconds to import, and packages that it tries to import may swallow the
    # KeyboardInterrupt of a Ctrl-C: it waits until `run_ranks` is ready for it. SIGUSR1 stays
    # blocked, and is in the ranks from their birth until they can handle it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})
    from scripts.train.torchrun import run_ranks

    return run_ranks([*layout.torchrun_arguments(str(values["MODEL"])), *program])


def main() -> int:
    layout = layout_from(os.environ)
    tree = Tree()
    configure(tree)
    resume = AUTO if goes_on(layout, os.environ) else ""
    return start(tree, layout, str(store.config_path()), resume)


if __name__ == "__main__":
    run_main(main)
