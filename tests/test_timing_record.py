"""How times were measured, as a record: medians and spreads, sums and differences, files."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_rows import PROFILE, profiles

from opflops import Cost, Profile, ProfileError, Row
from opflops.records.dimensions import Dimension
from opflops.records.timing import Timing, median_and_spread

ROW = Row("Net", "Net", "aten.mm", "forward", "float32", 1, Cost(macs=8), 4.0, spread=0.5)
TIMING = Timing(8, 3, 5.0, 0.5, 4.0, 0.25, 1.0, {"Net": 2})
TIMED = Profile((ROW,), called=("Net",), timing=TIMING)

seconds = st.floats(min_value=0, max_value=1e6)
timings = st.builds(
    Timing,
    st.integers(min_value=1, max_value=99),
    st.integers(min_value=0, max_value=9),
    *(seconds, *[st.one_of(st.none(), seconds)] * 3, st.one_of(st.none(), st.floats(-1, 1))),
    st.dictionaries(st.sampled_from(["Net", "Net#2", "Loss"]), st.integers(min_value=1, max_value=9)),
)


@pytest.mark.parametrize(
    ("times", "found"),
    [
        ([7.0], (7.0, None)),
        ([1.0, 3.0], (2.0, 1.0)),
        ([9.0, 1.0, 5.0], (5.0, 4.0)),
        # Quartiles at 2 and 4: one slow run does not count.
        ([1.0, 2.0, 3.0, 4.0, 1000.0], (3.0, 2.0)),
        ([2.0] * 6, (2.0, 0.0)),
    ],
)
def test_the_spread_is_the_range_between_the_quartiles(times, found):
    """By hand, with linear interpolation; a single time has none."""
    assert median_and_spread(times) == found


def test_times_and_spreads_of_rows_add_up():
    """A sum is at most as uncertain as its parts together; what was timed once leaves no spread for the sum."""
    both = ROW.plus(replace(ROW, seconds=2.0, spread=0.25))
    assert (both.seconds, both.spread) == (6.0, 0.75)
    less = ROW.plus(replace(ROW, seconds=6.0, spread=0.25), -1)
    assert (less.seconds, less.spread) == (-2.0, 0.75)
    assert ROW.plus(replace(ROW, spread=None)).spread is None
    assert ROW.plus(replace(ROW, seconds=None, spread=None)).spread == 0.5
    (only,) = (Profile().diff(TIMED)).rows
    assert (only.seconds, only.spread) == (4.0, 0.5)
    (gone,) = TIMED.diff(Profile()).rows
    assert (gone.seconds, gone.spread) == (-4.0, 0.5)


def test_a_row_of_one_call_in_one_run_was_timed_once():
    """Calls that a program repeats, and runs that are repeated, were not; nor is what has no time."""
    once = replace(ROW, spread=None)
    assert once.timed_once
    assert not ROW.timed_once
    assert not replace(once, calls=2).timed_once
    assert not replace(once, seconds=None).timed_once


def test_the_times_of_two_profiles_add_up():
    """Medians, spreads and what the mode cost; the runs are the fewer of both."""
    other = Timing(5, 2, 3.0, 0.125, 2.5, 0.5, 0.5, {"Net": 1, "Loss": 1})
    both = (TIMED + replace(TIMED, timing=other)).timing
    assert both == Timing(5, 2, 8.0, 0.625, 6.5, 0.75, 1.5, {"Net": 3, "Loss": 1})
    assert TIMED.diff(replace(TIMED, timing=other)).timing == Timing(
        5, 2, -2.0, 0.625, -1.5, 0.75, -0.5, {"Net": -1, "Loss": 1}
    )
    assert (TIMED + replace(TIMED, timing=replace(other, wall=None, spread=None))).timing.wall is None
    # Half of the rows have no times. An empty profile, with which sum() begins, has no rows.
    assert (TIMED + PROFILE).timing is None
    assert sum([TIMED, TIMED], Profile()).timing.median == 10.0
    assert PROFILE.diff(TIMED).timing is None


def test_a_part_of_a_profile_keeps_how_it_was_timed():
    """The times of its rows were measured like this; at other sizes than the example's there are none."""
    assert TIMED.where(op="mm").timing == TIMING
    assert TIMED.at().timing == TIMING
    at = replace(TIMED, dimensions=(Dimension("n", 4),)).at(n=8)
    assert (at.timing, at.rows[0].seconds, at.rows[0].spread) == (None, None, None)


@given(profiles, timings)
def test_timings_round_trip_without_loss(profile, timing):
    """In version 5, or 6 if there are collectives or ranks, and they can be hashed."""
    timed = replace(profile, timing=timing)
    document = json.loads(timed.to_json())
    read = Profile.from_json(timed.to_json())
    several = any(row.group or row.rank is not None or row.cost.sent for row in profile.rows)
    assert (document["version"], read) == (6 if several else 5, timed)
    assert hash(read) == hash(timed)


FIFTH = """
{"schema": "opflops.profile", "version": 5, "sites": [], "called": ["Net"], "modules": [], "memory": null, "rows": [
  {"module": "Net", "module_type": "Net", "op": "aten.mm", "phase": "forward", "dtype": "float32", "calls": 1,
   "cost": {"macs": 8, "ops": 0, "transcendentals": 0, "bytes_read": 0, "bytes_written": 0},
   "seconds": 4.0, "estimate": "", "priced": true, "site": "", "activations": 0, "spread": 0.5}],
 "timing": {"runs": 8, "warmup": 3, "median": 5.0, "spread": 0.5, "wall": 4.0, "wall_spread": 0.25, "overhead": 1.0,
            "calls": {"Net": 2}}}
"""


def test_a_file_of_version_5_is_read_for_ever():
    """With the spreads of times and how these were measured; without them the version stays what it was."""
    assert Profile.from_json(FIFTH) == TIMED
    assert json.loads(TIMED.to_json()) == json.loads(FIFTH)
    assert json.loads(replace(TIMED, timing=None).to_json())["version"] == 5
    once = replace(TIMED, timing=None, rows=(replace(ROW, spread=None),))
    assert json.loads(once.to_json())["version"] == 1
    assert json.loads(TIMED.diff(replace(TIMED, timing=replace(TIMING, median=4.0))).to_json())["schema"].endswith(
        "difference"
    )


def damaged(key, value):
    document = json.loads(FIFTH)
    document["timing"][key] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("runs", 0, "runs must be 1 or more"),
        ("runs", 1.5, "runs must be a whole number"),
        ("warmup", -1, "warmup must be a whole number, 0 or more"),
        ("median", None, "median must be a number"),
        ("median", -1, "median must be 0 or more"),
        ("wall", float("nan"), "wall must be a number"),
        ("spread", -0.5, "spread must be 0 or more"),
        ("overhead", "1", "overhead must be a number"),
        ("calls", {"Net": "2"}, "'Net' of calls must be a whole number"),
        ("calls", [], "calls must be an object"),
        ("more", 1, "timing has more, which it should not have"),
    ],
)
def test_a_damaged_timing_gets_a_sentence(key, value, message):
    """It says what is wrong, and where."""
    with pytest.raises(ProfileError, match=f"(?s)damaged: .*{message}.*in its timing"):
        Profile.from_json(damaged(key, value))


def test_what_is_no_timing_is_refused():
    """As a part of a profile, and in a sum."""
    with pytest.raises(ProfileError, match=r"timing=\.\.\.\) needs an opflops.records.timing.Timing or None, not 5"):
        Profile(timing=5)
    with pytest.raises(ProfileError, match="needs a Timing"):
        TIMING.plus(3)
