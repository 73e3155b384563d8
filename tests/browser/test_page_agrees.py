"""What the page shows is what other reports show: differences whole, least times, numbers as text has them."""

import pytest
import torch

from opflops import Cost, Profile, Row, count
from opflops.devices import Device
from opflops.units import duration, scaled, share

pytestmark = pytest.mark.browser

TOY = Device("toy", {"float32": 1000.0, "float64": 500.0}, 100.0)


def net(width, *more):
    return count(torch.nn.Sequential(torch.nn.Linear(4, width), *more), torch.zeros(3, 4))


def row(op="aten.mm", dtype="float32", phase="forward", seconds=None, module="Net.a", **cost):
    return Row(module, "Linear", op, phase, dtype, 1, Cost(**cost), seconds)


def test_a_difference_shows_what_changed_in_cost_alone(open_page):
    """A widened layer ran as often as before, and is there beside the new one."""
    page = open_page(net(6).diff(net(12, torch.nn.ReLU())))
    page.one("#expand").click()
    assert [name for level, name in page.rows() if level == 2] == ["0", "1"]
    # 3 x 4 x 6 more products, and 3 x 6 more sums for the bias.
    assert page.exact_value(page.row("0"), "macs") == "72 macs"
    assert page.exact_value(page.row("0"), "flops") == "162 flops"
    assert page.exact_value(page.row("0"), "calls") == "0 calls"
    assert page.exact_value(page.row("aten.relu"), "calls") == "1 calls"
    assert {"0", "1"} <= set(page.sectors())


def test_filters_hide_what_has_no_rows_left(open_page):
    """Also where the numbers of what is left add up to nothing."""
    rows = (row(macs=5), row(phase="backward", module="Net.b", macs=7), row(op="aten.view"))
    page = open_page(Profile(rows))
    page.one('.chip[data-value="backward"]').click()
    assert [name for _, name in page.rows()] == ["Net", "a", "aten.mm", "aten.view"]


def test_areas_are_not_drawn_of_what_is_below_zero_anywhere(open_page):
    """Nor where a module grew in all and something in it shrank: its parts would not fill it."""
    page = open_page(Profile((row(macs=144), row(op="aten.add", macs=-100))))
    assert page.text("#hierarchy") == "Some flops here are below zero and cannot be drawn as areas."


@pytest.mark.parametrize("seconds", [None, 12.5])
def test_the_least_time_is_that_of_the_roofline(open_page, seconds):
    """Integer rows and those without a point included; filters count anew."""
    profile = Profile(
        (
            row(macs=50_000, bytes_read=2_000, seconds=seconds),
            row("aten.clone", bytes_read=700, seconds=seconds),
            row("aten.mm", "float64", "backward", seconds, macs=3_000, bytes_written=9_000),
            row("aten.add", "int64", "forward", seconds, ops=10**6, bytes_read=1_234),
            row("aten.eq", "bool", "backward", seconds, ops=10**6, bytes_read=766),
        )
    )
    page = open_page(profile, device=TOY)
    # By hand: 100 s of arithmetic; 7, 90, 12.34 and 7.66 s of traffic.
    assert page.text("#least").startswith("At least 217.0 s (20.00 s of it for integer work)")

    def total(shown):
        found = shown.roofline(TOY).total
        least = f"At least {duration(found.seconds)}"
        if seconds is None:
            return least, "."
        took = f"; took {duration(found.measured)}"
        return least, f"{took} (25.00 s of it for integer work), reaching {100 * found.attained:.1f} % of the bound."

    for part in total(profile):
        assert part in page.text("#least")
    page.one('.chip[data-value="backward"]').click()
    least, took = total(profile.where(phase="forward"))
    assert page.text("#least") == f"{least} (12.34 s of it for integer work){took.replace('25.00', '12.50')}"
    assert "Integer work counts by its bytes only" in page.wait("document.getElementById('roofline-note').textContent")


def test_a_least_time_says_what_it_lacks(open_page):
    """A dtype whose peak is not known, and no share of a bound that is not whole."""
    rows = (row(macs=500, bytes_read=4, seconds=4.0), row(dtype="float16", macs=500, seconds=4.0))
    page = open_page(Profile(rows), device=TOY)
    assert page.text("#least") == "At least 1.000 s, without float16; took 8.000 s."


def test_what_was_timed_in_part_is_no_share_of_the_bound(open_page):
    """As in the table of a roofline."""
    rows = (row(macs=500, bytes_read=4, seconds=4.0), row("aten.add", "int64", bytes_read=100))
    page = open_page(Profile(rows), device=TOY)
    assert page.text("#least") == "At least 2.000 s (1.000 s of it for integer work); took 4.000 s, partly untimed."
    page = open_page(Profile((rows[0], row("aten.add", ops=100))), device=TOY)
    assert page.text("#least") == "At least 1.100 s; took 4.000 s, partly untimed."


def test_a_difference_below_zero_has_no_roofline(open_page):
    """As its table is refused; a filter that leaves only what grew brings it back."""
    page = open_page(Profile((row(macs=500, bytes_read=4), row(phase="backward", macs=-1))), device=TOY)
    assert page.text("#least") == "Some counts are negative, as in a difference, so there is no time."
    assert not page.one("#roofline").is_displayed()
    page.one('.chip[data-value="backward"]').click()
    assert page.text("#least") == "At least 1.000 s."
    assert page.wait("document.getElementById('roofline').data")[1]["x"] == [250]


def test_times_are_written_as_text_reports_write_them(open_page):
    """In cards, cells and the total, whole seconds too."""
    page = open_page(Profile((row(macs=500, bytes_read=4, seconds=75.0),)), measure="seconds")
    assert page.text('.measure:has([value="seconds"]) strong') == "75.00 s"
    assert page.row("aten.mm").find_element("css selector", '[data-column="seconds"]').text == "75.00 s"
    assert page.text("#least") == "Took 75.00 s."


def test_numbers_are_written_as_text_reports_write_them(open_page):
    """Prefixes, digits, halves to even, and beyond the largest prefix; shares apart from very small ones."""
    from importlib.resources import files  # noqa: PLC0415 - only here

    page = open_page(Profile((row(macs=1),)))
    source = (files("opflops.report.page") / "numbers.js").read_text(encoding="utf-8")

    def written(function, *values, kind="Number"):
        return page.run(f"{source}; return arguments[0].map(each => {function}({kind}(each)))", list(map(repr, values)))

    whole = [0, 7, 999, 1000, 1062500, 999949, 999950, 999999, 4089184256, -1062500, 2**80, 2**89]
    assert written("scaled", *whole) == list(map(scaled, whole))
    whole += [2**90, 2**100, 2**200 + 1]
    assert written("scaled", *whole, kind="BigInt") == list(map(scaled, whole))
    times = [0.0, 75.0, 1234.5, 0.0012345, 0.99996, 0.0625, 1.0625, 3e-9, 5e-10, 1e-12, 3e-13, -0.25]
    assert written("duration", *times) == list(map(duration, times))
    parts = [0, 1, 333, 1000, -250, 1234]
    assert page.run(f"{source}; return arguments[0].map(part => percent(part, 1000))", parts) == [
        f"{share(part, 1000)} %" for part in parts
    ]
    assert page.run(f"{source}; return [1, -1].map(part => percent(part, 1e6))") == ["<0.1 %", ">-0.1 %"]
