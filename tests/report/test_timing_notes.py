"""What reports say of times: spreads, averages over calls, and what was timed only once."""

from dataclasses import replace

import pytest

from opflops import Cost, Profile, ProfileError, Row
from opflops.records.timing import Timing

MM = Row("Net.a", "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=500), 0.003, spread=0.0002)
ADD = Row("Net", "Net", "aten.add", "backward", "float32", 1, Cost(ops=100), 0.001, spread=0.0001)
INDEX = replace(ADD, op="aten.index", dtype="int64", seconds=0.002, spread=0.0004)
REPEATED = Timing(24, 3, 0.012, 0.0015, 0.008, 0.0005, 0.0035, {"Net": 1})
SINGLE = Timing(1, 0, 0.02, calls={"Net": 1})


def profile(timing, *rows):
    return Profile(rows or (MM, ADD, INDEX), timing=timing)


def once(row, calls=1):
    return replace(row, spread=None, calls=calls)


def sentences(text):
    return " ".join(text.split())


def cells(text, name):
    line = next(line for line in text.splitlines() if line.strip().startswith(name))
    return line.split("  ")[-1], line.split()


def test_repeated_runs_have_medians_and_spreads():
    """The sums of rows against a run without the mode: 6 ms of 8 ms, integer work included."""
    text = profile(REPEATED).table(by="op", numbers="scaled", width=100)
    found = sentences(text)
    assert "Times are medians of 24 runs after 3 of warm-up; spread is the range between the quartiles." in found
    assert "A run takes 8.000 ms (spread 500.0 µs) without the mode; these operators take 75 % of that." in found
    assert "Counted and timed, a run takes 12.00 ms (spread 1.500 ms): the mode itself costs 4.000 ms." in found
    assert "~" not in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "spread" in lines["op"]
    assert "3.000 ms  200.0 µs" in lines["aten.mm"]
    # Of the floating-point rows, as the whole table is.
    assert "4.000 ms  300.0 µs" in lines["total"]


@pytest.mark.parametrize(
    ("median", "wall", "spread", "expected"),
    [
        (12e-3, 8e-3, 1.5e-3, "the mode itself costs 4.000 ms."),
        (8e-3, 12e-3, 1.5e-3, "the mode's own time is below the spread."),
        (9e-3, 8e-3, 1.5e-3, "the mode's own time is below the spread."),
        (8e-3, 12e-3, None, "the mode's own time is too short to be measured."),
    ],
)
def test_what_the_mode_costs_is_the_difference_of_both_times_unless_it_is_noise(median, wall, spread, expected):
    """By hand 12 - 8 = 4 ms; a negative one, or one below the spread, is no cost."""
    timing = replace(REPEATED, median=median, wall=wall, spread=spread, wall_spread=None, overhead=-22e-3)
    assert f"Counted and timed, a run takes {1000 * median:.3f}"[:30] in (found := sentences(str(profile(timing))))
    assert expected in found
    assert "-22" not in found


def test_a_part_of_the_rows_was_timed_as_all_were():
    """How long the whole run takes without the mode says nothing of a part."""
    found = sentences(str(profile(REPEATED).where(op="aten.mm")))
    assert "Times are medians of 24 runs after 3 of warm-up; spread is the range between the quartiles." in found
    assert "single run" not in found
    assert "without the mode" not in found


def test_rows_that_were_timed_once_are_marked():
    """In every table for people, and the notes say that the run was cold."""
    rows = once(MM), once(ADD, calls=3)
    text = profile(SINGLE, *rows).table(by="op", numbers="scaled")
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "~3.000 ms" in lines["aten.mm"]
    assert "~" not in lines["aten.add"]
    assert "~" not in lines["total"]
    assert "spread" not in lines["op"]
    found = sentences(text)
    assert "Timed in a single run of 20.00 ms, and cold" in found
    assert "opflops.time_step(step), or --timing on the command line" in found
    assert "~ timed in a single call." in found
    assert "~0.003000" in profile(SINGLE, *rows).table(by="op", numbers="exact")
    assert "~" not in profile(SINGLE, *rows).table(by="op", tablefmt="tsv")
    assert "~3.000 ms" in str(profile(SINGLE, *rows, replace(once(MM), module="Net.b", cost=Cost(10**9))))


def test_a_step_that_the_program_repeats_is_averaged():
    """Over the calls of the model: all rows in it, integer ones too; and over the calls of each operator."""
    timing = replace(SINGLE, calls={"Net": 4, "Net#2": 1, "Loss": 4})
    rows = once(MM, 4), once(ADD, 8), once(INDEX, 4), once(replace(ADD, module="Loss"), 4), once(replace(MM, module=""))
    text = profile(timing, *rows).table(by="op", numbers="scaled", width=100)
    found = sentences(text)
    assert "Net was called 4 times; its operators took 1.500 ms a call on average." in found
    assert "Loss was called 4 times; its operators took 250.0 µs a call on average." in found
    assert "Net#2" not in found
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "s/call" in lines["op"]
    # 6 ms in 5 calls, and 2 ms in 12.
    assert "6.000 ms  1.200 ms" in lines["aten.mm"]
    assert "2.000 ms  166.7 µs" in lines["aten.add"]
    tree = profile(timing, *rows).table(numbers="scaled", width=100)
    assert "s/call" in tree


def test_the_average_is_a_column_that_can_be_asked_for():
    """Blank for modules, whose calls are others than those of their operators, and where nothing was timed."""
    rows = once(MM, 4), replace(once(ADD, 8), seconds=None)
    found = profile(None, *rows).table(by="op", columns="s/call,spread", tablefmt="tsv").splitlines()
    assert [line.split("\t")[1].strip() for line in found[1:3]] == ["0.000750", ""]
    assert next(iter(profile(None, *rows).table(by="op", sort="s/call", columns="s/call").splitlines()[2:])).startswith(
        "aten.mm"
    )
    with pytest.raises(ProfileError, match="s/call"):
        profile(None).table(columns="s/calls")


def test_nothing_is_said_of_times_where_there_are_none():
    """Nor of how they were measured where that is not known, but for what was timed once."""
    untimed = [replace(row, seconds=None, spread=None) for row in (MM, ADD)]
    assert "run" not in sentences(profile(REPEATED, *untimed).table(by="op"))
    text = sentences(profile(None, once(MM), once(ADD, 2)).table(by="op"))
    assert "run" not in text
    assert "~ timed in a single call." in text


def test_one_warm_run_is_no_cold_one():
    """A step that is longer than the time for all runs."""
    timing = Timing(1, 3, 4.0, None, 3.0, None, 1.0, {"Net": 1})
    found = sentences(profile(timing, once(MM)).table(by="op"))
    assert "Times are of one run, after 3 of warm-up." in found
    assert "A run takes 3.000 s without the mode" in found
    assert "cold" not in found
