"""What the eye sees of a page, measured in the browser: what sticks out, overlaps or is cut off."""

# Lists faults as sentences. Ranges are of texts alone, whatever the box around them has of room.
FAULTS = """
const faults = [];
const isSeen = (each) => each.getClientRects().length > 0 && !each.closest('.visually-hidden, .skip');
const all = (selector) => [...document.querySelectorAll(selector)].filter(isSeen);
const boxOfText = (each) => {
    const range = document.createRange();
    range.selectNodeContents(each);
    return range.getBoundingClientRect();
};
const overlap = (one, other) => Math.min(one.right, other.right) - Math.max(one.left, other.left) > 0.5
    && Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 0.5;
const {scrollWidth, clientWidth} = document.scrollingElement;
if (scrollWidth > clientWidth) faults.push(`the page is ${scrollWidth} wide of ${clientWidth}`);
for (const each of all('body *')) {
    const {right} = each.getBoundingClientRect();
    if (right > clientWidth + 1) faults.push(`sticks out: ${each.tagName} ${each.id} ${each.className}`);
}
for (const each of all('.portion')) {
    const [text, track] = each.children;
    if (track.firstChild.offsetWidth && overlap(boxOfText(text), track.firstChild.getBoundingClientRect())) {
        faults.push(`a bar lies on ${text.textContent}`);
    }
}
for (const line of all('#operators li')) {
    const parts = [...line.querySelectorAll('.name, .value, .part')].map(boxOfText);
    parts.push(...[...line.querySelectorAll('.bars')].map((each) => each.getBoundingClientRect()));
    parts.forEach((one, index) => {
        if (parts.slice(index + 1).some((other) => overlap(one, other))) faults.push(`overlaps: ${line.textContent}`);
    });
}
const cut = `#tree :is(.label, td.number, thead button, tfoot th), .measure *, .fitted, .fitted :is(th, td),
    #operators .name, #details dd`;
for (const each of all(cut)) {
    const isInline = getComputedStyle(each).display === 'inline';
    if (!isInline && each.scrollWidth > each.clientWidth + 1) faults.push(`cut off: ${each.textContent}`);
}
for (const chart of all('.js-plotly-plot')) {
    const frame = chart.getBoundingClientRect();
    for (const axis of ['xtick', 'ytick']) {
        const ticks = [...chart.querySelectorAll(`.${axis} text`)].map((each) => each.getBoundingClientRect());
        ticks.forEach((one, index) => {
            if (ticks.slice(index + 1).some((other) => overlap(one, other))) {
                faults.push(`ticks of ${chart.id} overlap`);
            }
            if (one.left < frame.left - 1 || one.right > frame.right + 1) {
                faults.push(`a tick of ${chart.id} sticks out`);
            }
        });
    }
}
return faults;
"""

# Charts are drawn anew in a later frame than the change of width.
SETTLED = """[...document.querySelectorAll('.js-plotly-plot')].every(
    (each) => each.querySelector('svg').clientWidth === each.clientWidth)"""
FRAMES = """const done = arguments[0];
requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done)))"""


def show_at(page, width, theme="light", height=900):
    """Give a page that is open another width and another theme."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    page.driver.execute_async_script(FRAMES)
    page.wait(SETTLED)


def faults(page):
    """List what sticks out, overlaps or is cut off."""
    return page.run(FAULTS)
