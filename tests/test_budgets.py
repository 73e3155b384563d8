"""Limits against counts, and the messages where they are exceeded."""

import pytest
import torch
from torch import nn

from opflops import Cost, Profile, ProfileError, Row, count
from opflops.profile.budgets import (
    check_limits,
    exceeded_limits,
    format_changes,
    format_largest,
    parse_fraction,
    regressions,
    totals,
    unpriced_messages,
)


def row(module, macs=0, ops=0, op="aten.mm", **fields):
    return Row(module, "Linear", op, "forward", "float32", 1, Cost(macs=macs, ops=ops), **fields)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1%", 0.01),
        ("0.5 %", 0.005),
        (" 2 % ", 0.02),
        ("150%", 1.5),
        (0.01, 0.01),
        ("0.01", 0.01),
        (0, 0.0),
        ("0", 0.0),
    ],
)
def test_shares_are_read(text, value):
    """With a percent sign, or as a fraction."""
    assert parse_fraction(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "%", "one", "-1%", -0.1, "nan", "inf", "1%%", True, None])
def test_what_is_no_share_gets_a_sentence(text):
    """It says how to write one."""
    with pytest.raises(ProfileError, match=r"is not a share; write it as '1%'"):
        parse_fraction(text)


@pytest.mark.parametrize("text", ["1", 1, 5.0])
def test_a_number_without_a_percent_sign_is_a_fraction(text):
    """One that could be meant as percent is refused, not read as a hundred times as much."""
    with pytest.raises(ProfileError, match=r"Write '([15])%' for \1 percent, or '\1(?:00)%' if \1 times"):
        parse_fraction(text)


def test_limits_that_are_kept_are_silent():
    """At the limit, below it, and far below."""
    assert exceeded_limits({"macs": 10, "flops": 20}, {"macs": 10, "flops": 1e12, "bytes": None}) == {}


def test_a_limit_that_is_not_kept_is_told():
    """What was counted, by how much it is above, and above what."""
    found = exceeded_limits({"macs": 4_200_000_000}, {"macs": 4.1e9})
    assert found == {"macs": "4,200,000,000 macs are 100,000,000 (2.44 %) above the limit of 4,100,000,000."}
    assert exceeded_limits({"macs": 3}, {"macs": 0}) == {"macs": "3 macs are 3 above the limit of 0."}


def test_a_tolerance_moves_the_limit():
    """By its share; the sentence has it."""
    assert exceeded_limits({"macs": 110}, {"macs": 100}, 0.1) == {}
    assert exceeded_limits({"macs": 111}, {"macs": 100}, 0.1) == {
        "macs": "111 macs are 11 (11.00 %) above the limit of 100 and its tolerance of 10 %."
    }


@pytest.mark.parametrize("limit", [-1, -0.5, float("nan"), float("inf"), "4e9", True, [1]])
def test_what_is_no_limit_gets_a_sentence(limit):
    """It says what would be one."""
    with pytest.raises(ProfileError, match=r"macs must be a number from 0 up, such as macs=4\.1e9, not "):
        check_limits({"macs": limit})


def test_growth_is_told_by_total():
    """More than the share that is allowed, of what there was; less is no growth."""
    before, after = Profile((row("Net", 100, 50),)), Profile((row("Net", 102, 40),))
    assert regressions(before, after, 0.02) == {}
    assert regressions(before, after, 0.01) == {
        "macs": "102 macs are 2 (2.00 %) above the baseline's 100; up to 1 % is allowed."
    }
    assert (
        regressions(Profile(), after, 0.5)["macs"] == "102 macs are 102 above the baseline's 0; up to 50 % is allowed."
    )


def test_the_largest_modules_and_operators_are_listed():
    """Five of each, by their own work, with shares."""
    rows = [row("", 1), *(row(f"Net.l{number}", number, op=f"aten.op{number}") for number in range(10))]
    lines = format_largest(Profile(rows), "macs").splitlines()
    assert lines[0] == "The largest modules by own macs:"
    assert lines[1:6] == [
        "   19.6 %   9  Net.l9",
        "   17.4 %   8  Net.l8",
        "   15.2 %   7  Net.l7",
        "   13.0 %   6  Net.l6",
        "   10.9 %   5  Net.l5",
    ]
    assert lines[6] == "The largest operators by own macs:"
    assert [line.split()[-1] for line in lines[7:]] == [f"aten.op{number}" for number in (9, 8, 7, 6, 5)]


def test_changes_name_the_modules_that_grew():
    """And not those that did not."""
    before = Profile((row("Net.a", 100), row("Net.b", 5)))
    text = format_changes(before, Profile((row("Net.a", 130), row("Net.b", 5))), "macs")
    assert "baseline" in text
    assert any("a" in line.split() and "30" in line for line in text.splitlines())


def test_what_is_unpriced_is_told():
    """With what to do about it."""
    (sentence,) = unpriced_messages(Profile((row("Net", op="mylib.f", priced=False),)))
    assert sentence.startswith("mylib.f (1 call) is not counted, since it has no formula.")
    assert "@opflops.formula(torch.ops.mylib.f)" in sentence


def test_expressions_have_no_limit():
    """A limit is a number; the message says how to count numbers."""
    profile = count(nn.Linear(4, 3), torch.ones(2, 4), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with pytest.raises(ProfileError, match=r"macs is 12\*batch\. Count without dynamic shapes"):
        exceeded_limits(totals(profile), {"macs": 100})
    with pytest.raises(ProfileError, match=r"macs is 12\*batch"):
        regressions(profile, profile, 0)
