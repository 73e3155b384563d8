"""Profiles side by side and their differences: totals, lines that add up, ratios, what is new, gone or unchanged."""

import re
import time
from dataclasses import replace

import pytest
import sympy
from hypothesis import given, settings
from tabulate import tabulate_formats
from test_rows import profiles

from opflops import Cost, ProfileError, Row
from opflops.records.dimensions import Condition, Dimension
from opflops.report import Symbolic
from opflops.report.text import comparison as side_by_side
from opflops.report.text.pairing import ComparedProfile
from opflops.report.text.terminal import width_of


def row(module, macs, op="aten.mm", **changes):
    return replace(Row(module, "Linear", op, "forward", "float32", 1, Cost(macs=macs, bytes_read=8)), **changes)


SMALL = [row("Small.stem", 10), row("Small.layers.0.fc", 20), row("Small.layers.1.fc", 20), row("Small.head", 5)]
LARGE = [row("Large.stem", 30), *(row(f"Large.layers.{n}.fc", 40) for n in range(4)), row("Large.norm", 7, "aten.add")]


def named(rows, params=None, sizes=None):
    return ComparedProfile(rows, Symbolic([Dimension(*size) for size in (sizes or {}).items()]), params)


def comparison(profiles, params=None, sizes=None, **options):
    several = {name: named(rows, (params or {}).get(name), sizes) for name, rows in profiles.items()}
    return side_by_side.format_comparison(several, side_by_side.ComparisonOptions(**options))


def difference(before, after, params=(None, None), sizes=None, **options):
    return side_by_side.format_difference(
        named(before, params[0], sizes), named(after, params[1], sizes), side_by_side.ComparisonOptions(**options)
    )


def tables(text):
    """Read the two tables back: the cells of each line by its label."""
    found = []
    for part in text.split("\n\n")[:2]:
        header, *lines = [line.split("\t") for line in part.splitlines()]
        names = [name.strip() for name in header[1:]]
        found.append(
            {line[0]: [cell.strip().replace(",", "") for cell in (line[1:] + [""] * 9)[: len(names)]] for line in lines}
        )
    return found


def compared(*args, **options):
    totals, lines = tables(comparison(*args, tablefmt="tsv", **options))
    return {label.strip(): cells for label, cells in totals.items()}, {
        label.rstrip(): cells for label, cells in lines.items()
    }


def differing(*args, **options):
    totals, lines = tables(difference(*args, tablefmt="tsv", **options))
    return {label.strip(): cells for label, cells in totals.items()}, {
        label.rstrip(): cells for label, cells in lines.items()
    }


BOTH = {"small": SMALL, "large": LARGE}


def test_totals_stand_side_by_side_with_ratios():
    """55 multiply-accumulates against 197 are 3.58 times as many."""
    totals, _ = compared(BOTH, params={"small": 100, "large": 50})
    assert totals == {
        "parameters": ["100", "50", "0.50×"],
        "macs": ["55", "197", "3.58×"],
        "flops": ["110", "394", "3.58×"],
        "transcendentals": ["0", "0", ""],
        "bytes": ["32", "48", "1.50×"],
        "operator calls": ["4", "6", "1.50×"],
    }


def test_modules_are_lined_up_below_the_roots():
    """Whatever the roots are called; what one has and the other has not is nothing there; equal ones are one line."""
    _, *lines = comparison(BOTH, measure="macs", tablefmt="tsv").split("\n\n")[1].splitlines()
    assert [[label.rstrip(), *map(str.strip, found)] for label, *found in (line.split("\t") for line in lines)] == [
        ["stem (Linear)", "10", "30", "3.00×"],
        ["layers", "40", "160", "4.00×"],
        ["  0-1 ×2", "40", "80", "2.00×"],
        ["    fc (Linear)", "40", "80", "2.00×"],
        ["  2-3 ×2", "0", "80", ""],
        ["    fc (Linear)", "0", "80", ""],
        ["head (Linear)", "5", "0", "0.00×"],
        ["norm (Linear)", "0", "7", ""],
        ["total", "55", "197", "3.58×"],
    ]


def test_what_a_module_does_itself_is_a_line():
    """So that lines add up; other roots keep their names, and so does work outside any module."""
    rows = [row("Net", 1), row("Net.a", 2), row("Net.a.b", 4), row("Other", 3), row("", 16, module_type="")]
    _, lines = compared({"one": rows, "two": rows}, measure="macs")
    assert {label: cells[0] for label, cells in lines.items()} == {
        "(itself)": "1",
        "a (Linear)": "6",
        "  (itself)": "2",
        "  b (Linear)": "4",
        "Other (Linear)": "3",
        "(outside)": "16",
        "total": "26",
    }


def test_the_model_is_the_root_with_most_flops_whatever_ran_first():
    """What is beside it keeps its name; a model of one name is found by it, though another root outgrew it."""
    before = [row("Tokenizer", 3), *SMALL]
    _, lines = compared({"before": before, "after": LARGE}, measure="macs", depth=1)
    assert lines["stem (Linear)"] == ["10", "30", "3.00×"]
    assert lines["Tokenizer (Linear)"] == ["3", "0", "0.00×"]
    _, lines = differing(SMALL, [row("Loss", 900), *SMALL, row("Small.tail", 1)], measure="macs")
    assert list(lines) == ["tail (Linear)", "Loss (Linear)", "3 unchanged", "total"]


def test_a_loss_that_both_have_is_not_the_model():
    """Models of two names stay aligned beside it."""
    loss = [row("Loss", 1)]
    _, lines = compared({"small": [*SMALL, *loss], "large": [*LARGE, *loss]}, measure="macs", depth=1)
    assert lines["stem (Linear)"] == ["10", "30", "3.00×"]
    assert lines["Loss (Linear)"] == ["1", "1", "1.00×"]


def test_other_keys_make_lists():
    """Of operators, or of several keys; modules without the root's name there too."""
    _, lines = compared(BOTH, by="op", measure="macs")
    assert lines == {"aten.mm": ["55", "190", "3.45×"], "aten.add": ["0", "7", ""], "total": ["55", "197", "3.58×"]}
    _, lines = compared(BOTH, by=("module", "op"), measure="macs")
    assert lines["layers.0.fc / aten.mm"] == ["20", "40", "2.00×"]


def test_lines_are_sorted_and_cut():
    """By what they are in any profile; the others are added up."""
    _, lines = compared(BOTH, measure="macs", sort="macs", depth=1)
    assert list(lines) == ["layers", "stem (Linear)", "norm (Linear)", "head (Linear)", "total"]
    _, lines = compared(BOTH, measure="macs", sort="macs", depth=1, top=1)
    assert lines["3 others"] == ["15", "37", "2.47×"]
    _, lines = compared(BOTH, measure="macs", depth=0)
    assert list(lines.values()) == [["55", "197", "3.58×"]] * 2


def test_the_largest_are_shown_of_all_profiles():
    """Without an order, too: what only the last profile has comes first where it is most, and changes by their size."""
    parts = [row("N.a", macs, op) for macs, op in ((0, "aten.view"), (1, "aten.b"), (2, "aten.c"))]
    _, lines = compared({"one": parts, "two": [*parts, row("N.a", 9, "aten.d")]}, by="op", measure="macs", top=2)
    assert list(lines) == ["aten.d", "aten.c", "2 others", "total"]
    after = [row("N.a", macs, op) for macs, op in ((0, "aten.view"), (2, "aten.b"), (8, "aten.c"), (5, "aten.d"))]
    _, lines = differing(parts, after, by="op", measure="macs", top=1)
    assert list(lines) == ["aten.c", "2 others", "1 unchanged", "total"]


def test_three_profiles_are_each_compared_with_the_first():
    """A ratio beside each but the first."""
    totals, _ = compared({**BOTH, "again": SMALL})
    assert totals["macs"] == ["55", "197", "3.58×", "55", "1.00×"]


@pytest.mark.parametrize(("first", "second", "text"), [(1, 1000, "1,000×"), (1000, 1, "0.001×"), (3, 1, "0.33×")])
def test_ratios_have_digits_that_tell_something(first, second, text):
    """However large or small they are."""
    assert text in comparison({"a": [row("A", first)], "b": [row("B", second)]}, measure="macs")


def test_a_difference_shows_what_changed():
    """Before, after, the change, and that in percent; what did not change is one line."""
    after = [row("Small.stem", 12), *SMALL[1:3], row("Small.tail", 9)]
    totals, lines = differing(SMALL, after, measure="macs", params=(100, 110))
    assert totals["macs"] == ["55", "61", "+6", "+10.9"]
    assert totals["parameters"] == ["100", "110", "+10", "+10.0"]
    assert totals["bytes"] == ["32", "32", "0", ""]
    assert lines == {
        "stem (Linear)": ["10", "12", "+2", "+20.0"],
        "head (Linear)": ["5", "0", "-5", "-100.0"],
        "tail (Linear)": ["0", "9", "+9", "new"],
        "1 unchanged": ["40", "40", "0", ""],
        "total": ["55", "61", "+6", "+10.9"],
    }


def test_a_change_inside_is_followed_down():
    """To the module that it is in, with what stayed beside it added up on each level."""
    after = [replace(each, cost=Cost(macs=25)) if each.module == "Small.layers.1.fc" else each for each in SMALL]
    _, lines = differing(SMALL, after, measure="macs")
    assert list(lines) == ["layers", "  1", "    fc (Linear)", "  1 unchanged", "2 unchanged", "total"]
    assert lines["    fc (Linear)"] == ["20", "25", "+5", "+25.0"]


def test_of_a_new_module_no_more_is_told():
    """All inside it is new too."""
    _, lines = differing(SMALL, [*SMALL, row("Small.extra.0.fc", 1), row("Small.extra.1.conv", 1)], measure="macs")
    assert list(lines) == ["extra", "3 unchanged", "total"]


def test_changes_that_cancel_are_changes():
    """In the list of operators the total stays, and two lines tell why."""
    before, after = (
        [row("N.a", 3, "aten.a"), row("N.a", 5, "aten.b")],
        [row("N.a", 5, "aten.a"), row("N.a", 3, "aten.b")],
    )
    _, lines = differing(before, after, by="op", measure="macs")
    assert lines["total"] == ["8", "8", "0", ""]
    assert lines["aten.a"] == ["3", "5", "+2", "+66.7"]
    assert lines["aten.b"] == ["5", "3", "-2", "-40.0"]


def test_largest_changes_come_first_and_what_stayed_last():
    """Whether they are more or less."""
    before = [row("N.a", 100), row("N.b", 50), row("N.c", 10), row("N.d", 10)]
    after = [row("N.a", 101), row("N.b", 20), row("N.c", 15), row("N.d", 10)]
    _, lines = differing(before, after, measure="macs", sort="macs")
    assert list(lines) == ["b (Linear)", "c (Linear)", "a (Linear)", "1 unchanged", "total"]
    _, lines = differing(before, after, measure="macs", sort="name")
    assert list(lines)[:3] == ["a (Linear)", "b (Linear)", "c (Linear)"]


def test_no_change_is_said():
    """And what a line without a change of the measure is about."""
    assert "Nothing changed." in difference(SMALL, SMALL, width=100)
    more = [replace(SMALL[0], calls=2), *SMALL[1:]]
    text = difference(SMALL, more, width=100)
    assert "A change of 0 means that the calls or another measure changed." in text
    assert re.search(r"^stem", text, re.MULTILINE)


def test_what_profiles_lack_is_said_of_each():
    """Unpriced operators, integer work and estimates, with the profile's name where it is not so of all."""
    foreign = [*SMALL, row("Small", 0, "mylib.f", priced=False), row("Small", 3, "aten.add", dtype="int64")]
    text = comparison({"a": SMALL, "b": foreign}, by="op", width=200)
    assert "b: Not counted: mylib.f, 1 call." in text
    assert "b: Totals are floating-point only. Integer work: 6 int64 operations in 1 call." in text
    assert "mylib.f (unpriced)" in text
    assert "total (1 operator has no formula)" in text
    assert "\nNot counted: mylib.f" in comparison({"a": foreign, "b": foreign}, width=200)


def test_dtypes_are_told_where_they_differ():
    """Half the bytes and as many operations have a reason."""
    half = [replace(each, dtype="bfloat16") for each in SMALL]
    totals, _ = compared({"a": SMALL, "b": half})
    assert totals["dtype"] == ["float32", "bfloat16", ""]
    assert "dtype" not in compared(BOTH)[0]
    assert differing(SMALL, half)[0]["dtype"] == ["float32", "bfloat16", "", ""]


def test_a_module_of_another_class_has_both():
    """Where a layer was replaced."""
    after = [replace(SMALL[0], module_type="Conv2d", cost=Cost(macs=1)), *SMALL[1:]]
    assert "stem (Linear / Conv2d)" in differing(SMALL, after)[1]


def test_times_are_compared_where_there_are_any():
    """A second total, and a measure."""
    timed = [replace(each, seconds=0.5) for each in SMALL]
    totals, lines = compared({"a": timed, "b": SMALL}, measure="seconds", depth=1)
    assert totals["seconds"] == ["2.000000", "", ""]
    assert lines["stem (Linear)"] == ["0.500000", "", ""]
    assert differing(SMALL, timed, measure="seconds")[1]["total"] == ["", "2.000000", "+2.000000", ""]


def test_expressions_are_compared_at_sizes():
    """They are written as they are, and without sizes there is no ratio."""
    batch = sympy.Symbol("batch")
    before, after = [row("N.a", 4 * batch)], [row("N.a", 6 * batch + 4)]
    _, lines = differing(before, after, measure="macs", sizes={"batch": 2}, numbers="exact")
    assert lines["a (Linear)"] == ["4*batch", "6*batch + 4", "2*batch + 4", "+100.0"]
    _, lines = differing(before, after, measure="macs", numbers="exact")
    assert lines["a (Linear)"] == ["4*batch", "6*batch + 4", "2*batch + 4", ""]
    assert "Ratios and sort order are for batch = 2." in comparison({"a": before, "b": after}, sizes={"batch": 2})


def test_where_costs_hold_is_said_of_each_profile():
    """Conditions, the sizes at which others hold, and an example that is another than the first profile's."""
    batch = sympy.Symbol("batch")
    condition = Condition(sympy.Ne(batch, 3), "model.py:7")
    first, second = (
        ComparedProfile([row("N.a", factor * batch)], Symbolic([Dimension("batch", example)], conditions, cases))
        for factor, example, conditions, cases in ((4, 2, (condition,), ()), (6, 8, (), [((("batch", 1),), "")]))
    )
    options = side_by_side.ComparisonOptions(width=200)
    for text in (
        side_by_side.format_comparison({"before": first, "after": second}, options),
        side_by_side.format_difference(first, second, options),
    ):
        assert "Ratios and sort order are for batch = 2." in text
        assert "before: The formulas hold for batch != 3 (model.py:7)." in text
        assert "after: Counted at batch = 8." in text
        assert "after: For batch = 1 the costs differ; see profile.at(batch=1)." in text


def test_deep_models_take_no_longer_than_their_rows():
    """Sixty levels of modules, which once were looked at sixty times; the outermost that fit are shown."""
    rows = [row(f"N.{'.'.join(f'd{level}' for level in range(60))}.x{number}", number) for number in range(3000)]
    start = time.process_time()
    _, lines = compared({"a": rows, "b": rows}, measure="macs")
    assert time.process_time() - start < 10
    assert len(lines) == 41


@settings(deadline=None)
@given(profiles, profiles)
def test_differences_add_up(before, after):
    """The outermost lines make the totals of both, whatever changed."""
    for by in ("module", "op", ("module", "phase")):
        _, lines = tables(difference(before.rows, after.rows, by=by, measure="macs", numbers="exact", tablefmt="tsv"))
        (*_, whole), outermost = lines.values(), [cells for label, cells in lines.items() if not label.startswith(" ")]
        for column in (0, 1, 2):
            assert sum(int(cells[column]) for cells in outermost[:-1]) == int(whole[column])
        assert int(whole[0]) == before.total.macs
        assert int(whole[1]) == after.total.macs


@settings(deadline=None)
@given(profiles, profiles, profiles)
def test_comparisons_add_up(one, two, three):
    """As the difference."""
    several = {"one": one.rows, "two": two.rows, "three": three.rows}
    for by in ("module", "dtype"):
        _, lines = tables(comparison(several, by=by, measure="bytes", numbers="exact", tablefmt="tsv"))
        (*_, whole), outermost = lines.values(), [cells for label, cells in lines.items() if not label.startswith(" ")]
        for column in (0, 1, 3):
            assert sum(int(cells[column]) for cells in outermost[:-1]) == int(whole[column])
        assert int(whole[0]) == one.total.bytes
        assert int(whole[3]) == three.total.bytes


@pytest.mark.parametrize("tablefmt", tabulate_formats)
def test_every_format_compares(tablefmt):
    """With the totals in it."""
    for text in (comparison(BOTH, tablefmt=tablefmt), difference(SMALL, LARGE, tablefmt=tablefmt)):
        assert "110" in text
        assert "394" in text


@pytest.mark.parametrize("width", [50, 60, 80, 120, 200])
def test_comparisons_fit(width):
    """Numbers are scaled, ratios give way, names are cut."""
    rows, more = ([row("Net.some.module.with.a_long_name.in_it", macs)] for macs in (123_456_789, 987_654_321_123))
    several = {"torchvision:resnet50": rows, "timm:vit_base_patch16_224": more}
    for text in (comparison(several, width=width), difference(rows, more, width=width)):
        assert max(map(width_of, text.splitlines())) <= width


def test_more_is_red_and_less_is_green():
    """Only where color is asked for."""
    text = difference(SMALL, [row("Small.stem", 12), *SMALL[1:3]], measure="macs", color=True, width=100)
    assert re.search(r"\x1b\[31m *\+2\x1b\[0m", text)
    assert re.search(r"\x1b\[32m *-5\x1b\[0m", text)
    assert "\x1b" not in difference(SMALL, LARGE) + comparison(BOTH)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "modul"}, "module, module_type, op, phase, dtype"),
        ({"measure": "flop"}, "did you mean .*'flops'"),
        ({"sort": "size"}, "macs, ops, flops"),
        ({"top": 0}, "1 or more"),
        ({"depth": -1}, "0 or more"),
        ({"tablefmt": "word"}, "github"),
        ({"numbers": "roman"}, "'auto', 'exact' or 'scaled'"),
    ],
)
def test_a_wrong_option_gets_a_sentence(options, message):
    """For both."""
    with pytest.raises(ProfileError, match=message):
        comparison(BOTH, **options)
    with pytest.raises(ProfileError, match=message):
        difference(SMALL, LARGE, **options)


def test_nothing_cannot_be_compared():
    """One profile can be shown, none cannot; two empty ones do not differ."""
    with pytest.raises(ProfileError, match="no profile"):
        comparison({})
    assert "total" in comparison({"a": SMALL})
    assert "Nothing changed." in difference([], [])
