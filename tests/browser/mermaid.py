"""Mermaid's own parser and renderer, in a headless Chromium that reaches no network."""

import json
import os
from pathlib import Path

import chromium

_DRAW = """
const [text, done] = arguments;
(async () => {
    const parsed = await mermaid.parse(text);
    const {svg} = await mermaid.render("drawn" + (window.drawn = (window.drawn || 0) + 1), text);
    const out = document.getElementById("out");
    out.innerHTML = svg;
    const texts = [...out.querySelectorAll("foreignObject, text")].map(each => each.textContent.trim());
    done({type: parsed.diagramType, texts: texts.filter(each => each)});
})().catch(error => done({error: String(error)}));
"""


def missing():
    """Tell why diagrams cannot be drawn here, or "" where they can."""
    script = os.environ.get("OPFLOPS_MERMAID", "")
    if not Path(script).is_file():
        return f"OPFLOPS_MERMAID is to name npm's mermaid.min.js, and is {script!r}"
    return chromium.missing()


def open_mermaid(browser, folder):
    """Open a page that has Mermaid as GitHub has it: its defaults, and nothing drawn by itself."""
    page = folder / "mermaid.html"
    script = json.dumps(Path(os.environ["OPFLOPS_MERMAID"]).resolve().as_uri())
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><body style="background: white"><div id="out"></div>'
        f"<script src={script}></script><script>mermaid.initialize({{startOnLoad: false}})</script>",
        encoding="utf-8",
    )
    browser.get(page.as_uri())
    return browser


def draw(browser, text):
    """Parse and render a diagram; returns its type and the texts that it shows.

    Raises:
        AssertionError: Mermaid refuses it; the message is Mermaid's.
    """
    found = browser.execute_async_script(_DRAW, text)
    assert "error" not in found, f"{found.get('error')}\n{text}"
    return found["type"], found["texts"]
