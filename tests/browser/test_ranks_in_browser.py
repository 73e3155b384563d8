"""The ranks of a gathered profile, in a real browser: a table, and a filter that leaves ranks out."""

import pytest

from opflops import Cost, Profile, Row
from opflops.profile.gathering import combine_ranks

pytestmark = pytest.mark.browser


LINES = """return [...document.querySelectorAll('#ranks tbody tr')].map(
    row => [...row.cells].map(cell => cell.textContent))"""


def part(macs):
    return Profile([Row("Net", "Net", "aten.mm", "forward", "float32", 1, Cost(macs=macs, sent=macs // 2))])


def test_ranks_are_listed_and_can_be_left_out(open_page):
    """Three of them, of which one is hidden by its chip: the total is that of the others."""
    page = open_page(combine_ranks({0: part(300), 1: part(100), 2: part(200)}), "tree")
    assert page.one("#ranks-panel").is_displayed()
    assert page.run(LINES) == [
        ["0", "50.0 %", "1", "300", "600", "150 B"],
        ["1", "16.7 %", "1", "100", "200", "50 B"],
        ["2", "33.3 %", "1", "200", "400", "100 B"],
    ]
    assert "most 300 (rank 0)" in page.one("#ranks-note").text
    page.one('[aria-label="Rank"] [data-value="0"]').click()
    total = "return document.querySelector('#measures strong').textContent"
    assert page.run(total) == "600"


def test_a_profile_of_one_process_has_no_ranks(open_page):
    """Neither the table nor the filter."""
    page = open_page(part(1), "tree")
    assert not page.one("#ranks-panel").is_displayed()
    assert not page.all('[aria-label="Rank"]')
