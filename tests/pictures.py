"""Draw the README's pictures: the report of a terminal as SVG, and the page as Chromium shows it.

``python tests/pictures.py`` writes them to .github; a test compares the first with what is printed today.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import chromium

from opflops.cli import main
from opflops.report.text.color import BOLD, DIM, GREEN, RED, YELLOW

FOLDER = Path(__file__).parent.parent / ".github"
TREE, PAGE = FOLDER / "tree.svg", FOLDER / "page.png"

# What the README's picture of a terminal shows.
COMMAND = "opflops opflops.example:GPT --input 1,1024:int64 --backward"
COLUMNS = 110

_COLORS = {RED: "#ff7b72", YELLOW: "#e3b341", GREEN: "#7ee787", DIM: "#8b949e"}
_PLAIN, _GROUND = "#e6edf3", "#0d1117"
_FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"
_LINE, _CHARACTER, _MARGIN = 18, 7.8, 16
_ESCAPE = re.compile(r"\x1b\[([\d;]*)m")


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


def printed(command):
    """Run a command line of opflops in a terminal of so many columns, and return what it prints, colors included."""
    before = {name: os.environ.get(name) for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR")}
    os.environ.update(COLUMNS=str(COLUMNS), FORCE_COLOR="1")
    os.environ.pop("NO_COLOR", None)
    out = Terminal(io.BytesIO(), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(out):
            assert main(command.split()[1:]) == 0
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    out.flush()
    return out.buffer.getvalue().decode()


def spans(line):
    """Split a line at its escape codes into texts, each with the codes that are on."""
    texts = _ESCAPE.split(line)
    codes = ()
    for place, text in enumerate(texts):
        if place % 2:
            codes = () if text in ("", "0") else (*codes, *text.split(";"))
        elif text:
            yield text, codes


def svg(lines):
    """Draw lines of a terminal."""
    width = round(2 * _MARGIN + _CHARACTER * max(len(_ESCAPE.sub("", line)) for line in lines))
    height = 2 * _MARGIN + _LINE * len(lines)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f'<rect width="100%" height="100%" rx="8" fill="{_GROUND}"/>',
        (
            "<g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" "
            f'font-size="13" fill="{_PLAIN}">'
        ),
    ]
    for number, line in enumerate(lines):
        y = _MARGIN + _LINE * number + 13
        column = 0
        for text, codes in spans(line):
            if text.strip():
                fill = next((f' fill="{_COLORS[code]}"' for code in codes if code in _COLORS), "")
                weight = ' font-weight="bold"' if BOLD in codes else ""
                # Each text is as wide as its columns, whatever font the reader has.
                x, length = _MARGIN + _CHARACTER * column, _CHARACTER * len(text)
                place = f'x="{x:.1f}" y="{y}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs"'
                drawn.append(f'<text {place} xml:space="preserve"{fill}{weight}>{escape(text)}</text>')
            column += len(text)
    return "\n".join([*drawn, "</g>", "</svg>", ""])


def tree():
    """Draw what the command prints, to the end of the first table."""
    header, table, *_ = printed(COMMAND).split("\n\n")
    return svg([f"$ {COMMAND}", *header.splitlines(), "", *table.splitlines()])


def screenshot(path):
    """Let Chromium draw the page of the same command, with memory and a device."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "gpt.html"
        # As a program of its own, so that no line of this file is where the peak was reached.
        command = [sys.executable, "-m", *COMMAND.split(), "--memory", "--roofline", "h100-sxm", "-o", str(page)]
        subprocess.run(command, check=True)
        with chromium.start(Path(folder) / "browser", "1400,1560") as driver:
            driver.get(page.as_uri())
            driver.implicitly_wait(60)
            driver.find_element("css selector", 'html[data-ready="charts"]')
            driver.save_screenshot(str(path))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    TREE.write_text(tree(), encoding="utf-8")
    screenshot(PAGE)
