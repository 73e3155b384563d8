"""Profiles compared by what is known of modules: parameters, activations and peak memory, also where one knows none."""

import re
from dataclasses import replace

import pytest
from test_comparison_tables import tables

from opflops import Cost, Profile, ProfileError, Row
from opflops.profile import budgets
from opflops.records.memory import Memory
from opflops.records.modules import ModuleRecord
from opflops.report.text.comparison import ComparisonOptions, format_comparison, format_difference
from opflops.report.text.pairing import ComparedProfile


def row(module, macs=1):
    return Row(module, "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=macs), activations=2 * macs)


def named(root, sizes, peaks=None):
    """Make a profile of modules with parameters, and with peaks if there are any."""
    modules = [ModuleRecord(f"{root}{name}", "Linear", parameters) for name, parameters in sizes.items()]
    peaks = {f"{root}{name}": peak for name, peak in (peaks or {}).items()}
    memory = Memory(peak=max(peaks.values()) + 1, module_peaks=peaks) if peaks else None
    rows = [row(f"{root}{name}") for name in sizes if name]
    return ComparedProfile(rows, modules=modules, memory=memory)


SMALL = named(
    "Small",
    {"": 7, ".stem": 10, ".layers.0": 20, ".layers.1": 20},
    {"": 90, ".stem": 50, ".layers": 75, ".layers.1": 70},
)
LARGE = named("Large", {"": 7, ".stem": 30, ".layers.0": 20, ".layers.1": 25}, {"": 80, ".stem": 60, ".layers.1": 70})
BLANK = ComparedProfile(SMALL.rows)


def compared(first, second, **options):
    text = format_comparison({"a": first, "b": second}, ComparisonOptions(tablefmt="tsv", **options))
    return [{label.rstrip(): cells for label, cells in part.items()} for part in tables(text)]


def differing(first, second, **options):
    text = format_difference(first, second, ComparisonOptions(tablefmt="tsv", **options))
    return [{label.rstrip(): cells for label, cells in part.items()} for part in tables(text)]


def test_totals_have_parameters_and_peaks_where_all_profiles_know_them():
    """Beside the measures of work."""
    totals, _ = compared(SMALL, LARGE)
    assert totals["parameters"] == ["57", "82", "1.44×"]
    assert totals["peak memory (bytes)"] == ["91", "81", "0.89×"]
    assert differing(SMALL, LARGE)[0]["parameters"] == ["57", "82", "+25", "+43.9"]
    for first, second in ((SMALL, BLANK), (BLANK, LARGE)):
        totals, _ = compared(first, second)
        assert not {"parameters", "peak memory (bytes)"} & totals.keys()
    assert compared(BLANK._replace(params=3), BLANK._replace(params=6))[0]["parameters"] == ["3", "6", "2.00×"]


def test_modules_are_compared_by_parameters():
    """Those of the model itself have a line, so that lines add up; modules of other sizes do not fold."""
    _, lines = compared(SMALL, LARGE, measure="params")
    assert lines == {
        "(itself)": ["7", "7", "1.00×"],
        "stem (Linear)": ["10", "30", "3.00×"],
        "layers": ["40", "45", "1.12×"],
        "  0 (Linear)": ["20", "20", "1.00×"],
        "  1 (Linear)": ["20", "25", "1.25×"],
        "total": ["57", "82", "1.44×"],
    }
    _, lines = compared(SMALL, SMALL, measure="params")
    assert lines["  0-1 ×2 (Linear)"] == ["40", "40", "1.00×"]


def test_a_difference_of_parameters_shows_the_modules_that_have_others():
    """Though their work is the same."""
    _, lines = differing(SMALL, LARGE, measure="params")
    assert lines == {
        "stem (Linear)": ["10", "30", "+20", "+200.0"],
        "layers": ["40", "45", "+5", "+12.5"],
        "  1 (Linear)": ["20", "25", "+5", "+25.0"],
        "  1 unchanged": ["20", "20", "0", ""],
        "1 unchanged": ["7", "7", "0", ""],
        "total": ["57", "82", "+25", "+43.9"],
    }
    assert list(differing(SMALL, LARGE)[1]) == ["2 unchanged", "total"]


def test_a_difference_without_other_work_says_what_else_changed():
    """So that a total that changed is not said to be the same."""
    assert "No work changed, but params and peak did; compare by that." in format_difference(SMALL, LARGE)
    assert "No work changed, but params did; compare by that." in format_difference(SMALL, LARGE._replace(memory=None))
    assert "Nothing changed." in format_difference(SMALL, BLANK)
    assert "Nothing changed." in format_difference(SMALL, SMALL)


def test_a_new_module_has_had_no_parameters():
    """Nought where the profile knows its parameters; where it knows none, nothing is said of them."""
    more = named("Small", {"": 7, ".stem": 10, ".layers.0": 20, ".layers.1": 20, ".tail": 5})
    _, lines = differing(SMALL, more, measure="params")
    assert lines["tail (Linear)"] == ["0", "5", "+5", "new"]
    _, lines = differing(more, SMALL, measure="params")
    assert lines["tail (Linear)"] == ["5", "0", "-5", "-100.0"]
    _, lines = compared(BLANK, more, measure="params")
    assert lines["tail (Linear)"] == ["", "5", ""]


def test_modules_are_compared_by_their_peaks():
    """The peak of a module is no sum of those below; a line of several has the highest; the total is the block's."""
    _, lines = compared(SMALL, LARGE, measure="peak")
    assert lines["stem (Linear)"] == ["50", "60", "1.20×"]
    assert lines["layers"] == ["75", "70", "0.93×"]
    assert lines["  0-1 ×2 (Linear)"] == ["70", "70", "1.00×"]
    assert lines["total"] == ["91", "81", "0.89×"]
    assert "(itself)" not in lines
    _, lines = compared(SMALL, LARGE, measure="peak", top=1, depth=1)
    assert list(lines) == ["layers", "1 other", "total"]


def test_activations_are_compared_by_any_key():
    """They are of operators."""
    _, lines = compared(SMALL, LARGE, measure="activations", by="op")
    assert lines["aten.mm"] == ["6", "6", "1.00×"]


def test_lines_can_be_sorted_by_parameters():
    """Also of a comparison by another measure."""
    _, lines = compared(SMALL, LARGE, measure="macs", sort="params", depth=1)
    assert list(lines) == ["layers", "stem (Linear)", "(itself)", "total"]


@pytest.mark.parametrize(("measure", "cure"), [("params", "Count the model again"), ("peak", "memory=True")])
def test_a_profile_that_does_not_know_the_measure_is_named(measure, cure):
    """Its cells are blank; if none knows it, that is an error with the cure."""
    _, lines = compared(SMALL, BLANK, measure=measure)
    assert lines["total"][1] == ""
    for text in (
        format_comparison({"a": SMALL, "b": BLANK}, ComparisonOptions(measure=measure, width=200)),
        format_difference(SMALL, BLANK, ComparisonOptions(measure=measure, width=200), names=("a", "b")),
    ):
        assert re.search(rf"^b: {measure} is not known\. .*{cure}", text, re.MULTILINE)
    with pytest.raises(ProfileError, match=rf"No profile has the measure {measure}\. .*{cure}"):
        compared(BLANK, BLANK, measure=measure)


@pytest.mark.parametrize("options", [{"measure": "params"}, {"measure": "peak"}, {"sort": "params"}])
def test_what_is_known_of_modules_is_compared_by_modules_alone(options):
    """The error says so before anything is counted."""
    with pytest.raises(ProfileError, match=r"is known of modules, and this table is by op\."):
        ComparisonOptions(by="op", **options).order({}, changes=False)


def test_growth_of_parameters_activations_and_peaks_is_found():
    """With a limit, as of ``--fail-above``; a profile without them gets a sentence."""
    before, after = (Profile(each.rows, modules=tuple(each.modules), memory=each.memory) for each in (LARGE, SMALL))
    assert budgets.regressions(before, after, 0.0, ["params", "activations"]) == {}
    found = budgets.regressions(after, before, 0.1, ["params", "peak"])
    assert list(found) == ["params"]
    assert found["params"].startswith("82 params are 25 (43.86 %) above the baseline's 57")
    assert list(budgets.regressions(before, after, 0.1, ["peak", "params"])) == ["peak"]
    more = replace(before, rows=(*before.rows, row("Large.tail", 50)))
    assert list(budgets.regressions(before, more, 0.0, ["activations"])) == ["activations"]
    for measure, words in (("params", "no parameters"), ("peak", "no peak memory")):
        with pytest.raises(ProfileError, match=words):
            budgets.regressions(Profile(before.rows), after, 0.0, [measure])


@pytest.mark.parametrize(("first", "second"), [(SMALL, BLANK), (BLANK, SMALL)])
def test_nothing_changed_by_an_amount_where_one_profile_knows_none(first, second):
    """A peak that is not known is no peak of 0."""
    _, modules = differing(first, second, measure="peak")
    known = [cells for cells in modules.values() if cells[0] or cells[1]]
    assert known
    assert all(cells[2:] in ([], [""], ["", ""]) for cells in known)
