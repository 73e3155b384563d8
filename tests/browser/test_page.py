"""The page in a real browser: it renders, sorts, zooms, searches, filters, obeys keys, asks no network."""

import re
from dataclasses import replace

import pytest
import torch

from opflops import Cost, Profile, Row, count
from opflops.records.dimensions import Dimension
from opflops.records.parsing import parse
from opflops.records.timing import Timing
from opflops.units import exact

pytestmark = pytest.mark.browser

# By hand: positions x weights of the convolutions, in x out of the linear layers.
MACS = {"conv1": 388_800, "conv2": 778_752, "fc1": 138_240, "fc2": 10_080, "fc3": 840}
# The first convolution has no gradient for its input, the others two products each.
BACKWARD_MACS = 2 * sum(MACS.values()) - MACS["conv1"]
HUGE = 3 * 10**25 + 1
LIBRARY = 5_000_000
SECONDS_UNTIL_TREE, SECONDS_UNTIL_CHARTS = 1.0, 5.0


@pytest.fixture(scope="module")
def large():
    """Ten thousand rows: a hundred blocks of ten layers with ten parts of one operator each."""
    operators = ["addmm", "relu", "add", "mul", "bmm", "_softmax", "gelu", "sum", "mean", "sub"]
    return Profile(
        Row(
            f"Large.blocks.{block}.layers.{layer}.part{part}",
            ("Linear", "Attention", "LayerNorm")[part % 3],
            f"aten.{operator}",
            ("forward", "backward")[(block + layer) % 2],
            "float32",
            1,
            Cost(macs=1000 * (block + part), ops=layer + 1, transcendentals=part, bytes_read=64, bytes_written=8),
        )
        for block in range(100)
        for layer in range(10)
        for part, operator in enumerate(operators)
    )


def number(text):
    return int(re.match(r"[\d,]+", text)[0].replace(",", ""))


def test_the_example_is_drawn(open_page, simple_cnn):
    """The totals, the tree, the icicle and the operators of SimpleCNN, by hand arithmetic."""
    page = open_page(simple_cnn)
    cards = {card.text.splitlines()[0]: card.text.splitlines()[-1] for card in page.all(".measure")}
    assert cards["MACs"] == exact(sum(MACS.values()) + BACKWARD_MACS)
    assert cards["FLOPs"] == exact(simple_cnn.total.flops)
    assert page.driver.title == "SimpleCNN · opflops"
    names = [name for _, name in page.rows()]
    assert [name for name in names if name in MACS] == list(MACS)
    page.one("#expand").click()
    assert "aten.convolution" in [name for _, name in page.rows()]
    assert {"SimpleCNN", "conv1", "conv2", "fc1"} <= set(page.sectors())
    assert len(page.all("#hierarchy g.slice")) == len(page.sectors())
    operators = page.operators()
    largest = max(cost.flops for cost in simple_cnn.by("op").values())
    assert operators[0][1:3] == [f"{largest / 1e6:.3f} M", f"{100 * largest / simple_cnn.total.flops:.1f} %"]
    assert {phase for _, _, _, bars, _ in operators for phase in bars} == {"forward", "backward"}
    # The longest bar takes all the room.
    lengths = sum(length for _, _, _, bars, _ in operators for length in bars.values())
    assert lengths * largest == pytest.approx(simple_cnn.total.flops, rel=1e-5)
    assert not page.one("#roofline-panel").is_displayed()


def test_children_and_own_work_make_the_parent(open_page, simple_cnn):
    """In every column of work, for every open module, and the outermost make the total."""
    page = open_page(replace(simple_cnn, modules=()))
    page.one("#expand").click()
    script = """return [...document.querySelectorAll('#tree tbody tr[data-node], #tree tfoot tr')].map(row =>
        [Number(row.ariaLevel ?? 0), ...[...row.querySelectorAll('td.number')].map(cell => cell.title)])"""
    page.run("document.getElementById('tree').style.maxHeight = 'none'")
    *lines, (_, *whole) = [
        (level, *map(number, cells))
        for level, *cells in page.wait(
            f"(() => {{ const found = (() => {{ {script} }})();"
            " const all = document.querySelector('#tree table').ariaRowCount;"
            " return found.length === Number(all) - 1 && found })()"
        )
    ]
    assert [sum(column) for column in zip(*(cells for level, *cells in lines if level == 1), strict=True)] == whole
    parents = 0
    for place, (level, *cells) in enumerate(lines):
        below = []
        for deeper, *more in lines[place + 1 :]:
            if deeper <= level:
                break
            if deeper == level + 1:
                below.append(more)
        if below:
            parents += 1
            assert [sum(column) for column in zip(*below, strict=True)] == cells
    assert parents == 11  # three of them stand for operators without cost


def test_siblings_are_sorted_by_a_click_on_a_heading(open_page, simple_cnn):
    """Largest first, then smallest first, then again as they ran; the heading says which."""
    page = open_page(simple_cnn)
    heading = page.one('th[data-column="macs"]')

    def layers():
        return [name for level, name in page.rows() if level == 2 and name in MACS]

    def sort():
        heading.find_element("css selector", "button").click()
        return layers(), heading.get_attribute("aria-sort")

    by_size = ["conv2", "conv1", "fc1", "fc2", "fc3"]
    assert layers() == list(MACS)
    assert sort() == (by_size, "descending")
    assert sort() == (by_size[::-1], "ascending")
    assert sort() == (list(MACS), "none")
    page.one("th.name button").click()
    assert page.one("th.name").get_attribute("aria-sort") == "ascending"
    assert layers() == sorted(MACS)


def test_the_icicle_zooms_and_the_tree_follows(open_page, simple_cnn):
    """A click on a sector zooms and selects; one on the outermost zooms out; the path leads back."""
    page = open_page(simple_cnn.where(module=[row.module for row in simple_cnn.rows if row.module]))
    page.click_sector("conv2")
    page.wait("document.getElementById('hierarchy').data[0].labels[0] === 'conv2'")
    assert page.path() == ["SimpleCNN", "conv2"]
    assert page.attribute("conv2", "aria-selected") == "true"
    assert page.sectors() == ["conv2", "aten.convolution", "aten.convolution_backward"]
    page.click_sector("conv2")
    page.wait("document.getElementById('hierarchy').data[0].labels[0] === 'SimpleCNN'")
    page.click_sector("fc1")
    page.wait("document.getElementById('hierarchy').data[0].labels[0] === 'fc1'")
    page.all("#path button")[0].click()
    page.wait("document.getElementById('hierarchy').data[0].labels[0] === 'SimpleCNN'")


def test_the_tree_leads_the_chart(open_page, simple_cnn):
    """A click on a row outlines its sector; Enter zooms to it, Escape back; the treemap shows the same."""
    page = open_page(simple_cnn)
    page.row("conv2").click()
    outlined = "(({ids, marker}) => ids.filter((_, place) => marker.line.width[place] > 1))"
    node = page.attribute("conv2", "data-node")
    page.wait(f"{outlined}(document.getElementById('hierarchy').data[0])[0] === arguments[0]", node)
    page.press("\ue007")
    page.wait("document.getElementById('hierarchy').data[0].labels[0] === 'conv2'")
    assert page.focused() == "conv2"
    page.run("scrollTo(0, 0)")
    page.one('[data-kind="treemap"]').click()
    page.wait("document.getElementById('hierarchy').data[0].type === 'treemap'")
    assert page.sectors()[0] == "conv2"
    assert page.one('[data-kind="treemap"]').get_attribute("aria-pressed") == "true"
    page.press("\ue00c")
    page.wait("document.getElementById('hierarchy').data[0].labels[0] === 'SimpleCNN'")
    page.click_sector("fc1")
    page.wait("document.getElementById('hierarchy').data[0].labels[0] === 'fc1'")


def test_search_shows_marks_and_counts(open_page, simple_cnn):
    """Modules, types and operators are found by a part of their names, with what leads to them; Escape ends it."""
    page = open_page(simple_cnn)
    before = page.rows()
    page.one("#collapse").click()
    page.press("/")
    assert page.focused() == "search"
    page.press("CONV2")
    # conv2 by its name, and both convolutions by their type, Conv2d.
    assert page.text("#matches") == "2 matches"
    assert page.rows() == [(1, "SimpleCNN"), (2, "conv1"), (2, "conv2")]
    assert [mark.text for mark in page.all("#tree mark")] == ["Conv2", "conv2", "Conv2"]
    page.press("\ue00c")
    assert page.text("#matches") == ""
    assert page.one("#search").get_attribute("value") == ""
    assert page.rows() == [(1, "SimpleCNN")] or {level for level, _ in page.rows()} == {1}
    page.press("aten.mm")
    assert page.text("#matches") == "3 matches"
    assert [name for level, name in page.rows() if level == 2] == ["fc1", "fc2", "fc3"]
    page.press("\ue007")
    assert page.focused() == "aten.mm"
    page.press("\ue00c")
    assert len(page.rows()) < len(before)
    page.press("/", "nothing like it")
    assert page.text("#matches") == "0 matches"
    assert page.rows() == []


def test_a_bar_finds_its_operator(open_page, simple_cnn):
    """A click on an operator's bar shows where it ran, as its name does for the keyboard."""
    from selenium.webdriver import ActionChains  # noqa: PLC0415 - skipped without it

    page = open_page(simple_cnn)
    bar = page.one("#operators [data-phase]")
    page.run("arguments[0].scrollIntoView({block: 'center'})", bar)
    ActionChains(page.driver).move_to_element(bar).click().perform()
    assert page.wait("document.getElementById('search').value") == "aten.convolution_backward"
    assert [name for level, name in page.rows() if level == 3] == 2 * ["aten.convolution_backward"]
    page.run("document.querySelectorAll('#operators button')[1].focus()")
    page.press("\ue007")
    assert page.wait("document.getElementById('search').value") == "aten.convolution"


def test_the_tree_is_used_with_keys_alone(open_page, simple_cnn):
    """Arrows move, open and close; Home and End go to the ends; one row at a time can be tabbed to."""
    page = open_page(simple_cnn.where(module=[row.module for row in simple_cnn.rows if row.module]))
    down, up, right, left, home, end = "\ue015", "\ue013", "\ue014", "\ue012", "\ue011", "\ue010"
    page.run("document.querySelector('#tree tr[tabindex=\"0\"]').focus()")
    assert page.focused() == "SimpleCNN"
    page.press(left)
    assert page.rows() == [(1, "SimpleCNN")]
    assert page.attribute("SimpleCNN", "aria-expanded") == "false"
    page.press(right)
    assert page.attribute("SimpleCNN", "aria-expanded") == "true"
    page.press(right)
    assert page.focused() == "conv1"
    page.press(left, down, down, up)
    assert page.focused() == "ReLU()"
    page.press(left)
    assert page.attribute("ReLU()", "aria-expanded") == "false"
    page.press(left)
    assert page.focused() == "SimpleCNN"
    page.press(end)
    assert page.focused() == page.rows()[-1][1]
    page.press(home)
    assert page.focused() == "SimpleCNN"
    assert len(page.all('#tree tbody tr[tabindex="0"]')) == 1
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_filters_and_measures_count_anew(open_page, simple_cnn):
    """Without the backward everything is the forward's; the chosen measure is what charts and shares show."""
    page = open_page(simple_cnn, measure="macs")
    assert page.run("return document.querySelector('[name=measure]:checked').value") == "macs"
    page.one('.chip[data-value="backward"]').click()
    assert page.one('.chip[data-value="backward"]').get_attribute("aria-pressed") == "false"
    whole = sum(MACS.values())
    page.wait("document.getElementById('hierarchy').data[0].values[0] === arguments[0]", whole)
    assert number(page.exact_value(page.row("conv1"), "macs")) == MACS["conv1"]
    share = page.row("conv1").find_element("css selector", ".share").text
    assert share == f"{100 * MACS['conv1'] / whole:.1f} %"
    assert "aten.convolution_backward" not in [name for _, name in page.rows()]
    page.one('[name=measure][value="bytes"]').find_element("xpath", "..").click()
    moved = simple_cnn.where(phase="forward").total.bytes
    page.wait("document.getElementById('hierarchy').data[0].values[0] === arguments[0]", moved)


def test_the_theme_follows_the_system_until_it_is_chosen(open_page, driver, simple_cnn):
    """Page and charts change together, and text stands out from what is behind it in both."""

    def colors():
        return page.run(
            "return [getComputedStyle(document.querySelector('.panel')).backgroundColor, "
            "getComputedStyle(document.body).color, document.getElementById('hierarchy').layout.font.color]"
        )

    def contrast(one, other):
        def luminance(color):
            parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
            linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
            return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

        light, dark = sorted((luminance(one), luminance(other)), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    page = open_page(simple_cnn)
    seen = []
    for scheme in ("light", "dark"):
        driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        page.wait(
            "document.getElementById('theme').textContent.includes(arguments[0])",
            {"light": "Dark", "dark": "Light"}[scheme],
        )
        page.wait("document.getElementById('hierarchy').layout.font.color === getComputedStyle(document.body).color")
        seen.append(colors())
        assert contrast(*seen[-1][:2]) > 7
    assert seen[0] != seen[1]
    page.one("#theme").click()
    page.wait("document.getElementById('hierarchy').layout.font.color === getComputedStyle(document.body).color")
    assert colors() == seen[0]


def test_names_are_text_whatever_is_in_them(open_page):
    """Markup in names of modules, types and operators, and in the title, is shown and does nothing."""
    evil = "<b>x</b><img src=x onerror=document.title='hit'>"
    end, quote = "</script><script>document.title='hit'</script>", "\"'&amp;`${1}%{y} \u2028é漢\\"
    rows = tuple(
        Row(f"Net.{name.replace('.', '')}", name, f"evil::{name}", name, "float32", 1, Cost(macs=5), estimate=name)
        for name in (evil, end, quote)
    )
    page = open_page(Profile(rows), title=end, about={evil: end})
    page.one("#expand").click()
    assert page.driver.title == f"{end} · opflops"
    assert page.run("return document.querySelectorAll('img').length") == 0
    names = [name for _, name in page.rows()]
    # A line separator would break a line of a terminal, and is written as an escape everywhere.
    shown = quote.replace("\u2028", "\\u2028")
    assert names == ["Net", *(text for name in (evil, end, shown) for text in (name.replace(".", ""), f"evil::{name}"))]
    assert page.text("h1") == end
    assert page.text(".facts dt") == evil
    drawn = page.run("return [...document.querySelectorAll('#hierarchy text')].map(text => text.textContent).join(' ')")
    assert "<b>x</b><img src=x" in drawn
    for text in (evil, end, shown):
        page.run("document.getElementById('search').value = arguments[0]", text)
        page.run("document.getElementById('search').dispatchEvent(new Event('input'))")
        assert page.text("#matches") == "2 matches"


def test_ten_thousand_rows_stay_small_and_quick(open_page, tmp_path, large):
    """Under 5 MB beside plotly's script; tree in a second, charts in five; rows in the document as are in sight."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - skipped without it

    html = large.to_html(device="h100-sxm")
    assert len(html.encode()) - len(get_plotlyjs().encode()) < LIBRARY
    (tmp_path / "large.html").write_text(html, encoding="utf-8")

    def start():
        page = open_page.visit(tmp_path / "large.html")
        marks = "['tree', 'charts'].map(name => performance.getEntriesByName(`opflops-${name}`)[0].startTime / 1000)"
        return page, page.run(f"return {marks}")

    # The machine may be busy with other things: the best of three.
    tree = charts = float("inf")
    for _ in range(3):
        if tree >= SECONDS_UNTIL_TREE or charts >= SECONDS_UNTIL_CHARTS:
            page, seconds = start()
            tree, charts = min(tree, seconds[0]), min(charts, seconds[1])
    assert tree < SECONDS_UNTIL_TREE
    assert charts < SECONDS_UNTIL_CHARTS
    assert page.one("#hierarchy g.slice").is_displayed()
    page.one("#expand").click()
    assert page.run("return document.querySelector('#tree table').ariaRowCount") == str(
        1 + 1 + 100 * (1 + 1 + 10 * 21) + 2
    )
    assert len(page.rows()) < 120
    page.run("document.querySelector('#tree tr[tabindex=\"0\"]').focus()")
    page.press("\ue010")
    assert page.focused() == "aten.sub"
    assert page.rows()[-1] == (7, "aten.sub")
    page.press("\ue011")
    assert page.focused() == "Large"
    page.press("/", "layers.7.part4")
    assert page.text("#matches") == "100 matches"
    script = (
        "const start = performance.now(); document.querySelector('.chip').click(); return performance.now() - start"
    )
    assert min(page.run(script) for _ in range(3)) < 1000 * SECONDS_UNTIL_TREE


def test_expressions_are_shown_in_full(open_page):
    """Cells have the expression; charts are drawn at the examples, and the page says so."""
    from torch.export import Dim  # noqa: PLC0415 - slow to import

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.MaxPool2d(2), torch.nn.Flatten(2))
    sizes = {"input": {0: Dim("batch"), 2: Dim("height")}}
    profile = count(model, torch.zeros(2, 3, 33, 33), dynamic_shapes=sizes)
    page = open_page(profile)
    whole = page.one('#tree tfoot [data-column="flops"]')
    assert parse(whole.get_attribute("title").split(" flops")[0], ["batch", "height"]) == profile.total.flops
    assert "…" in whole.text
    card = page.one('[name=measure][value="flops"]').find_element("xpath", "..").find_element("css selector", "small")
    assert parse(card.text, ["batch", "height"]) == profile.total.flops
    at = profile.at(batch=2, height=33).total
    assert page.run("return document.getElementById('hierarchy').data[0].values[0]") == at.flops
    assert "at batch = 2, height = 33" in whole.get_attribute("title")
    assert any(
        "Percentages and sort order are for batch = 2, height = 33." in note.text for note in page.all("#notes li")
    )
    assert page.all("#tree tbody tr")[1].text


def test_expressions_are_added_up_term_by_term(open_page):
    """Fractions and negative terms too, as they would be by hand."""
    import sympy  # noqa: PLC0415 - slow to import

    n = sympy.Symbol("n")
    row = Row("Net.a", "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=n**2 / 2 - n / 3 + 7))
    other = replace(row, module="Net.b", phase="backward", cost=Cost(macs=n**2 / 3 + 10**20 * n - 8, ops=4))
    page = open_page(Profile((row, other), dimensions=(Dimension("n", 6),)), measure="macs")

    def shown(name, column):
        cell = page.row(name).find_element("css selector", f'[data-column="{column}"]')
        return cell.get_attribute("title").split(f" {column}")[0]

    assert shown("Net", "macs") == "5*n**2/6 + 299999999999999999999*n/3 - 1"
    assert shown("a", "macs") == "n**2/2 - n/3 + 7"
    assert shown("a", "flops") == "n**2 - 2*n/3 + 14"
    assert page.row("a").find_element("css selector", ".share").text == "<0.1 %"
    page.one('.chip[data-value="backward"]').click()
    assert shown("Net", "macs") == "n**2/2 - n/3 + 7"
    # At 6: 18 - 2 + 7.
    page.wait("document.getElementById('hierarchy').data[0].values[0] === 23")


def test_counts_beyond_double_precision_are_exact(open_page):
    """Sums of numbers that JavaScript cannot hold are right to the last digit."""
    row = Row("Net.a", "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=HUGE))
    page = open_page(Profile((row, replace(row, module="Net.b", phase="backward", cost=Cost(macs=2)))))
    assert page.exact_value(page.row("Net"), "macs") == f"{exact(HUGE + 2)} macs"
    assert page.exact_value(page.row("Net"), "flops") == f"{exact(2 * HUGE + 4)} flops"
    page.one('.chip[data-value="backward"]').click()
    assert page.exact_value(page.row("Net"), "macs") == f"{exact(HUGE)} macs"


def test_what_is_missing_or_estimated_is_said_first(open_page):
    """Unpriced operators stand above everything, and in the tree; estimates say why."""
    row = Row("Net", "Net", "my.op", "forward", "float32", 3, Cost(bytes_read=8), priced=False)
    guess = replace(row, op="my.guess", priced=True, estimate="lengths have no values", cost=Cost(ops=4))
    page = open_page(Profile((row, guess)))
    assert page.one("#unpriced").is_displayed()
    assert "my.op (3)" in page.text("#unpriced")
    assert "unpriced" in page.row("my.op").text
    tag = page.row("my.guess").find_element("css selector", ".tag")
    assert (tag.text, tag.get_attribute("title")) == ("estimate", "lengths have no values")


def test_a_roofline_without_times_lies_on_the_roof(open_page):
    """Peak and bandwidth of a made-up device, and the best that it can do at each intensity."""
    from opflops.devices import Device  # noqa: PLC0415 - as the others here

    device = Device("toy", {"float32": 1000.0}, 10.0)
    rows = (
        Row("Net", "Net", "aten.mm", "forward", "float32", 1, Cost(macs=500, bytes_read=4, bytes_written=1)),
        Row("Net", "Net", "aten.add", "forward", "float32", 1, Cost(ops=8, bytes_read=12, bytes_written=4)),
        Row("Net", "Net", "aten.copy_", "forward", "float32", 1, Cost(bytes_read=12)),
        Row("Net", "Net", "aten.mm", "forward", "float64", 1, Cost(macs=500, bytes_read=4)),
    )
    page = open_page(Profile(rows), device=device)
    page.wait("document.getElementById('roofline').data !== undefined")
    traces = page.run("return document.getElementById('roofline').data.map(({mode, x, y}) => [mode, x, y])")
    (roof, (_, intensity, rate)) = traces
    assert roof[0] == "lines"
    assert (roof[1][1], roof[2][1:]) == (100, [1000, 1000])
    assert (intensity, rate) == ([200, 0.5], [1000, 5])
    note = page.text("#roofline-note")
    assert "Nothing was timed" in note
    assert "1 operator has no flops and no point." in note
    assert "No peak of toy is known for float64." in note


def test_a_roofline_with_times_and_no_device_has_no_roof(open_page):
    """Points at what was attained."""
    row = Row("Net", "Net", "aten.mm", "forward", "float32", 1, Cost(macs=500, bytes_read=10), seconds=0.5)
    page = open_page(Profile((row,)), measure="seconds")
    page.wait("document.getElementById('roofline').data !== undefined")
    traces = page.run("return document.getElementById('roofline').data.map(({mode, x, y}) => [mode, x, y])")
    assert traces == [["markers", [100], [2000]]]
    assert page.exact_value(page.row("aten.mm"), "seconds") == "0.500000 s, timed in a single call"


def test_a_time_says_how_it_was_taken(open_page):
    """Its spread over repeated runs, which add up; nothing where a part was timed otherwise."""
    row = Row("Net.a", "Net", "aten.mm", "forward", "float32", 1, Cost(macs=500), seconds=0.5, spread=0.125)
    other = Row("Net.a", "Net", "aten.add", "forward", "float32", 1, Cost(ops=400), seconds=0.25, spread=0.5)
    timing = Timing(8, 3, 0.5, 0.125, 0.25, 0.25, 0.25, {"Net": 1})
    page = open_page(Profile((row, other), timing=timing), measure="seconds")
    assert page.exact_value(page.row("aten.mm"), "seconds") == "0.500000 s, spread 0.125 s over repeated runs"
    assert page.exact_value(page.row("a"), "seconds") == "0.750000 s, spread 0.625 s over repeated runs"
    assert "Times are medians of 8 runs after 3 of warm-up" in page.text("#notes")
    parts = (row, replace(other, spread=None, calls=4))
    page = open_page(Profile(parts), measure="seconds")
    assert page.exact_value(page.row("a"), "seconds") == "0.750000 s"
    assert page.exact_value(page.row("aten.add"), "seconds") == "0.250000 s"


def test_an_empty_profile_says_so(open_page):
    """Nothing to draw, no error."""
    page = open_page(Profile())
    assert page.one("#empty").is_displayed()
    assert not page.one("#content").is_displayed()
    page.one("#theme").click()


@pytest.mark.parametrize("width", [360, 400, 768])
def test_a_narrow_page_is_not_wider_than_its_screen(open_page, driver, simple_cnn, width):
    """On a phone the chosen measure has its column, names have their lines, and nothing sticks out."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 860, "deviceScaleFactor": 1, "mobile": True}
    )
    page = open_page(replace(simple_cnn, modules=()), device="h100-sxm")
    assert page.run("return document.documentElement.scrollWidth") <= width
    shown = [heading.text for heading in page.all("#tree thead th") if heading.is_displayed()]
    assert shown[:4] == ["Module / operator", "Share", "flops", "macs"]


def test_a_filter_that_leaves_nothing_leaves_a_page(open_page, simple_cnn):
    """No rows, a sentence in place of the chart, and everything back when the filter is lifted."""
    page = open_page(simple_cnn)
    chips = page.all(".chip")
    for chip in chips:
        chip.click()
    page.wait("document.getElementById('hierarchy').textContent === 'No flops here.'")
    assert page.rows() == []
    for chip in chips:
        chip.click()
    page.wait("document.getElementById('hierarchy').data?.[0].values[0] === arguments[0]", simple_cnn.total.flops)


def test_differences_below_zero_are_told(open_page, simple_cnn):
    """A diff with less work has no areas to draw; its tree and bars are shown."""
    page = open_page(simple_cnn.diff(Profile()))
    assert "cannot be drawn" in page.text("#hierarchy")
    assert page.exact_value(page.row("SimpleCNN"), "macs").startswith("-")


class Repeated(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU()) for _ in range(5))
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x):
        for block in self.blocks:
            x = block(x).t().t()
        return self.head(x).t().view(2, 4)


def test_equal_blocks_and_costless_operators_are_one_line_each(open_page):
    """Until they are opened; their numbers are sums, and what costs nothing comes last."""
    page = open_page(count(Repeated(), torch.zeros(4, 8)))
    names = [name for _, name in page.rows()]
    assert "0-4 ×5" in names
    assert "1" not in names
    # Five blocks of 4 * 8 * 8 products.
    assert page.row("0-4 ×5").find_element("css selector", '[data-column="macs"]').text == "1.280 k"
    assert page.row("0-4 ×5").find_element("css selector", '[data-column="params"]').text == "360"
    assert [name for level, name in page.rows() if level == 2][-1].endswith("operators without cost")
    page.row("0-4 ×5").click()
    page.press("\ue014")
    assert [name for _, name in page.rows()].count("1") == 1


def test_everything_follows_the_zoom(open_page):
    """Cards, tree, total, operators and matches are those of the part that is shown, and one button shows all again."""
    page = open_page(count(Repeated(), torch.zeros(4, 8)))
    page.row("head").click()
    page.press("\ue007")
    page.wait("document.getElementById('hierarchy').data[0].labels[0] === 'head'")
    card = page.one('[name=measure][value="macs"]').find_element("xpath", "..").find_element("css selector", "strong")
    assert card.text == "64"
    assert [name for level, name in page.rows() if level == 1] == ["head"]
    assert page.one("#tree tfoot th").text == "Total of head"
    assert page.one('#tree tfoot [data-column="params"]').text == "18"
    assert [name for name, *_ in page.operators()] == ["aten.addmm"]
    page.press("/", "addmm")
    assert page.text("#matches") == "1 match in head"
    page.press("\ue00c")
    page.one("#show-all").click()
    assert card.text == "1.344 k"
    assert not page.one("#zoomed").is_displayed()


def test_a_search_marks_the_charts(open_page):
    """What it does not find is faded in the icicle and among the operators."""
    page = open_page(count(Repeated(), torch.zeros(4, 8)))
    before = page.run("return document.getElementById('hierarchy').data[0].marker.colors")
    page.press("/", "relu")
    page.wait("document.getElementById('hierarchy').data[0].marker.colors.join() !== arguments[0].join()", before)
    assert [name for name, _, _, _, faded in page.operators() if not faded] == ["aten.relu"]
    after = page.run("return document.getElementById('hierarchy').data[0].marker.colors")
    labels = page.run("return document.getElementById('hierarchy').data[0].labels")
    changed = {label for label, one, other in zip(labels, before, after, strict=True) if one != other}
    assert "head" in changed
    assert not changed & {"blocks", "aten.relu"}


@pytest.mark.parametrize("width", [1400, 1100, 800])
def test_names_have_room_whatever_the_width(open_page, driver, width):
    """Columns of numbers give way first; the chosen measure stays."""
    driver.set_window_size(width, 900)
    page = open_page(count(Repeated(), torch.zeros(4, 8), backward=True, memory=True, device="cpu"))
    assert page.run("return document.querySelector('#tree td.name').clientWidth") >= 239
    assert page.run("const tree = document.getElementById('tree'); return tree.scrollWidth - tree.clientWidth") == 0
    assert page.one('#tree thead [data-column="flops"]').is_displayed()


def test_the_header_has_inputs_and_parameters(open_page):
    """Unless other facts are given."""
    profile = count(Repeated(), torch.zeros(4, 8))
    assert open_page(profile).text(".facts").replace("\n", "") == "inputs4×8 float32parameters378"
    assert open_page(profile, about={"made of": "tests"}).text(".facts").replace("\n", "") == "made oftests"
