"""The difference of two profiles: what it was before, what it is after, and the change."""

import copy
import json
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from module_facts import MEMORY
from test_rows import PROFILE, profiles
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from opflops import Cost, OpFlopMode, Profile, ProfileError, count
from opflops.cli import main
from opflops.errors import ProfileArgumentError
from opflops.profile.gathering import combine_ranks
from opflops.profile.profile import Difference


def net(width, *more):
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 4), *more)


X = torch.ones(2, 8)
SMALL, LARGE = count(net(16), X), count(net(32, nn.Softmax(-1)), X)


@settings(max_examples=40, deadline=None)
@given(profiles, profiles)
def test_the_changes_add_up_in_every_grouping(before, after):
    """From before to after, by each key; and there and back is nothing."""
    change = after - before
    assert change.total == after.total - before.total
    for keys in (("module",), ("op", "phase"), ("dtype",), ("rank", "group")):
        was, now, more = (each.by(*keys) for each in (before, after, change))
        for key in {*was, *now}:
            assert more.get(key, Cost()) == now.get(key, Cost()) - was.get(key, Cost())
        assert sum(more.values(), Cost()) == change.total
    assert (change + (before - after)).total == Cost()
    assert (change.before, change.after) == (before, after)


@settings(max_examples=25, deadline=None)
@given(profiles)
def test_a_profile_differs_from_itself_in_nothing(profile):
    """The empty change, which says so."""
    change = profile - profile
    assert change == Profile()
    assert (change.rows, change.modules) == ((), ())
    assert "Nothing changed." in str(change)


def test_diff_is_the_same_as_a_subtraction():
    """And prints as the command line shows it."""
    assert SMALL.diff(LARGE) == LARGE - SMALL
    assert str(SMALL.diff(LARGE)) == str(LARGE - SMALL)
    assert LARGE - SMALL != SMALL - LARGE


def test_it_prints_before_after_and_change():
    """By modules, which are paired; absolute and in percent."""
    lines = [line.split() for line in str(LARGE - SMALL).splitlines()]
    assert ["total", "before", "after", "change", "%"] in lines
    # 2 x 8 x 16 + 2 x 16 x 4 products, and twice as many.
    assert ["macs", "384", "768", "+384", "+100.0"] in lines
    # 8 x 16 + 16 + 16 x 4 + 4 parameters, and 8 x 32 + 32 + 32 x 4 + 4.
    assert ["parameters", "212", "420", "+208", "+98.1"] in lines
    assert ["1", "(ReLU)", "32", "64", "+32", "+100.0"] in lines
    # For each of 2 rows of 4: 3 comparisons, 4 differences, 3 additions, 4 quotients.
    assert ["3", "(Softmax)", "0", "28", "+28", "new"] in lines


def test_its_tables_have_the_options_of_a_comparison():
    """By any key and measure, in any format; the changes alone have those of other tables."""
    change = LARGE - SMALL
    assert ["aten.addmm", "384", "768", "+384", "+100.0"] in [
        line.split() for line in change.table("op", measure="macs").splitlines()
    ]
    assert change.table("op", tablefmt="html").startswith("<table>")
    assert change.overview(width=100) == change.table(width=100)
    with pytest.raises(ProfileArgumentError, match=r"no option 'columns'; .*change\.table\(columns=\.\.\.\)"):
        change.table(columns=["macs"])
    assert type(change.change) is Profile
    assert change.change.table("op", columns=["ops"]) == Profile(change.rows).table("op", columns=["ops"])
    with pytest.raises(ProfileError, match="write_text"):
        change.table("change.txt")


def test_the_command_line_shows_the_same(tmp_path, capsys, monkeypatch):
    """Under the names of the files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    SMALL.save("a.json")
    LARGE.save("b.json.gz")
    assert main(["diff", "a.json", "b.json.gz"]) == 0
    shown = capsys.readouterr().out.partition("\n\n")[2].replace("b.json.gz", "after").replace("a.json", "before")
    words, expected = ([word for word in text.split() if set(word) != {"-"}] for text in (shown, str(LARGE - SMALL)))
    assert words == expected


def test_a_selection_keeps_what_it_was():
    """Also of modules that did not change, or that only one of the profiles has."""
    change = LARGE - SMALL
    relu = change.where(op="relu")
    assert (relu.before, relu.after) == (SMALL.where(op="relu"), LARGE.where(op="relu"))
    assert relu == relu.after - relu.before
    assert change.where_not(op="relu").total + relu.total == change.total
    soft = change.where(module="Sequential.3")
    assert (soft.before.total, soft.after.total) == (Cost(), LARGE.where(module="Sequential.3").total)
    assert [each.module for each in soft.modules] == ["Sequential.3"]
    assert (SMALL - SMALL).where(module="Sequential.1").after == SMALL.where(module="Sequential.1")
    assert (PROFILE - PROFILE).where(module="Net.a").before == PROFILE.where(module="Net.a")
    for select in (change.where, change.where_not):
        with pytest.raises(ProfileError, match=r"Sequential\.4"):
            select(module="Sequential.4")
    with pytest.raises(ProfileError, match="none was given"):
        change.where_not()


def test_ranks_are_selected_before_and_after():
    """As of the profiles themselves."""
    before, after = combine_ranks({0: SMALL, 1: SMALL}), combine_ranks({0: LARGE, 1: SMALL})
    change = after - before
    for rank in (0, 1):
        selected = change.where(rank=rank)
        assert (selected.before, selected.after) == (before.where(rank=rank), after.where(rank=rank))
        assert selected.total == after.where(rank=rank).total - before.where(rank=rank).total
    assert change.where(rank=1).total == Cost()
    lines = [line.split() for line in (LARGE - after).table("rank", measure="macs").splitlines()]
    assert ["(no", "rank)", "0", "768", "+768", "new"] in lines
    lines = [line.split() for line in (after - combine_ranks({0: SMALL})).table("rank", measure="macs").splitlines()]
    assert ["0", "384", "768", "+384", "+100.0"] in lines
    assert ["1", "0", "384", "+384", "new"] in lines


def test_formulas_are_compared_and_evaluated():
    """At sizes the difference is that of the numbers."""
    rows = {0: Dim("batch")}
    small, large = (count(net(width), torch.ones(6, 8), dynamic_shapes=(rows,)) for width in (16, 32))
    change = large - small
    assert change.macs == large.macs - small.macs
    assert any(
        line.split() == ["macs", "192*batch", "384*batch", "192*batch", "+100.0"] for line in str(change).splitlines()
    )
    assert change.at(batch=3) == large.at(batch=3) - small.at(batch=3)
    assert (change.at(batch=3).before, change.at(batch=3).after) == (small.at(batch=3), large.at(batch=3))
    assert (large - SMALL).at(batch=2).before == SMALL
    with pytest.raises(ProfileError, match="rows"):
        change.at(rows=3)


def test_counts_that_are_symbolic_integers_are_compared_at_the_example():
    """As everywhere else."""
    with FakeTensorMode(shape_env=ShapeEnv()) as fake:
        x = fake.from_tensor(torch.ones(5, 8))
        with OpFlopMode() as mode:
            x @ x.T
    assert "Nothing changed." in str(mode.profile - mode.profile)


def test_it_is_multiplied_and_divided_with_both_sides():
    """So that it stays a difference."""
    change = LARGE - SMALL
    assert change * 3 == LARGE * 3 - SMALL * 3
    tripled = 3 * change
    assert (type(tripled), tripled.before, tripled / 3) == (Difference, SMALL * 3, change)


def test_a_sum_with_it_is_a_plain_profile():
    """Before and the change make what it is after, of which nothing is left before."""
    for reached in (SMALL + (LARGE - SMALL), (LARGE - SMALL) + SMALL, replace(LARGE - SMALL, remarks=("Said.",))):
        assert type(reached) is Profile
    assert (SMALL + (LARGE - SMALL)).total == LARGE.total


def test_copies_and_files():
    """A copy knows both sides; the JSON has the changes alone, to which the difference is equal."""
    change = replace(LARGE, memory=MEMORY) - SMALL
    for made in (
        pickle.loads(pickle.dumps(change)),  # noqa: S301 - written just before
        copy.copy(change),
        copy.deepcopy(change),
    ):
        assert type(made) is Difference
        assert (made, made.before, made.after.memory) == (change, SMALL, MEMORY)
        assert str(made) == str(change)
    read = Profile.from_json(change.to_json())
    assert type(read) is Profile
    assert read == change
    assert change == read
    assert hash(change) == hash(read)
    assert change != 3
    assert repr(change).startswith("<Difference: ")


def test_only_profiles_are_subtracted():
    """The mode and the file's name get a sentence from diff()."""
    for other in (3, "a.json", None):
        with pytest.raises(TypeError):
            PROFILE - other
        with pytest.raises(ProfileArgumentError):
            PROFILE.diff(other)


def test_a_change_added_to_what_was_before_is_what_is_after():
    """With parameters too, by hand: 8 x 16 + 16 + 16 x 4 + 4 = 212 and 8 x 32 + 32 + 32 x 4 + 4 = 420."""
    for change, other, number in ((LARGE - SMALL, SMALL, 420), (SMALL - LARGE, LARGE, 212)):
        for summed in (change + other, other + change, sum([change, other])):
            assert summed == change.after
            assert sum(each.parameters for each in summed.modules) == number


def test_parameters_of_changes_are_added_up():
    """As the changes of work are; there and back leaves nothing, and two steps are one longer step."""
    middle = count(net(20), X)
    assert ((LARGE - SMALL) + (SMALL - LARGE)).modules == ()
    steps = (LARGE - middle) + (middle - SMALL)
    whole = LARGE - SMALL
    assert {each.module: each.parameters for each in steps.modules if each.parameters} == {
        "Sequential.0": 8 * 16 + 16,
        "Sequential.2": 16 * 4,
    }
    assert sum(each.parameters for each in ((LARGE - SMALL) + middle).modules) == 208 + 8 * 20 + 20 + 20 * 4 + 4
    assert steps.total == whole.total


def test_a_diagram_refuses_a_difference():
    """Whatever its sign, and says to write both sides; the changes alone are a profile."""
    for change in (LARGE - SMALL, SMALL - LARGE):
        with pytest.raises(ProfileError, match=r"difference\.before\.to_mermaid\(\) and difference\.after\.to_mermaid"):
            change.to_mermaid()
    assert (LARGE - SMALL).change.to_mermaid()


def test_a_page_of_a_difference_says_that_it_shows_changes():
    """In its title, unless that is given."""
    assert "<title>Changes of Sequential" in (LARGE - SMALL).to_html()
    assert "<title>Mine" in (LARGE - SMALL).to_html(title="Mine")


@pytest.mark.parametrize("change", [LARGE - SMALL, SMALL - LARGE, SMALL - SMALL])
def test_json_says_that_it_is_a_difference(change):
    """Whatever its sign, so that no reader takes the changes for the costs of a program."""
    assert json.loads(change.to_json())["schema"] == "opflops.difference"
    assert Profile.from_json(change.to_json()) == change
    assert json.loads(change.after.to_json())["schema"] == "opflops.profile"
