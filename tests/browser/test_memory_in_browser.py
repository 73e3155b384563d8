"""The page's parameters, shapes and memory in a real browser: columns, details, the chart, keys and hover."""

import re
from dataclasses import replace

import pytest
import torch

from opflops import Cost, OpFlopMode, Profile, Row
from opflops.devices import Device
from opflops.example import INPUT_SHAPE, SimpleCNN
from opflops.records.memory import CATEGORIES, LiveBytes, Memory, Moment, Sample
from opflops.records.modules import CallShapes, ModuleRecord, SharedParameter, TensorShape
from opflops.units import data_size, exact

pytestmark = pytest.mark.browser

LEFT, UP, RIGHT, END, HOME, ENTER, ESCAPE = "\ue012", "\ue013", "\ue014", "\ue010", "\ue011", "\ue007", "\ue00c"
EVIL = "<b>x</b><img src=x onerror=document.title='hit'>%{y}"
ROW = Row("Net.a", "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=60), activations=12)
ROWS = (
    ROW,
    replace(ROW, module="Net.b.c", activations=30),
    replace(ROW, module="Net.b.c", phase="backward", activations=0),
)
SHAPES = CallShapes((TensorShape((2, 3), "float32"),), (TensorShape((2, 6), "bfloat16"),), 3)
MODULES = (
    ModuleRecord("Net", "Net"),
    ModuleRecord("Net.a", "Linear", 1800, 1800, 7200, calls=(SHAPES,)),
    ModuleRecord("Net.b", "Block", 5, 0, 20, 7, 56),
    ModuleRecord("Net.b.c", "Linear", 40, 0, 160, shared=(SharedParameter("weight", "Net.a", 1800),)),
    ModuleRecord("Net.unused", "Linear", 9000, 9000, 36_000),
)


def sample(number, module, op, phase, *live):
    return Sample(Moment(module, op, phase, f"net.py:{number}", number), LiveBytes(*live))


TIMELINE = (
    sample(0, "Net.a", "aten.mm", "forward", 100_000, 0, 0, 8, 50, 2_000, 10),
    sample(1, "Net.b.c", "aten.relu", "forward", 100_000, 0, 0, 8, 50, 7_000, 0),
    sample(2, "Net.b.c", EVIL, "backward", 100_000, 1_234_567, 0, 8, 50, 7_000, 999),
    sample(3, "", "aten.mm", "optimizer", 100_000, 1_000_000, 0, 8, 50, 0, 0),
)
PEAK = TIMELINE[2]
SMALL = Sample(TIMELINE[1].at, LiveBytes(temporaries=48))
MEMORY = Memory(
    "cuda:0", PEAK.live.total, PEAK.at, PEAK.live, 107_058, {"forward": 107_058, "backward": PEAK.live.total},
    {"Net.b.c": 5_000, "Net.a": 2_000},
    {"Net": PEAK.live.total, "Net.a": 102_068, "Net.b": 3_000_000_000, "Net.b.c": 7},
    TIMELINE,
    others=(Memory("cpu", 48, SMALL.at, SMALL.live, timeline=(SMALL,)),),
    remarks=("Workspaces are not seen.",),
)  # fmt: skip
PROFILE = Profile(ROWS, modules=MODULES, memory=MEMORY)


def cell(page, name, column):
    """Return the text and the tooltip of a row's cell in one step: the page may draw its rows anew between two."""
    script = """const row = [...document.querySelectorAll('#tree tbody tr[data-node]')].find(
        each => each.querySelector('.label').textContent === arguments[0]);
        const cell = row.querySelector(`[data-column="${arguments[1]}"]`); return [cell.textContent, cell.title]"""
    return tuple(page.run(script, name, column))


def level_two(page):
    return [name for level, name in page.rows() if level == 2]


def focus_chart(page):
    page.run("document.getElementById('timeline').focus()")


def test_parameters_are_a_column_of_the_tree(open_page):
    """Sums of a module and those below; modules without work are there with theirs, shared weights are marked."""
    page = open_page(PROFILE)
    assert cell(page, "Net", "params")[0] == "10.85 k"
    assert cell(page, "Net", "params")[1] == "10,845 parameters"
    assert page.text('#tree tfoot [data-column="params"]') == "10.85 k"
    assert cell(page, "b", "params")[0] == "45"
    assert cell(page, "unused", "params")[0] == "9.000 k"
    assert cell(page, "aten.mm", "params")[0] == ""
    tags = page.run("return [...document.querySelectorAll('#tree .tag')].map(each => [each.textContent, each.title])")
    assert tags == [["shared", "weight (1,800) is shared and counts for Net.a"]]
    assert cell(page, "c", "params")[0] == "*40"
    page.one('.chip[data-value="forward"]').click()
    assert cell(page, "Net", "params")[0] == "10.85 k"
    assert level_two(page) == ["b", "unused"]


def test_columns_of_modules_are_sorted_as_the_others(open_page):
    """By number, of bytes too, and what has none last."""
    page = open_page(PROFILE)

    def sort(column):
        page.one(f'th[data-column="{column}"] button').click()
        return level_two(page)

    assert level_two(page) == ["a", "b", "unused"]
    assert sort("params") == ["unused", "a", "b"]
    assert page.one('th[data-column="params"]').get_attribute("aria-sort") == "descending"
    assert sort("params") == ["b", "a", "unused"]
    assert sort("saved") == ["b", "a", "unused"]
    assert sort("peak") == ["b", "a", "unused"]
    assert sort("peak") == ["unused", "a", "b"]


def test_shapes_are_told_where_a_module_is_pointed_at_or_selected(open_page):
    """In the tooltip of its name and of its sector, and below the tree with its parameters and memory."""
    page = open_page(PROFILE)
    shapes = "2×3 float32 → 2×6 bfloat16 (3 calls)"
    titles = page.run("return [...document.querySelectorAll('#tree td.name')].map(each => each.title)")
    assert f"Net.a\n{shapes}" in titles
    hovers = page.run("return document.getElementById('hierarchy').data[0].customdata")
    assert [shapes in hover for hover in hovers].count(True) == 1
    page.row("a").click()
    lines = [line.text for line in page.all("#details dd")]
    assert lines == [
        "1,800 (7.200 kB), all trainable",
        shapes,
        "2,000 bytes kept for the backward pass",
        "at most 102,068 bytes live while it ran",
    ]
    page.row("c").click()
    lines = [line.text for line in page.all("#details dd")]
    assert lines[:2] == ["40 (160 B), none trainable", "weight (1,800) is shared and counts for Net.a"]
    page.row("b").click()
    lines = [line.text for line in page.all("#details dd")]
    assert lines[:2] == ["45 (180 B), 5 of them its own, none trainable", "7 elements of buffers (56 B)"]


def test_activations_are_a_measure_and_rare_columns_appear_with_theirs(open_page):
    """Chosen like any other; its column, and that of transcendentals, is shown while it is chosen."""
    page = open_page(PROFILE)

    def shown():
        return [each.text for each in page.all("#tree thead th") if each.is_displayed()]

    usual = ["flops", "macs", "bytes", "calls", "params", "saved", "peak"]
    assert shown()[2:] == usual
    page.one('[name=measure][value="activations"]').find_element("xpath", "..").click()
    # What has no room then gives way to it.
    assert {"flops", "activ."} <= set(shown()[2:]) <= {*usual, "activ."}
    page.wait("document.getElementById('hierarchy').data[0].values[0] === 42")
    assert cell(page, "b", "activations")[1] == "30 activations"
    page.one('[name=measure][value="transcendentals"]').find_element("xpath", "..").click()
    assert {"flops", "transc."} <= set(shown()[2:]) <= {*usual, "transc."}


def test_the_peak_is_marked_and_stands_at_the_top(open_page):
    """The chart's label and dot, the line below the title, the parts at the peak, which sum to it."""
    page = open_page(PROFILE)
    (label,) = page.run("return document.getElementById('timeline').layout.annotations.map(each => each.text)")
    assert label == f"peak {data_size(MEMORY.peak)}"
    assert label in page.run("return [...document.querySelectorAll('#timeline text')].map(each => each.textContent)")
    dot = page.run("return (({x, y}) => [x, y])(document.getElementById('timeline').data.at(-1))")
    assert dot == [[2], [MEMORY.peak]]
    line = page.one("#memory-line")
    assert line.text == f"Memory: peak {data_size(MEMORY.peak)} on cuda:0 after {EVIL} in Net.b.c (backward), net.py:2"
    assert line.find_element("css selector", "strong").get_attribute("title") == f"{exact(MEMORY.peak)} bytes"
    parts = {each.get_attribute("data-category"): each.get_attribute("title") for each in page.all("#categories li")}
    assert tuple(parts) == CATEGORIES
    assert sum(int(re.match(r"[\d,]+", text)[0].replace(",", "")) for text in parts.values()) == MEMORY.peak
    assert [each.text for each in page.all("#phase-peaks li")] == [
        "forward\n107.1 kB",
        "backward\n1.343 MB",
        "end of forward\n107.1 kB",
    ]
    assert page.text("#memory-remarks").endswith("Workspaces are not seen.")
    assert page.run("return document.querySelectorAll('img').length") == 0


def test_the_peak_of_a_training_step_is_marked(open_page):
    """Of the example: the label, the dot and the highest point of the line are the profile's peak."""
    model, x = SimpleCNN(), torch.zeros(INPUT_SHAPE)
    optimizer = torch.optim.AdamW(model.parameters())
    with OpFlopMode(memory=True) as mode:
        model(x).sum().backward()
        optimizer.step()
    memory = mode.profile.memory
    page = open_page(mode.profile)
    shown = "(({data, layout}) => [layout.annotations[0].text, ...data.slice(-2).map(({y}) => Math.max(...y))])"
    assert page.run(f"return {shown}(document.getElementById('timeline'))") == [
        f"peak {data_size(memory.peak)}",
        memory.peak,
        memory.peak,
    ]
    assert page.text("#moment").startswith(f"{exact(memory.peak)} bytes {memory.at}: ")
    assert f"{data_size(memory.peak)} {memory.at}" in page.text("#memory-line")
    phases = [each.text.split("\n")[0] for each in page.all("#phase-peaks li")]
    assert phases == ["forward", "backward", "optimizer", "end of forward"]
    kept = memory.saved_by_module()
    assert cell(page, "SimpleCNN", "saved")[1].startswith(f"{exact(sum(kept.values()))} bytes")


def test_the_chart_stacks_categories_over_operators(open_page):
    """Those that were ever there; with the line above them they sum to what was live."""
    page = open_page(PROFILE)
    traces = page.run("return document.getElementById('timeline').data.map(({name, x, y}) => [name, x, y])")
    assert [name for name, *_ in traces] == [
        "parameters",
        "gradients",
        "buffers",
        "inputs",
        "activations",
        "temporaries",
        "all",
        "peak",
    ]
    *stacked, (_, x, whole), _ = traces
    assert x == [0, 1, 2, 3, 4]
    assert whole[:4] == [each.live.total for each in TIMELINE]
    assert [sum(values) for values in zip(*(y for *_, y in stacked), strict=True)] == whole
    assert len(page.all("#timeline .scatterlayer .fills path")) >= 6


def test_a_mouse_over_the_chart_names_the_operator(open_page):
    """Its module, phase, source line and the bytes by category, in a label and below the chart."""
    from selenium.webdriver import ActionChains  # noqa: PLC0415 - skipped without it

    page = open_page(PROFILE)
    chart = page.one("#timeline .nsewdrag")
    page.run("arguments[0].scrollIntoView({block: 'center'})", chart)
    width = chart.size["width"]
    # The four operators and the end of the last one are at quarters.
    ActionChains(page.driver).move_to_element_with_offset(chart, -width // 4, 0).perform()
    assert page.wait("document.getElementById('moment').textContent.includes('relu')")
    assert page.text("#moment") == (
        "107,058 bytes after aten.relu in Net.b.c (forward), net.py:1: "
        "parameters 100,000, buffers 8, inputs 50, activations 7,000."
    )
    label = page.wait("document.querySelector('#timeline .hoverlayer .hovertext')?.textContent")
    for part in (
        "aten.relu",
        "Net.b.c · forward",
        "net.py:1",
        "107,058 bytes",
        "parameters 100,000 (93.4 %)",
        "activations 7,000",
    ):
        assert part in label
    ActionChains(page.driver).click().perform()
    page.wait("document.querySelector('#tree [aria-selected=true] .label')?.textContent === 'c'")
    ActionChains(page.driver).move_to_element_with_offset(chart, 0, 0).perform()
    assert EVIL in page.wait(
        "(text => text.includes('gradients') && text)(document.querySelector('#timeline .hovertext').textContent)"
    )


def test_keys_move_over_the_chart(open_page):
    """From the peak, to both ends, to the module in the tree; a screen reader is told what the label shows."""
    page = open_page(PROFILE)
    focus_chart(page)

    def told():
        text = page.text("#moment")
        assert page.one("#timeline").get_attribute("aria-valuetext") == text
        return re.split(r" in | \(", text)[0], page.one("#timeline").get_attribute("aria-valuenow")

    assert told() == (f"1,342,624 bytes after {EVIL}", "3")
    page.press(LEFT)
    assert told() == ("107,058 bytes after aten.relu", "2")
    page.wait("document.querySelector('#timeline .hovertext')?.textContent.includes('aten.relu')")
    page.press(HOME)
    assert told() == ("102,068 bytes after aten.mm", "1")
    page.press(LEFT)
    assert told()[1] == "1"
    page.press(ENTER)
    assert page.attribute("a", "aria-selected") == "true"
    focus_chart(page)
    page.press(END)
    assert told() == ("1,100,058 bytes after aten.mm", "4")
    page.press("p")
    assert told()[1] == "3"


def test_the_chart_is_zoomed_with_keys(open_page):
    """Around the operator, and back to all; the icicle stays where it is."""
    page = open_page(PROFILE)
    focus_chart(page)
    extent = "document.getElementById('timeline').layout.xaxis.range"
    assert page.run(f"return {extent}") == [0, 4]
    page.press("+")
    page.wait(f"{extent}[0] === 1 && {extent}[1] === 3")
    page.press(HOME)
    page.wait(f"{extent}[0] === 0 && {extent}[1] === 2")
    page.press(ESCAPE)
    page.wait(f"{extent}[0] === 0 && {extent}[1] === 4")
    page.press("-")
    assert page.run(f"return {extent}") == [0, 4]


def test_those_that_keep_most_are_listed_beside_the_chart(open_page):
    """Largest first, without what their paths have in common, equal ones in one row; a click finds one in the tree."""
    page = open_page(replace(PROFILE, memory=replace(MEMORY, saved={"Net.blocks.0": 8, "Net.blocks.1": 8})))
    row = page.one("#keepers tbody tr")
    assert [cell.text for cell in row.find_elements("css selector", "th, td")] == ["blocks.*×2", "16 B", "100.0 %"]
    page = open_page(PROFILE)
    rows = [
        [cell.text for cell in row.find_elements("css selector", "th, td")] for row in page.all("#keepers tbody tr")
    ]
    assert rows == [["b.c", "5.000 kB", "71.4 %"], ["a", "2.000 kB", "28.6 %"]]
    assert page.text("#kept-in-all") == "7.000 kB"
    page.all("#keepers button")[1].click()
    assert page.attribute("a", "aria-selected") == "true"
    assert cell(page, "Net", "saved")[1] == "7,000 bytes kept for the backward pass"
    assert cell(page, "b", "peak")[0] == "3.000 GB"


def test_another_device_is_shown_instead(open_page):
    """In the chart, the list beside it and the columns of the tree; the line at the top stays."""
    page = open_page(PROFILE)
    assert page.text('#tree tfoot [data-column="peak"]') == "1.343 MB"
    page.all("#memory-devices button")[1].click()
    page.wait("document.getElementById('timeline').layout.annotations[0].text === 'peak 48 B'")
    assert page.text('#tree tfoot [data-column="peak"]') == "48 B"
    assert not page.one("#keepers").is_displayed()
    assert "on cuda:0" in page.text("#memory-line")
    assert page.all("#memory-devices button")[1].get_attribute("aria-pressed") == "true"


def test_a_page_says_whether_it_fits(open_page):
    """In the line at the top: on the device of the roofline, or in the size that is named."""
    for options, expected in (
        ({"device": "h100-sxm"}, str(MEMORY.fits(80e9))),
        ({"device": "h100-sxm", "fits": "1MB"}, str(MEMORY.fits(10**6))),
        ({"device": Device("toy", {"float32": 1.0}, 1.0)}, ""),
        ({}, ""),
    ):
        page = open_page(PROFILE, **options)
        badge = page.all("#memory-line .fit")
        assert [each.text for each in badge] == ([expected] if expected else [])
        assert bool(page.all(".fit.warn")) == ("does not" in expected)


def test_names_in_memory_are_text_whatever_is_in_them(open_page):
    """Markup in names of modules, phases, files, devices and parameters is shown and does nothing."""
    module = f"Net.{EVIL.replace('.', '')}"
    at = Moment(module, EVIL, EVIL, EVIL, 1)
    memory = Memory(
        EVIL, 9, at, LiveBytes(9), 9, {EVIL: 9}, {module: 9}, {module: 9}, (Sample(at, LiveBytes(9)),), remarks=(EVIL,)
    )
    tensor = TensorShape((1,), EVIL)
    shared = (SharedParameter(EVIL, EVIL, 1),)
    record = ModuleRecord(module, EVIL, 3, shared=shared, calls=(CallShapes((tensor,), (tensor,)),))
    rows = (replace(ROW, module=module, module_type=EVIL),)
    page = open_page(Profile(rows, modules=(record,), memory=replace(memory, others=(memory,))))
    focus_chart(page)
    page.all("#memory-devices button")[1].click()
    page.one("#keepers button").click()
    focus_chart(page)
    page.wait("document.querySelector('#timeline .hovertext')?.textContent.includes('onerror')")
    assert page.run("return document.querySelectorAll('img, #timeline b').length") == 0
    assert page.driver.title == "Net · opflops"
    for part in (
        "#memory-line",
        "#memory-remarks",
        "#phase-peaks",
        "#keepers",
        "#details",
        "#moment",
        "#memory-devices",
    ):
        assert "<b>x</b><img src=x" in page.text(part)


def test_without_memory_there_is_no_chart_and_without_records_no_parameters(open_page):
    """Nor columns, details or lines of them."""
    page = open_page(Profile(ROWS))
    for part in ("#memory-panel", "#memory-line", "#details"):
        assert not page.one(part).is_displayed()
    assert page.run("return document.getElementById('timeline').data === undefined")
    assert not page.all('[data-column="params"], [data-column="saved"], [data-column="peak"]')
    page = open_page(Profile(ROWS, modules=MODULES))
    assert page.all('th[data-column="params"]')
    assert not page.all('[data-column="saved"]')
    assert not page.one("#memory-panel").is_displayed()
    page = open_page(Profile(ROWS, memory=Memory(peak=5)))
    assert page.text("#timeline") == "No operator ran on this device."
    assert not page.all('[data-column="params"]')


def test_memory_is_shown_without_work_of_floating_point(open_page):
    """As of a block that only made tensors of integers."""
    page = open_page(Profile((replace(ROW, dtype="int64"),), modules=MODULES, memory=MEMORY))
    assert page.one("#empty").is_displayed()
    assert page.one("#timeline").is_displayed()
    assert not page.one("#tree-panel").is_displayed()
    page.one("#theme").click()
    page.all("#memory-devices button")[1].click()
    page.wait("document.getElementById('timeline').layout.annotations[0].text === 'peak 48 B'")


def test_bytes_beyond_double_precision_are_written_exactly(open_page):
    """In cells and in the line at the top."""
    huge = 2**60 + 1
    page = open_page(Profile(ROWS, memory=replace(MEMORY, peak=huge, module_peaks={"Net": huge}), modules=()))
    assert cell(page, "Net", "peak")[1] == f"{exact(huge)} bytes at the most while it ran"
    assert page.one("#memory-line strong").get_attribute("title") == f"{exact(huge)} bytes"


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_memory_of_a_narrow_page_is_not_wider_than_its_screen(open_page, driver, width):
    """On a phone, a tablet, and a small laptop; names stay in sight when the tree is scrolled to its last columns."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 860, "deviceScaleFactor": 1, "mobile": True}
    )
    page = open_page(PROFILE)
    assert page.run("return document.documentElement.scrollWidth") <= width
    page.run("document.getElementById('tree').scrollLeft = 1000")
    left = "document.getElementById('tree').getBoundingClientRect().left"
    assert page.run(f"return arguments[0].firstElementChild.getBoundingClientRect().left - {left}", page.row("a")) == 0
