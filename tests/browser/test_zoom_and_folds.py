"""Equal blocks and costless operators are one line, every view follows the zoom and the search, and names have room."""

import pytest

from opflops import Cost, Profile, Row

pytestmark = pytest.mark.browser

LAYERS = 4
FREE = ("aten.view", "aten.t", "aten.detach")


def block(path, scale=1):
    """A product of 10 and a sum of 3, and operators that cost nothing, before and between them."""
    row = Row(f"{path}.linear", "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=10 * scale))
    return [
        Row(row.module, "Linear", FREE[0], "forward", "float32", 2, Cost()),
        row,
        *(Row(row.module, "Linear", op, "forward", "float32", 1, Cost()) for op in FREE[1:]),
        Row(path, "Block", "aten.add", "forward", "float32", 1, Cost(ops=3 * scale)),
    ]


@pytest.fixture(scope="module")
def profile():
    """Work outside modules first, then four equal blocks, then a wider one, then a head."""
    rows = [Row("", "", "aten.sum", "forward", "float32", 1, Cost(ops=5))]
    for index in range(LAYERS):
        rows += block(f"Net.layers.{index}")
    rows += block("Net.layers.4", scale=7)
    rows.append(Row("Net.head", "Linear", "aten.addmm", "forward", "float32", 1, Cost(macs=100)))
    return Profile(rows)


def names(page):
    return [name for _, name in page.rows()]


def test_equal_blocks_are_one_line_as_in_the_terminal(open_page, profile):
    """Their name is that of the text report, their numbers are sums, and opening it shows each."""
    page = open_page(profile)
    assert "0-3 ×4" in profile.table()
    assert "0-3 ×4" in names(page)
    assert "4" in names(page)
    assert not {"0", "1", "2", "3"} & set(names(page))
    folded = page.row("0-3 ×4")
    assert page.exact_value(folded, "macs") == "40 macs"
    assert page.exact_value(folded, "flops") == f"{LAYERS * (2 * 10 + 3)} flops"
    assert page.attribute("0-3 ×4", "aria-expanded") == "false"
    folded.find_element("css selector", ".toggle").click()
    assert [name for name in names(page) if name in {"0", "1", "2", "3", "4"}] == ["0", "1", "2", "3", "4"]
    assert page.exact_value(page.row("2"), "macs") == "10 macs"


def test_costless_operators_are_one_line_after_the_others(open_page, profile):
    """It says how many they are, has the sum of their calls, and opens to each; the first to run was one of them."""
    page = open_page(profile.where(module="Net.layers.4.linear"))
    page.one("#collapse").click()
    page.one("#expand").click()
    below = names(page)[names(page).index("linear") + 1 :]
    assert below == ["aten.mm", f"{len(FREE)} operators without cost", *FREE]
    assert page.exact_value(page.row(below[1]), "calls") == "4 calls"


def test_work_outside_modules_comes_last(open_page, profile):
    """Although it ran first."""
    page = open_page(profile)
    assert [name for level, name in page.rows() if level == 1] == ["Net", "(outside)"]


def test_all_views_follow_the_zoom(open_page, profile):
    """Cards, tree, total and operators have the numbers of the zoomed module alone; a button shows all again."""
    page = open_page(profile, measure="macs")

    def whole():
        return page.text('.measure:has([value="macs"]) strong')

    def operators():
        return len(page.operators())

    assert (whole(), operators()) == ("210", 2)
    assert not page.one("#zoomed").is_displayed()
    page.row("4").click()
    page.press("\ue007")
    page.wait("document.getElementById('hierarchy').data[0].labels[0] === '4'")
    assert (whole(), operators()) == ("70", 1)
    assert page.rows()[0] == (1, "4")
    assert "head" not in names(page)
    assert page.text("#tree tfoot th") == "Total of 4"
    assert page.row("4").find_element("css selector", ".share").text == "100.0 %"
    assert page.text("#zoomed-name") == "Net.layers.4"
    page.run("document.getElementById('show-all').click()")
    page.wait("document.getElementById('hierarchy').data[0].labels[0] !== '4'")
    assert (whole(), operators()) == ("210", 2)
    assert "head" in names(page)
    assert page.text("#tree tfoot th") == "Total"


def test_a_search_marks_areas_and_bars(open_page, profile):
    """What it neither finds nor has in it fades, until the search ends."""
    page = open_page(profile, measure="macs")
    script = """(() => { const {labels, marker} = document.getElementById('hierarchy').data[0];
        return Object.fromEntries(labels.map((label, place) => [label, marker.colors[place]])) })()"""
    faint = "document.querySelectorAll('#operators .faded').length"
    before = page.run(f"return {script}")
    page.press("/", "head")
    assert page.text("#matches") == "1 match"
    page.wait(f"{faint} === 1")
    during = page.run(f"return {script}")
    assert during["head"] == before["head"]
    assert during["Net"] == before["Net"]
    assert during["4"] != before["4"]
    page.press("\ue00c")
    page.wait(f"{faint} === 0")
    assert page.run(f"return {script}") == before


def test_bars_have_their_values(open_page, profile):
    """The number as in the tree, and the share of all: 110 of 210 in products of layers, 100 in the head."""
    page = open_page(profile, measure="macs")
    assert [(value, part) for _, value, part, _, _ in page.operators()] == [("110", "52.4 %"), ("100", "47.6 %")]


@pytest.mark.parametrize("width", [480, 800, 1100, 1400])
def test_names_have_room_before_numbers(open_page, driver, profile, width):
    """The column of names is never below 200 pixels; numbers are hidden instead, and nothing sticks out."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page = open_page(profile)
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run("return document.querySelector('#tree th.name').getBoundingClientRect().width") >= 200
    shown = [heading.text for heading in page.all("#tree thead th") if heading.is_displayed()]
    assert shown[:3] == ["Module / operator", "Share", "flops"]
    scrolls = "const {scrollWidth, clientWidth} = document.getElementById('tree'); return scrollWidth - clientWidth"
    assert page.run(scrolls) <= 0


def test_no_card_says_its_number_twice(open_page, profile):
    """What is below the number of a card differs from it; that of calls has how many operators they are of."""
    page = open_page(profile)
    pairs = [(page.text(f'.measure:has([value="{name}"]) strong'), page.text(f'.measure:has([value="{name}"]) small'))
             for name in ("flops", "macs", "calls")]  # fmt: skip
    assert all(number != beside for number, beside in pairs)
    # One outside, five blocks of five and two calls, one head; six names.
    assert pairs[-1] == (str(1 + LAYERS * 6 + 6 + 1), "of 7 operators")
