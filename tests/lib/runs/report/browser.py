# SPDX-License-Identifier: MIT
"""A headless Chromium for pages of this project."""

from pathlib import Path

from selenium import webdriver

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def open_browser(profile: Path, size: str = "1200,900") -> webdriver.Chrome:
    """A browser that keeps what a page writes to its console; the caller quits it."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={size}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(
        options=options, service=webdriver.ChromeService("/usr/bin/chromedriver")
    )
    driver.set_page_load_timeout(120)
    return driver


def log_of(driver: webdriver.Chrome) -> list[str]:
    """What pages have written to the console since the last call."""
    return [entry["message"] for entry in driver.get_log("browser")]
