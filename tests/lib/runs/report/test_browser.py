# SPDX-License-Identifier: MIT
"""The report in a real browser, opened as a file: what it draws, and that nothing leaves it."""

import itertools
import re

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from lib.runs.report.page import write_report
from lib.runs.run import Run
from lib.runs.stored import load_run
from tests.lib.runs.report.browser import log_of, open_browser
from tests.lib.runs.report.conftest import HOSTILE, make_run

pytestmark = pytest.mark.ui

# Of the chart with a quantity: what is drawn, and how.
LOOK = """
const chart = [...document.querySelectorAll('.chart')].find(
  (element) => element.parentElement.querySelector('h4').textContent === arguments[0]);
const full = chart._fullLayout;
return chart.dataset.drawn && {
  lines: [...chart.querySelectorAll('.scatterlayer path.js-line')].map((e) => e.getAttribute('d')),
  values: chart.data.map((trace) => trace.y),
  scale: full.yaxis.type, x: full.xaxis.title.text, range: full.xaxis.range,
  names: chart.data.map((trace) => trace.name),
  buttons: [...chart.querySelectorAll('.modebar-btn')].map((button) => button.dataset.title),
  on_log: !chart.parentElement.querySelector('.on-log').hidden,
  opacities: chart.data.map((trace) => trace.opacity ?? 1),
};
"""
SET = """
const element = document.getElementById(arguments[0]);
if (element.type === 'checkbox') element.checked = arguments[1]; else element.value = arguments[1];
element.dispatchEvent(new Event('input', {bubbles: true}));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = open_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def of_one(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "report.html"
    write_report([run], path)
    return path.as_uri()


@pytest.fixture
def page(browser, of_one):
    """The report of one run, freshly loaded, with the loss drawn."""
    browser.get(of_one)
    wait(browser, lambda: look(browser, "loss"))
    return browser


def wait(browser, condition) -> None:
    WebDriverWait(browser, 60).until(lambda _: condition())


def look(browser, quantity: str) -> dict:
    return browser.execute_script(LOOK, quantity)


def test_nothing_leaves_and_nothing_hostile_runs(page):
    entries = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    for details in page.find_elements(By.CSS_SELECTOR, "details:not([open]) > summary"):
        page.execute_script("arguments[0].scrollIntoView({block: 'center'})", details)
        details.click()
    page.execute_script("document.querySelectorAll('.chart').forEach((e) => e.scrollIntoView())")
    wait(page, lambda: look(page, "system/cpu") and look(page, HOSTILE))
    assert [name for name in page.execute_script(entries) if not name.startswith("data:")] == []
    assert page.execute_script("return window.pwned") is None
    assert HOSTILE in page.find_element(By.ID, "summary-0").text
    assert log_of(page) == []
    buttons = look(page, "loss")["buttons"]
    assert "Zoom" in buttons and not [title for title in buttons if "Share" in title]


@pytest.mark.parametrize(
    "attempt",
    [
        "fetch('https://example.org/').catch(() => 0)",
        "new Image().src = 'https://example.org/x.png'",
        "const s = document.createElement('script'); s.text = 'pwned = 1'; document.body.append(s)",
        "document.body.setAttribute('onclick', 'pwned = 1'); document.body.click()",
    ],
)
def test_the_policy_stops_what_would_get_through(page, attempt):
    page.execute_script(attempt)
    wait(page, lambda: any("Content Security Policy" in line for line in log_of(page)))
    assert page.execute_script("return window.pwned") is None


def steepness(path: str) -> float:
    """How far an SVG path goes up and down."""
    heights = [float(pair.split(",")[1]) for pair in path[1:].split("L")]
    return sum(abs(a - b) for a, b in itertools.pairwise(heights))


def test_controls_change_what_is_drawn(page):
    plain = look(page, "loss")
    assert (plain["scale"], plain["names"]) == ("linear", ["train", "val"])
    page.execute_script(SET, "log", True)
    assert look(page, "loss")["scale"] == "log"
    assert not look(page, "loss")["on_log"] and look(page, "accuracy")["on_log"] is False
    page.execute_script(SET, "log", False)
    page.execute_script(SET, "smoothing", 10)
    smooth = look(page, "loss")
    assert smooth["opacities"] == [0.3, 1, 0.3, 1]  # the raw curve stays, faint
    assert smooth["values"][::2] == plain["values"]
    raw, smoothed = smooth["lines"][:2]
    assert raw != smoothed and steepness(smoothed) < steepness(raw) / 2
    page.execute_script(SET, "smoothing", 0)
    axes = {}
    for axis in ("steps", "seconds", "epochs"):
        page.execute_script(SET, "axis", axis)
        axes[axis] = look(page, "loss")
    assert [axes[axis]["x"] for axis in axes] == ["step", "minutes since the start", "epoch"]
    assert axes["epochs"]["range"][1] == pytest.approx(axes["steps"]["range"][1] / 20)


def test_hovering_shows_all_curves_of_a_step(page):
    chart = page.find_element(By.CSS_SELECTOR, ".chart .nsewdrag")
    ActionChains(page).move_to_element(chart).perform()
    said = page.find_element(By.CSS_SELECTOR, ".chart .hoverlayer").text
    # An evaluation at another step than the title's says so.
    assert re.fullmatch(r"5\d\ntrain : 0\.\d+\nval : (\(50, 0\.26\d+\)|0\.26\d+)", said), said
    page.save_screenshot("/tmp/w/rpt/hover.png")
    print(said)


def test_settings_are_filtered(page):
    def shown() -> list[str]:
        rows = page.find_elements(By.CSS_SELECTOR, ".settings tr")
        return [row.find_element(By.TAG_NAME, "th").text for row in rows if row.is_displayed()]

    assert len(shown()) == 5
    page.find_element(By.CSS_SELECTOR, ".wanted").send_keys("rate 0.002")
    assert shown() == ["LEARNING_RATE"]
    page.find_element(By.CSS_SELECTOR, ".wanted").clear()
    page.find_element(By.CSS_SELECTOR, ".only-changed").click()
    assert shown() == ["LEARNING_RATE"]


def test_of_several_runs_each_can_be_hidden(browser, run, tmp_path):
    name = "<a href=x onclick=pwned=1><img src=x onerror=pwned=1>%{x}$1$"  # as a directory can be
    other = load_run(make_run(tmp_path, "beta", rate=1e-3).dir.rename(tmp_path / name))
    write_report([run, other], tmp_path / "report.html")
    browser.get((tmp_path / "report.html").as_uri())
    wait(browser, lambda: look(browser, "loss"))
    shown = name.replace("<", "&lt;")
    names = ["alpha (train)", "alpha (val)", f"{shown} (train)", f"{shown} (val)"]
    assert look(browser, "loss")["names"] == names
    chart = browser.find_element(By.CSS_SELECTOR, ".chart .nsewdrag")
    ActionChains(browser).move_to_element(chart).perform()
    assert f"{name} (train)" in browser.find_element(By.CSS_SELECTOR, ".chart .hoverlayer").text
    browser.find_element(By.CSS_SELECTOR, ".shown[value='0']").click()
    assert look(browser, "loss")["names"] == names[2:]
    for button, left in (("none", []), ("all", names)):
        browser.find_element(By.XPATH, f"//button[text()='{button}']").click()
        assert look(browser, "loss")["names"] == left
    assert log_of(browser) == []
    assert browser.execute_script("return window.pwned") is None


def test_a_thinned_curve_is_smoothed_by_its_means(browser, tmp_path):
    """Not by the extremes that are drawn, whose middle says nothing about the mean."""
    with Run.create(tmp_path, "spiky") as run:
        for step in range(5000):
            run.log({"train/loss": float(step % 10 == 0)}, step)
    write_report([load_run(run.dir)], tmp_path / "report.html")
    browser.get((tmp_path / "report.html").as_uri())
    wait(browser, lambda: look(browser, "loss"))
    browser.execute_script(SET, "smoothing", 20)
    raw, smoothed = look(browser, "loss")["values"]
    assert 1000 < len(raw) <= 2000 and sum(raw) / len(raw) > 0.3
    assert smoothed == pytest.approx([0.1] * len(smoothed), rel=0.1)


def test_without_scripts_on_a_phone_and_in_the_dark(browser, of_one):
    """Scripts off: the tables are there; nothing is wider than a phone; dark means dark."""
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        browser.get(of_one)
        text = browser.find_element(By.TAG_NAME, "body").text
        for said in ("The curves need JavaScript", "val/loss", "LEARNING_RATE", "make replay"):
            assert said in text
        wide = "return document.documentElement.scrollWidth"
        assert browser.execute_script(wide) <= 360
        colour = "return getComputedStyle(document.body).backgroundColor"
        assert browser.execute_script(colour) == "rgb(20, 23, 26)"
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
