# SPDX-License-Identifier: MIT
"""The trackers' pages, with a run of ours on them: their real servers, in a real browser.

Screenshots go to $SCREENSHOTS, if that is set, as those in docs/images were made.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lib.errors import BadUse
from scripts.tracking.pages import link_runs, port_of
from tests.lib.conftest import forward, home, make_run  # noqa: F401, a fixture

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 180
CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1280,900"),
)

# All text of the page, also inside web components, and the number of drawn curves.
LOOK = """
const texts = []; let curves = 0;
const walk = node => {
  if (node.nodeType === 3) { texts.push(node.data); return; }
  if (node.matches && node.matches('svg path, svg polyline, canvas')) curves += 1;
  if (node.shadowRoot) walk(node.shadowRoot);
  node.childNodes.forEach(walk);
};
walk(document.body);
return [texts.join(' '), curves];
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """A directory in which the test of all trackers has passed; its run is in all of them there."""
    folder = tmp_path_factory.mktemp("ui")
    done = run_program(folder, "scripts.tracking.selftest", "--keep", ".", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def environment(folder: Path) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("WANDB_", "MLFLOW_"))}
    places = {"HOME": str(folder), "TRACKIO_DIR": str(folder / "trackio"), "WANDB_MODE": "offline"}
    return {**kept, **places, "PYTHONPATH": str(ROOT)}


def run_program(folder: Path, module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )


def run_of(folder: Path) -> Path:
    (run_dir,) = (folder / "outputs" / "tracker-test").iterdir()
    return run_dir


@contextmanager
def page(folder: Path, name: str, *options: str) -> Iterator[str]:
    """The address of a page whose server runs within the block, and stops on Ctrl-C."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "scripts.tracking.pages", "--port", str(port), *options, name]
    process = subprocess.Popen(command, cwd=folder, env=environment(folder), start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: urllib.request.urlopen(address, timeout=30).status == 200)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0


def wait_until(condition) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.fixture
def browser(tmp_path):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(PATIENCE_S)
    yield driver
    driver.quit()


def see(browser, address: str, name: str, *texts: str) -> None:
    """Open the page and wait until all `texts` and a curve are on it."""
    browser.get(address)

    def shown() -> bool:
        text, curves = browser.execute_script(LOOK)
        return curves > 0 and all(wanted in text for wanted in texts)

    wait_until(shown)
    if folder := os.environ.get("SCREENSHOTS"):
        time.sleep(3)  # until the curves have been drawn to their end
        browser.save_screenshot(str(Path(folder) / f"tracking-{name}.png"))


@pytest.mark.ui
def test_trackio(filled, browser):
    with page(filled, "dashboard") as address:
        see(browser, f"{address}/?project=tracker-test", "trackio", run_of(filled).name, "loss")


@pytest.mark.ui
def test_tensorboard(filled, browser):
    with page(filled, "tensorboard", "--logdir", "outputs/tracker-test") as address:
        name = run_of(filled).name
        wait_until(lambda: name in urllib.request.urlopen(f"{address}/data/runs").read().decode())
        see(browser, f"{address}/?tagFilter=loss#timeseries", "tensorboard", name, "/loss")


@pytest.mark.ui
def test_mlflow_over_http_and_in_the_browser(filled, browser):
    with page(filled, "mlflow-ui") as address:
        runs = ask(address, "runs/search", experiment_ids=["1"])["runs"]
        (run,) = (r for r in runs if r["info"]["run_name"] == run_of(filled).name)
        assert run["info"]["status"] == "FINISHED"
        run_id = run["info"]["run_id"]
        history = f"metrics/get-history?run_id={run_id}&metric_key=train/loss"
        assert len(ask(address, history)["metrics"]) == 100
        where = f"{address}/#/experiments/1/runs/{run_id}/model-metrics"
        see(browser, where, "mlflow", run_of(filled).name, "loss")


def ask(address: str, path: str, **body) -> dict:
    """MLflow's own HTTP interface."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_tensorboard_calls_runs_by_their_names(home):  # noqa: F811
    with make_run("first") as run:
        run.log({"train/loss": 1.0}, 1)
    assert forward(run.dir, "tensorboard") == (0, "")
    with page(home, "tensorboard", "--logdir", "runs") as address:
        seen = lambda: json.load(urllib.request.urlopen(f"{address}/data/runs"))  # noqa: E731
        wait_until(lambda: seen() == ["first"])
        second = home / "runs" / "second" / "logs" / "tensorboard"
        second.mkdir(parents=True)
        (event_file,) = (run.dir / "logs" / "tensorboard").iterdir()
        shutil.copy(event_file, second)
        wait_until(lambda: seen() == ["first", "second"])


def test_links_follow_the_runs(tmp_path):
    runs, links = tmp_path / "runs", tmp_path / "links"
    links.mkdir()
    for name in ("a", "b"):
        (runs / name / "logs" / "tensorboard").mkdir(parents=True)
    (runs / "untracked" / "logs").mkdir(parents=True)
    link_runs(runs, links)
    assert sorted(path.name for path in links.iterdir()) == ["a", "b"]
    shutil.rmtree(runs / "a")
    link_runs(runs, links)
    assert [path.name for path in links.iterdir()] == ["b"]


def test_a_taken_port_is_said(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for name in ("dashboard", "mlflow-ui", "tensorboard"):
            done = run_program(tmp_path, "scripts.tracking.pages", "--port", port, name)
            assert done.returncode == 1
            assert f"{name}: port {port} is taken" in done.stderr
            assert "PORT=" in done.stderr


@pytest.mark.parametrize("port", ["80", "0", "65536", "eighty", "-1"])
def test_a_port_is_a_number_that_a_user_may_take(port):
    with pytest.raises(BadUse, match="from 1024 to 65535, such as 5000"):
        port_of(port, 5000)


def test_wandb_sync_without_a_login_says_the_cure(tmp_path):
    done = run_program(tmp_path, "scripts.tracking.pages", "wandb-sync")
    assert done.returncode == 1
    assert "wandb login" in done.stderr
