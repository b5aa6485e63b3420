# SPDX-License-Identifier: MIT
"""Send made-up metrics through the real journal and forwarder into real trackers; read them back.

    make wandb-test | trackio-test | mlflow-test | tensorboard-test | tracker-test
    python -m scripts.tracking.selftest [--keep DIR] NAMES

First, what you have configured is tried without writing there: the login to W&B, MLflow's server or
database, the folders. Then a made-up run goes to a temporary folder, which is removed afterwards;
nothing is left in your own Trackio, MLflow or W&B. With --keep everything stays in DIR, in the
project `tracker-test`. Exit code 0 only if everything came back.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lib.config.trackers import parse_trackers
from lib.errors import Failure
from lib.runs.journal import read_rows
from lib.runs.redact import redact
from lib.runs.run import Run
from lib.tracking.backends import brief
from lib.tracking.launch import launch
from lib.tracking.wandb_login import wandb_mode
from scripts.tracking.pages import setting

STEPS = 100
CLASSES = 10
_HELD_BACK_S = 60


def settings() -> dict[str, Any]:
    """What the made-up run's config.yaml says."""
    return {
        "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
        "WANDB_OFFLINE": True,
        "TRACKER_PROJECT": "tracker-test",
        "TRACKER_NOTES": "made-up metrics of make tracker-test",
        "TRACKER_FINISH_TIMEOUT": _HELD_BACK_S,
        "SYSTEM_METRICS_INTERVAL": 0,
    }


def fake_training(run: Run) -> None:
    """A noisy falling loss, a warm-up and cosine, a cubic sparsity ramp; some media."""
    import numpy as np

    chance, noise = random.Random(0), np.random.default_rng(0)
    for step in range(STEPS):
        t = step / (STEPS - 1)
        loss = 0.2 + 2.1 * math.exp(-4 * t) + chance.gauss(0, 0.03)
        lr = 1e-3 * min(1, step / 10) * 0.5 * (1 + math.cos(math.pi * t))
        run.log({"train/loss": loss, "lr": lr, "sparsity": 0.9 * (1 - (1 - t) ** 3)}, step)
    confusion = np.diag(noise.integers(80, 100, CLASSES)) + noise.integers(0, 4, (CLASSES, CLASSES))
    run.log_image("val/sample", noise.random((28, 28)), STEPS, caption="noise")
    run.log_histogram("weights/conv1", noise.normal(0, 0.1, 2400), STEPS)
    run.log_table("val/wrong", ["index", "label", "predicted"], [[3, 4, 9], [8, 7, 1]], STEPS)
    run.log_confusion_matrix("val/confusion", confusion, STEPS)
    run.summary({"final/best_val_loss": 0.25})


def compare(tracker: str, run_dir: Path) -> list[str]:
    """What is missing, doubled or different in the tracker; empty if everything came back."""
    from scripts.tracking.read_back import read

    stored = read(tracker, run_dir)
    problems = []
    expected: dict[str, list[tuple[int, float]]] = {}
    for row, _ in read_rows(run_dir / "logs" / "metrics.jsonl"):
        for name in row.get("media", ()):
            wanted = (name, name.replace("/", "~"))  # the second is how MLflow names files
            if not any(text in medium for text in wanted for medium in stored.media):
                problems.append(f"{name} is missing")
        if "event" not in row:
            for name, value in row.get("metrics", {}).items():
                expected.setdefault(name, []).append((row["step"], value))
    for name, points in expected.items():
        got = sorted(stored.metrics.get(name, []))
        if len(got) != len(points):
            problems.append(f"{name}: {len(got)} values instead of {len(points)}")
        elif not all(map(_same, got, points)):
            problems.append(f"{name}: other values than those that were logged")
    if not problems:
        values = sum(map(len, expected.values()))
        print(f"{tracker}: all {values} values and {len(stored.media)} media or files came back")
    return problems


def _same(stored: tuple[int, float], logged: tuple[int, float]) -> bool:
    """Equal steps, and values equal to single precision, which is what TensorBoard has."""
    return stored[0] == logged[0] and math.isclose(stored[1], logged[1], rel_tol=1e-6)


def probe_trackio() -> str:
    """Whether its folder can be written."""
    return _writable(Path(os.environ.get("TRACKIO_DIR") or "~/.cache/huggingface/trackio"))


def probe_wandb() -> str:
    """Online or offline, and whether the server takes the key."""
    mode, why = wandb_mode(bool(setting("WANDB_OFFLINE")))
    if mode == "disabled":
        raise Failure(f"{why}: unset it to use W&B")
    if mode == "offline":
        return f"offline ({why}), {_writable(Path(os.environ.get('WANDB_DIR') or '.'))}"
    code = "import wandb; print(wandb.Api(timeout=20).viewer.username)"
    return f"online, logged in as {_ask(code)}"


def probe_mlflow() -> str:
    """Whether its server or database answers; a missing database is not created."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or setting("MLFLOW_TRACKING_URI")
    shown = redact(uri)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return f"{shown} will be made, {_writable(Path(uri.removeprefix('sqlite:///')).parent)}"
    code = "import os, mlflow; c = mlflow.MlflowClient(os.environ['PROBED']); "
    code += "print(len(c.search_experiments(max_results=1000)))"
    limits = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    try:
        return f"{shown} answers, experiments: {_ask(code, PROBED=uri, **limits)}"
    except Failure as error:
        raise Failure(f"{shown}: {error}") from None


def _ask(code: str, **variables: str) -> str:
    """What a short program prints, in a process of its own: SDKs keep what they were told."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise Failure(brief(reason))
    return done.stdout.strip()


def _writable(folder: Path) -> str:
    """Raises Failure unless `folder`, or what there is of it, can be written."""
    folder = folder.expanduser()
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not os.access(there, os.W_OK):
        raise Failure(f"{folder} cannot be written")
    return f"in {folder}"


PROBES: dict[str, Callable[[], str]] = {
    "trackio": probe_trackio,
    "wandb": probe_wandb,
    "mlflow": probe_mlflow,
}


def probe(trackers: Sequence[str]) -> list[str]:
    """Print how each tracker is configured; returns what is wrong."""
    problems = []
    for name in trackers:
        if name not in PROBES:
            continue
        try:
            print(f"{name}: {PROBES[name]()}", flush=True)
        except (Failure, subprocess.TimeoutExpired) as error:
            problems.append(f"{name} as configured: {error}")
    return problems


@contextmanager
def own_folder(keep: str | None) -> Iterator[None]:
    """Within the block, a current directory in which all trackers keep what they write."""
    with ExitStack() as stack:
        folder = keep or stack.enter_context(
            TemporaryDirectory(prefix="tracker-test-", ignore_cleanup_errors=True)
        )
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name in [n for n in os.environ if n.startswith(("WANDB_", "MLFLOW_", "TRACKIO_"))]:
            del os.environ[name]
        os.environ["TRACKIO_DIR"] = str(Path(folder, "trackio").resolve())
        os.environ["WANDB_MODE"] = "offline"
        stack.callback(os.chdir, Path.cwd())
        os.chdir(folder)
        yield


def round_trip(trackers: Sequence[str], *, kept: bool) -> list[str]:
    """Train, forward and read back in the current directory; returns what did not come back.

    Where to look at the run is printed only if it is `kept`.
    """
    import yaml

    values = settings()
    os.environ.pop("RANK", None)  # one process, however it was launched
    files = {"config.yaml": yaml.safe_dump({"Experiment Tracking": values})}
    info = {"seed": 0, "model": {"name": "made-up"}, "tags": ["test"], "optimizer": "none"}
    name = f"tracker-test_{time.strftime('%Y%m%d-%H%M%S')}"
    run = Run.create("outputs/tracker-test", name, files=files, info=info)
    assert isinstance(run, Run)
    with run:
        say = run.say if kept else partial(_say_warning, run)
        run.track(lambda run_dir, **_: launch(run_dir, trackers, values, say))
        fake_training(run)
    return [f"{name}: {text}" for name in trackers for text in compare(name, run.dir)]


def _say_warning(run: Run, text: str) -> None:
    if text.startswith("warning: "):
        run.say(text)


def main() -> int:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("trackers", metavar="NAMES", help="names, separated by commas, or all")
    flags.add_argument("--keep", metavar="DIR", help="keep the run and the trackers' files in DIR")
    given = flags.parse_args()
    trackers = parse_trackers(given.trackers, "NAMES")
    started = time.monotonic()
    problems = probe(trackers)
    with own_folder(given.keep):
        problems += round_trip(trackers, kept=bool(given.keep))
    if problems:
        raise Failure("\n  ".join(["not everything works:", *problems]))
    print(f"passed in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    run_main(main)
