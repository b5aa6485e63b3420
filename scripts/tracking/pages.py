# SPDX-License-Identifier: MIT
"""Show the trackers' own pages on this machine, or send offline runs to Weights & Biases.

    make dashboard | mlflow-ui | tensorboard [PORT=8080]
    make wandb-sync
    python -m scripts.tracking.pages [--port PORT] [--logdir DIR] PAGE

A page listens on 127.0.0.1 only, on PORT or its port in the configuration, until Ctrl-C. From
another machine: ssh -L PORT:127.0.0.1:PORT host.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lib.config.tree import Tree
from lib.errors import BadUse, Failure
from lib.signals import termination_raises
from lib.tracking.wandb_login import CURES, is_logged_in
from scripts.common import output_dir

HOST = "127.0.0.1"
_NEW_RUNS_S = 5.0  # between two searches for new runs
Arguments = argparse.Namespace


def setting(name: str) -> Any:
    """A symbol of config.py; before anything is configured, its default in Kconfig."""
    try:
        from config import config
    except ModuleNotFoundError:
        return Tree().values()[name]
    return getattr(config, name)


def free_port(given: str, symbol: str, page: str) -> int:
    """The port for `page`. Raises BadUse, and Failure when it is taken."""
    port = port_of(given, setting(symbol))
    check_free(port, page, f"give another one: PORT={port + 1 if port < 65535 else 1024}")
    return port


def port_of(given: str, default: int) -> int:
    """A port that a user may take; empty: `default`. Raises BadUse."""
    if not given:
        return default
    if not re.fullmatch("[0-9]{1,5}", given) or not 1024 <= int(given) <= 65535:
        raise BadUse(f"PORT={given}: must be a number from 1024 to 65535, such as {default}")
    return int(given)


def check_free(port: int, page: str, cure: str) -> None:
    """Raise Failure, which ends in the cure, when the port for `page` is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise Failure(
                f"{page}: port {port} is taken ({error.strerror}). Unless this page runs there "
                f"already, {cure}"
            ) from error


def serve(page: str, port: int, command: list[str], **variables: str) -> int:
    """Run a server until it ends, or Ctrl-C or SIGTERM ends both."""
    print(f"{page}: http://{HOST}:{port}  (Ctrl-C stops it)", flush=True)
    with termination_raises():
        process = subprocess.Popen(command, env=os.environ | variables)
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait(10)
            return 0


def dashboard(given: Arguments) -> int:
    """Trackio."""
    port = free_port(given.port, "TRACKIO_PORT", "dashboard")
    code = f"import trackio; trackio.show(open_browser=False, host={HOST!r}, server_port={port})"
    return serve("dashboard", port, [sys.executable, "-c", code], HF_HUB_DISABLE_TELEMETRY="1")


def mlflow_ui(given: Arguments) -> int:
    """MLflow's server on the local database; a configured server has a page of its own."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or setting("MLFLOW_TRACKING_URI")
    if uri.startswith(("http://", "https://")):
        print(f"mlflow-ui: runs are on a server, its page is {uri}")
        return 0
    port = free_port(given.port, "MLFLOW_PORT", "mlflow-ui")
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    return serve(
        "mlflow-ui",
        port,
        command,
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",  # four processes that the page does not need
    )


def tensorboard(given: Arguments) -> int:
    """TensorBoard on all runs, each under its name."""
    port = free_port(given.port, "TENSORBOARD_PORT", "tensorboard")
    runs = Path(given.logdir or output_dir(None))
    with TemporaryDirectory(prefix="tensorboard-runs-") as links, linked(runs, Path(links)):
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", links]
        return serve("tensorboard", port, [*command, "--host", HOST, "--port", str(port)])


@contextmanager
def linked(runs: Path, links: Path) -> Iterator[None]:
    """Keep a link <run> → <run>/logs/tensorboard in `links` for each run in `runs`.

    TensorBoard names a run by the path of its files below --logdir, and its option for other names
    does not show new runs.
    """
    done = threading.Event()

    def follow() -> None:
        while True:
            link_runs(runs, links)
            if done.wait(_NEW_RUNS_S):
                return

    link_runs(runs, links)
    thread = threading.Thread(target=follow, name="runs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def link_runs(runs: Path, links: Path) -> None:
    """Add missing links and remove those whose run is gone."""
    there = {folder.parent.parent.name: folder for folder in runs.glob("*/logs/tensorboard")}
    for link in links.iterdir():
        if link.name not in there:
            link.unlink()
    for name, folder in there.items():
        if not (link := links / name).is_symlink():
            link.symlink_to(folder.resolve())


def wandb_sync(_given: Arguments) -> int:
    """Send all local runs that are not on the server yet; the folders of a run in their order."""
    if not is_logged_in():
        raise Failure(f"wandb-sync: not logged in. {CURES}")
    folder = Path(os.environ.get("WANDB_DIR") or ".") / "wandb"
    if not any(folder.glob("offline-run-*")):
        print(f"wandb-sync: no offline runs in {folder}")
        return 0
    command = [sys.executable, "-m", "wandb", "sync", "--yes"]
    return subprocess.run(command, check=False).returncode


PAGES: dict[str, Callable[[Arguments], int]] = {
    "dashboard": dashboard,
    "mlflow-ui": mlflow_ui,
    "tensorboard": tensorboard,
    "wandb-sync": wandb_sync,
}


def main() -> int:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("page", choices=PAGES)
    flags.add_argument(
        "--port", default=os.environ.get("PORT", ""), help="instead of the configured one (PORT)"
    )
    flags.add_argument("--logdir", help="of TensorBoard, instead of the output directory")
    arguments = flags.parse_args()
    return PAGES[arguments.page](arguments)


if __name__ == "__main__":
    run_main(main)
