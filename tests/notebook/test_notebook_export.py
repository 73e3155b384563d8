"""A notebook that nbconvert executes: its outputs, and its HTML export in Chromium, light and dark, wide and narrow."""

import importlib.util
import json
import os
import subprocess
import sys

import chromium
import pytest
from required import absent

SETUP = """
import warnings; warnings.simplefilter("ignore")
import torch
from torch.export import Dim
from torch.nn.parallel import DistributedDataParallel
from opflops import OpFlopMode, Profile, annotate, count, plan
from opflops.example import INPUT_SHAPE, SimpleCNN

class GPT(torch.nn.Module):
    def __init__(self):
        super().__init__()
        blocks = (torch.nn.TransformerEncoderLayer(64, 4, 256, batch_first=True) for _ in range(12))
        self.wte, self.blocks = torch.nn.Embedding(500, 64), torch.nn.ModuleList(blocks)

    def forward(self, ids):
        x = self.wte(ids)
        for block in self.blocks:
            x = block(x)
        return x @ self.wte.weight.T

model, x = SimpleCNN(), torch.zeros(INPUT_SHAPE)
with OpFlopMode(memory=True) as m:
    model(x).sum().backward()
layer = torch.nn.TransformerEncoderLayer(64, 4, 256, dropout=0, batch_first=True)
p = count(layer, torch.zeros(2, 16, 64), dynamic_shapes=({0: Dim("batch"), 1: Dim("seq")},))
"""
CELLS = [
    SETUP,
    "m",
    "OpFlopMode()",
    "m.profile.memory",
    "m.profile.roofline('h100-sxm')",
    "m.profile.bottlenecks('h100-sxm')",
    "p",
    "p.scaling()",
    "m.profile - m.profile.where(phase='forward')",
    "m.profile.resources('h100-sxm', steps=1e6, mfu=0.4)",
    "count(GPT(), torch.zeros(2, 16, dtype=torch.int64), backward=True)",
    "m.profile.by('module', 'phase')",
    "plan(lambda _: DistributedDataParallel(layer), torch.zeros(2, 4, 64), mesh={'dp': 4}, memory=True)",
    "annotate(model, m.profile)",
    "m.table('op', tablefmt='html')",
    "m.profile.table()",
]
EXECUTE = """
import nbformat, sys
from jupyter_client.manager import KernelManager
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ExecutePreprocessor

notebook = nbformat.read("given.ipynb", 4)
manager = KernelManager()
# No kernel has to be registered: it is the interpreter that runs the tests.
manager.kernel_spec.argv[0] = sys.executable
ExecutePreprocessor(timeout=120).preprocess(notebook, km=manager)
nbformat.write(notebook, "executed.ipynb")
# Without what nbconvert would fetch from the network.
exporter = HTMLExporter(template_name="lab", require_js_url="", mathjax_url="", mermaid_js_url="")
html, _ = exporter.from_notebook_node(notebook)
open("exported.html", "w", encoding="utf-8").write(html)
"""
TOO_WIDE = """
return [...document.querySelectorAll('.opflops .o')].filter(each => each.scrollWidth > each.clientWidth + 1)
  .map(each => each.innerText.slice(0, 80));
"""
# Words of tables with formulas that are on more than one line; names may be wrapped between their parts.
BROKEN = """
const broken = [], range = document.createRange();
for (const table of document.querySelectorAll('.opflops [class*=" q"]')) {
  const walker = document.createTreeWalker(table, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    for (const word of walker.currentNode.data.matchAll(/[^ ]+/g)) {
      range.setStart(walker.currentNode, word.index);
      range.setEnd(walker.currentNode, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(({top}) => top)).size > 1) broken.push(word[0]);
    }
  }
}
return broken;
"""
TEXT_ALONE = ["annotate(model, m.profile)", "m.profile.table()"]
SIZES, SCHEMES = (1100, 480), ("light", "dark")
# The least contrast between any text and what is behind it.
CONTRAST = """
const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const parse = text => text.match(/[\\d.]+/g).map(Number);
let least = 21;
for (const each of document.querySelectorAll(".opflops .o, .opflops span, .opflops p, .opflops dd, .opflops pre")) {
  const box = parse(getComputedStyle(each.closest(".o")).backgroundColor);
  const color = parse(getComputedStyle(each).color), alpha = color[3] ?? 1;
  if (box.length > 3 && box[3] < 1) return 0;
  const mixed = color.slice(0, 3).map((v, i) => v * alpha + box[i] * (1 - alpha));
  const [low, high] = [luminance(mixed), luminance(box)].sort((a, b) => a - b);
  least = Math.min(least, (high + .05) / (low + .05));
}
return least;
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Execute the notebook and export it, in a process of its own; return the folder of both."""
    missing = [each for each in ("nbconvert", "ipykernel") if importlib.util.find_spec(each) is None]
    if missing:
        absent("notebook", f"{' and '.join(missing)} not installed")
    folder = tmp_path_factory.mktemp("notebook")
    empty = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    cells = [{**empty, "source": each} for each in CELLS]
    notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}
    (folder / "given.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONWARNINGS": "ignore",
        "IPYTHONDIR": str(folder),
        "JUPYTER_CONFIG_DIR": str(folder),
    }
    subprocess.run([sys.executable, "-c", EXECUTE], cwd=folder, env=environment, check=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def executed(exported):
    return json.loads((exported / "executed.ipynb").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    if chromium.missing():
        absent("browser", chromium.missing())
    started = chromium.start(tmp_path_factory.mktemp("chromium"), "1100,900")
    yield started
    started.quit()


@pytest.fixture(scope="module")
def page(exported):
    return exported / "exported.html"


def resize(driver, width, height):
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def outputs_of(executed, source):
    (cell,) = [each for each in executed["cells"] if "".join(each["source"]) == source]
    (output,) = cell["outputs"]
    return {mime: "".join(text) for mime, text in output["data"].items()}


def test_each_cell_shows_a_display(executed):
    """No address, no quotes, small HTML; the plain text is that of print."""
    for source in CELLS[1:]:
        data = outputs_of(executed, source)
        assert len(data["text/html"].encode()) < 100_000
        assert " object at 0x" not in data["text/plain"]
        assert not data["text/plain"].startswith(("'", '"'))
        assert "<script" not in data["text/html"]
    for source in TEXT_ALONE:
        assert "\\n" not in outputs_of(executed, source)["text/plain"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", SIZES)
def test_the_export_can_be_read(driver, page, width, scheme):
    """Nothing is wider than the window, all text has contrast, with nbconvert's theme and with none."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    resize(driver, width, 900)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get(page.as_uri())
    assert len(driver.find_elements("css selector", ".opflops")) == len(CELLS) - 1
    assert driver.execute_script(CONTRAST) >= 4.5
    if folder := os.environ.get("OPFLOPS_SCREENSHOTS"):
        driver.execute_script("document.querySelectorAll('.jp-Cell-inputWrapper').forEach(each => each.remove())")
        height = driver.execute_script("return document.body.scrollHeight")
        resize(driver, width, height)
        driver.save_screenshot(f"{folder}/notebook_{width}_{scheme}.png")
    assert not driver.execute_script(TOO_WIDE)
    # Without the variables of a theme, the colors are those that the system prefers.
    driver.execute_script("for (const e of document.querySelectorAll('style')) if (!e.closest('.opflops')) e.remove()")
    assert driver.execute_script(CONTRAST) >= 4.5
    box = driver.execute_script("return getComputedStyle(document.querySelector('.opflops .o')).backgroundColor")
    assert (box == "rgb(255, 255, 255)") == (scheme == "light")
    errors = [each for each in driver.get_log("browser") if each["level"] == "SEVERE" and "opflops" in each["message"]]
    assert not errors


@pytest.mark.parametrize("width", [1100, 700, 480])
def test_formulas_are_never_broken_within_a_term(driver, page, width):
    """Those of a scaling: beside each other where that has room, else each on a line with the name of its column."""
    resize(driver, width, 900)
    driver.get(page.as_uri())
    assert driver.execute_script(BROKEN) == []
    (table,) = driver.find_elements("css selector", '.opflops [class*=" q"]')
    line = table.find_element("css selector", "div.r:not(.h)")
    _, *cells = line.find_elements("css selector", "span")
    is_stacked = cells[1].location["y"] > cells[0].location["y"]
    assert is_stacked == (width == 480)
    assert table.find_element("css selector", ".h").is_displayed() != is_stacked
    heading = driver.execute_script("return getComputedStyle(arguments[0], '::before').content", cells[0])
    assert heading == ('"in batch: "' if is_stacked else "none")


def test_the_tree_folds(driver, page):
    """A click on a module hides what is below it, and another shows it; operators are folded away at first."""
    driver.get(page.as_uri())
    tree = driver.find_element("css selector", ".opflops .g.k details")
    line = tree.find_element("css selector", "summary")
    below = tree.find_element("css selector", "div.r")
    assert tree.get_attribute("open")
    assert below.is_displayed()
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", line)
    line.click()
    assert not below.is_displayed()
    line.click()
    assert below.is_displayed()
    assert not driver.find_element("css selector", ".opflops details.c").get_attribute("open")
