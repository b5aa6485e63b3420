# SPDX-License-Identifier: MIT
"""The picture of a report of runs or a sweep for docs/images: its page in Chromium, as PNG.

    python -m tests.lib.runs.report.pictures report.html docs/images/report.png [SELECTOR]

Curves are smoothed a little, SELECTOR (default: the header) is at the top, and the pointer is over
the first chart.
"""

import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from tests.lib.runs.report.browser import open_browser

_SMOOTH = """
const slider = document.getElementById('smoothing');
if (slider) {
  slider.value = 3;
  slider.dispatchEvent(new Event('input', {bubbles: true}));
}
document.querySelector('.chart').scrollIntoView();
"""


def take(page: Path, picture: Path, selector: str) -> None:
    """Write `picture`, 1200 pixels wide, in 128 colours: the page is nearly flat."""
    with tempfile.TemporaryDirectory() as profile:
        browser = open_browser(Path(profile), size="1200,1750")
        try:
            browser.get(page.resolve().as_uri())
            browser.execute_script(_SMOOTH)
            time.sleep(2)  # for the charts, which are drawn when they come into sight
            browser.execute_script(f"document.querySelector('{selector}').scrollIntoView()")
            chart = browser.find_element(By.CSS_SELECTOR, ".chart .nsewdrag")
            ActionChains(browser).move_to_element(chart).perform()
            time.sleep(1)
            png = browser.get_screenshot_as_png()
        finally:
            browser.quit()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    take(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "header")
