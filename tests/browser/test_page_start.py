"""How the page starts in a real browser: the tree first, charts later; and that nothing else may run in it."""

import pytest

from opflops import Cost, Profile, Row

pytestmark = pytest.mark.browser

# Keeps plotly from starting until the test lets it.
HOLD = """const held = [];
    window.requestAnimationFrame = (paint) => held.push(paint);
    window.paint = () => held.splice(0).forEach((paint) => paint());
    window.wait = window.setTimeout; window.setTimeout = () => 0"""


@pytest.fixture
def before_charts(driver):
    """Let pages opened in the test stop where the tree stands and no chart does."""
    held = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": HOLD})
    yield
    driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", held)


def test_the_tree_answers_before_there_are_charts(open_page, before_charts, simple_cnn):
    """Search, sorting, filters and keys work while plotly has not even been read, and charts say that they come."""
    page = open_page(simple_cnn, until="tree", device="h100-sxm")
    assert page.run("return typeof Plotly") == "undefined"
    assert [chart.get_attribute("id") for chart in page.all('.chart[aria-busy="true"]')] == [
        "hierarchy",
        "roofline",
    ]
    words = "return getComputedStyle(document.getElementById('hierarchy'), '::before').content"
    assert page.run(words) == '"Drawing…"'
    page.press("/", "conv2")
    assert page.text("#matches") == "2 matches"
    page.press("\ue00c")
    page.one('th[data-column="macs"] button').click()
    assert [name for level, name in page.rows() if level == 2][:2] == ["conv2", "conv1"]
    page.one('.chip[data-value="backward"]').click()
    assert "aten.convolution_backward" not in [name for _, name in page.rows()]
    page.row("conv2").click()
    page.press("\ue007")
    assert page.path()[-1] == "conv2"
    page.one("#theme").click()
    page.one('[data-kind="treemap"]').click()
    # What was chosen meanwhile is what is drawn then; paper does not wait.
    page.run("dispatchEvent(new Event('beforeprint'))")
    drawn = page.run("const [{type, labels}] = document.getElementById('hierarchy').data; return [type, labels[0]]")
    assert drawn == ["treemap", "conv2"]
    assert {phase for _, _, _, bars, _ in page.operators() for phase in bars} == {"forward"}
    assert page.all('[aria-busy="true"]') == []


def test_charts_come_when_the_reader_pauses(open_page, before_charts, simple_cnn):
    """A key that was pressed a moment ago puts them off."""
    page = open_page(simple_cnn, until="tree")
    page.run("setTimeout = wait; window.clock = performance.now(); performance.now = () => clock")
    page.press("/", "c")
    page.run("paint()")
    page.driver.execute_async_script("wait(arguments[0], 700)")
    assert page.run("return typeof Plotly") == "undefined"
    page.run("clock += 300")
    page.wait("document.documentElement.dataset.ready === 'charts'")


def test_charts_are_drawn_one_at_a_time_and_marked(open_page, simple_cnn):
    """In the end none is under way, and the page says when each step was reached."""
    page = open_page(simple_cnn, device="h100-sxm")
    assert page.all('[aria-busy="true"]') == []
    marks = page.run(
        "return ['opflops-start', 'opflops-tree', 'opflops-charts'].map("
        "name => performance.getEntriesByName(name)[0].startTime)"
    )
    assert marks == sorted(marks)


def test_a_picture_of_a_chart_can_be_made(open_page, simple_cnn):
    """The policy lets plotly write one as PNG and as SVG."""
    page = open_page(simple_cnn)
    script = """const done = arguments[1];
        Plotly.toImage(document.getElementById('hierarchy'), {format: arguments[0]}).then(done, done)"""
    for form, begins in (("png", "data:image/png;base64,iVBORw0KGgo"), ("svg", "data:image/svg+xml,%3Csvg")):
        picture = page.driver.execute_async_script(script, form)
        assert picture.startswith(begins)
        assert len(picture) > 2_000


def test_no_other_script_runs_and_nothing_is_sent(open_page, driver):
    """Were markup to slip in: no script, no handler, no base address, no form."""
    row = Row("Net", "Net", "aten.mm", "forward", "float32", 1, Cost(macs=5))
    page = open_page(Profile((row,)))
    page.run(
        """const script = document.createElement('script');
        script.textContent = "document.title = 'script'";
        document.head.append(script);
        const base = document.createElement('base');
        base.href = 'file:///elsewhere/';
        document.head.append(base);
        document.body.insertAdjacentHTML('beforeend',
            '<form action="file:///elsewhere"><button id=send onclick="document.title = 1">send</button></form>');
        document.getElementById('send').click();"""
    )
    assert page.driver.title == "Net · opflops"
    assert page.run("return document.baseURI").endswith("page.html")
    messages = " ".join(entry["message"] for entry in driver.get_log("browser"))
    for directive in ("script-src", "base-uri", "form-action"):
        assert f"{directive} " in messages
