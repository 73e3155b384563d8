"""Where to optimize, in a real browser: the ranking as text has it, links to modules and operators, what is hidden."""

import re

import pytest

from opflops import Cost, Profile, Row
from opflops.devices import Device
from opflops.report.page.bottleneck_data import MAX_ENTRIES
from opflops.units import duration

pytestmark = pytest.mark.browser

TOY = Device("toy", {"float32": 1000.0}, 100.0, "a drawing")


def row(op, module, seconds=None, flops=0, moved=0, dtype="float32", phase="forward", calls=1):
    return Row(module, "Linear", op, phase, dtype, calls, Cost(0, flops, 0, moved, 0), seconds)


# Two equal blocks, a head, and a loss outside; the adds of the blocks are short calls.
ROWS = (
    *(row("aten.mm", f"Net.blocks.{block}.fc", 3.0, flops=2_000, calls=2) for block in range(2)),
    *(row("aten.add", f"Net.blocks.{block}", 1e-5, phase="backward") for block in range(2)),
    row("aten.mm", "Net.head", 1.0, moved=50),
    row("aten.sum", "", 0.5, moved=10),
)


CUT_OFF = """return [...document.querySelectorAll('#bottlenecks thead th, #bottlenecks .limit')].filter(
    cell => cell.offsetWidth && cell.scrollWidth > cell.clientWidth).map(cell => cell.textContent)"""


def listed(page, kind):
    """Read the rows that are seen of a list, as texts."""
    script = """return [...document.querySelectorAll(`#bottlenecks [data-kind="${arguments[0]}"] tbody tr`)].filter(
        row => !row.hidden).map(row => [...row.cells].map(cell => cell.textContent))"""
    return page.run(script, kind)


def headings(page):
    return [heading.text for heading in page.all('#bottlenecks [data-kind="module"] thead th') if heading.text]


def click(page, selector):
    """Click in the middle of the screen, where no toolbar hides anything."""
    page.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
    page.one(selector).click()


def test_the_page_ranks_as_the_text_does(open_page):
    """Names without the only model's, shares, times, what half saves, and what holds back, whatever is filtered."""
    profile = Profile(ROWS)
    page = open_page(profile, "tree", device=TOY)
    found = profile.bottlenecks(TOY)
    assert page.one("#bottlenecks-panel").is_displayed()
    for kind, entries in (("module", found.modules), ("operator", found.operators)):
        assert listed(page, kind) == [
            [
                re.sub(r"^Net\.", "", each.label),
                "<0.1 %" if 0 < each.share < 0.0005 else f"{100 * each.share:.1f} %",
                duration(each.seconds),
                "<0.1 %" if 0 < each.saving < 0.0005 else f"{100 * each.saving:.1f} %",
                f"{each.speedup:.2f}×",
                each.limit,
            ]
            for each in entries
        ]
    assert [cells[0] for cells in listed(page, "module")] == ["blocks.0-1 ×2", "blocks.0-1.fc ×2", "head", "(outside)"]
    assert headings(page) == ["Module", "Share", "Time", "Half saves", "Speed-up", "Held back by"]
    assert page.run(CUT_OFF) == []
    assert page.text("#bottlenecks-basis") == "By measured time: 7.500 s in all operators that were timed."
    assert "filters do not change it" in page.text("#bottlenecks-hint")
    before = listed(page, "module")
    page.one('.chip[data-value="forward"]').click()
    assert listed(page, "module") == before
    notes = page.text("#bottlenecks-notes")
    assert "Held back in all by arithmetic 80.0 %, memory 20.0 %" in notes
    assert "a drawing" in notes


def test_an_entry_leads_to_its_module_and_operator(open_page):
    """The first of equal modules is selected in the tree; an operator is searched for."""
    page = open_page(Profile(ROWS), "tree", device=TOY)
    click(page, '#bottlenecks [data-kind="module"] tbody tr:nth-child(2) button')
    assert page.text('#tree [aria-selected="true"] .label') == "fc"
    assert page.one('#tree [aria-selected="true"] .name').get_attribute("title") == "Net.blocks.0.fc"
    title = page.one('#bottlenecks [data-kind="module"] tbody tr:nth-child(2) .name').get_attribute("title")
    assert title.splitlines()[0] == "Net.blocks.0-1.fc ×2"
    assert "also counted in Net.blocks.0-1 ×2" in title
    click(page, '#bottlenecks [data-kind="operator"] tbody tr:nth-child(1) button')
    assert page.run("return document.getElementById('search').value") == "aten.mm"


def test_a_few_are_shown_at_first(open_page):
    """Eight of each, the others behind a button; of very many only the largest are in the page. Names are text."""
    number, evil = MAX_ENTRIES + 5, "<b>x</b><img src=x onerror=alert()>"
    page = open_page(
        Profile([row(f"{evil}.op{each}", f"Net.{evil}{each}x", 1.0 + each) for each in range(number)]), "tree"
    )
    assert page.run("return document.querySelectorAll('#bottlenecks img, #bottlenecks b').length") == 0
    assert listed(page, "operator")[0][0].startswith("<b>x</b>")
    # Without a device there is no column of what holds back.
    assert headings(page) == ["Module", "Share", "Time", "Half saves", "Speed-up"]
    for kind in ("module", "operator"):
        selector = f'#bottlenecks div:has(> .fitted [data-kind="{kind}"]) .more'
        button = page.one(selector)
        assert len(listed(page, kind)) == 8
        assert button.text == f"{number - 8} more"
        click(page, selector)
        assert len(listed(page, kind)) == MAX_ENTRIES
        assert button.text == "Show fewer (5 smaller ones are not listed)"
        click(page, selector)
        assert len(listed(page, kind)) == 8


def test_a_phone_shows_fewer_columns(open_page, driver):
    """Nothing sticks out or is cut off."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 900, "deviceScaleFactor": 1, "mobile": True}
    )
    page = open_page(Profile(ROWS), "tree", device=TOY)
    assert page.run("return document.documentElement.scrollWidth") <= 360
    assert page.run(CUT_OFF) == []
    assert headings(page) == ["Module", "Share", "Half saves"]
