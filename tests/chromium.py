"""Debian's Chromium, headless, with a fresh user directory and no network of its own accord."""

import shutil

FLAGS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
)


def missing():
    """Say what is not there, or nothing."""
    absent = [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]
    return f"Debian's {' and '.join(absent)} not installed (packages chromium and chromium-driver)" if absent else ""


def start(folder, size="1400,900"):
    """Start a browser with its user directory in a folder; it logs its console and its requests."""
    from selenium import webdriver  # noqa: PLC0415 - tests are skipped where nothing is to be started

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"window-size={size}", f"user-data-dir={folder}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
