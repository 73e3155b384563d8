"""Debian's Chromium, headless, and pages opened from disk in it; whatever a test does, nothing may be complained of."""

import json
import time

import chromium
import pytest
import torch
from required import absent

from opflops import OpFlopMode
from opflops.example import INPUT_SHAPE, SimpleCNN

SECONDS_TO_START = 30


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """Start one browser for all tests."""
    if chromium.missing():
        absent("browser", chromium.missing())
    started = chromium.start(tmp_path_factory.mktemp("chromium"))
    yield started
    started.quit()


@pytest.fixture(scope="session")
def simple_cnn():
    """The example, forward and backward."""
    model, x = SimpleCNN(), torch.zeros(INPUT_SHAPE)
    with OpFlopMode() as mode:
        model(x).sum().backward()
    return mode.profile


class Page:
    """Hold a page that is open, and short ways to ask it things."""

    def __init__(self, driver):
        self.driver = driver

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def wait(self, script, *arguments):
        """Wait until a script answers with something true, and return that."""
        end = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < end:
            if found := self.run(f"return ({script})", *arguments):
                return found
            time.sleep(0.02)
        raise AssertionError(f"never true: {script}; the browser says {self.driver.get_log('browser')}")

    def press(self, *keys):
        """Type into whatever has the focus."""
        from selenium.webdriver import ActionChains  # noqa: PLC0415 - skipped without it

        ActionChains(self.driver).send_keys(*keys).perform()

    def rows(self):
        """Name the rows of the tree that are in the document, in order, as (level, name)."""
        script = """return [...document.querySelectorAll('#tree tbody tr[data-node]')].map(
            row => [Number(row.ariaLevel), row.querySelector('.label').textContent])"""
        return [tuple(row) for row in self.run(script)]

    def row(self, name):
        script = """return [...document.querySelectorAll('#tree tbody tr[data-node]')].find(
            row => row.querySelector('.label').textContent === arguments[0])"""
        return self.run(script, name)

    def attribute(self, name, attribute):
        """Read an attribute of a row in one step: the page may draw its rows anew between two."""
        script = """return [...document.querySelectorAll('#tree tbody tr[data-node]')].find(
            row => row.querySelector('.label').textContent === arguments[0]).getAttribute(arguments[1])"""
        return self.run(script, name, attribute)

    def exact_value(self, row, column):
        """Return a cell's number in full, as its tooltip has it."""
        return row.find_element("css selector", f'[data-column="{column}"]').get_attribute("title")

    def focused(self):
        return self.run(
            "return document.activeElement.querySelector('.label')?.textContent ?? document.activeElement.id"
        )

    def operators(self):
        """Read the lines of operators: name, value, share, lengths of bars by phase, and whether they are faded."""
        script = """return [...document.querySelectorAll('#operators li:has(.name)')].map(line => [
            ...['.name', '.value', '.part'].map(part => line.querySelector(part).textContent),
            Object.fromEntries([...line.querySelectorAll('[data-phase]')].map(
                bar => [bar.dataset.phase, parseFloat(bar.style.width) / 100])),
            line.classList.contains('faded')])"""
        return self.run(script)

    def sectors(self):
        return self.run("return document.getElementById('hierarchy').data[0].labels")

    def click_sector(self, label):
        """Click into the chart where a sector of that name is drawn."""
        from selenium.webdriver import ActionChains  # noqa: PLC0415 - as above

        script = """return [...document.querySelectorAll('#hierarchy g.slice')].find(
            slice => slice.__data__.data.data.label === arguments[0]).querySelector('path.surface')"""
        ActionChains(self.driver).move_to_element(self.run(script, label)).click().perform()

    def path(self):
        return [step.text for step in self.all("#path button")]


@pytest.fixture
def open_page(driver, tmp_path):
    """Open a profile's page from disk; afterwards see that no request left it and the console is empty."""

    def opened(profile, until="charts", **options):
        path = tmp_path / "page.html"
        path.write_text(profile.to_html(**options), encoding="utf-8")
        return visit(path, until)

    def visit(path, until="charts"):
        """Open a file and wait until it has its ``"tree"``, or its ``"charts"`` too."""
        driver.get(path.as_uri())
        page = Page(driver)
        page.wait("['charts', arguments[0]].includes(document.documentElement.dataset.ready)", until)
        return page

    opened.visit = visit
    driver.get("about:blank")
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    for log in ("browser", "performance"):
        driver.get_log(log)
    yield opened
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))] == []
