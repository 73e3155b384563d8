"""Large profiles take little memory beside their rows: equal costs are one object, files are read part by part."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_report_scale import FEW, counted, most_memory, outcome, profile_with, some_rows, with_types

from opflops import Cost, Profile
from opflops.profile.unread import unread_of
from opflops.records.cost import SharedCosts, total_of
from opflops.report.files import reading, row_reading, saved_profiles


@pytest.mark.parametrize("name", ["profile.json", "profile.json.gz"])
def test_a_file_is_read_part_by_part(tmp_path, monkeypatch, name):
    """Its text, of which nothing is unusual, is never in memory as a whole."""
    profile, path = Profile(some_rows(3_000), called=["Net"]), tmp_path / name
    profile.save(path)
    parts = []
    original = row_reading._Text.read_on

    def read_on(source):
        original(source)
        parts.append(len(source.part))

    monkeypatch.setattr(row_reading._Text, "read_on", read_on)
    monkeypatch.setattr(saved_profiles, "_PIECE", 10_000)
    monkeypatch.setattr(saved_profiles, "load_text", None)
    assert Profile.load(path) == profile
    assert len(parts) > 50
    assert max(parts) < 12_000


def in_pieces(text, lengths):
    """Cut a text into pieces of these lengths, over and over."""
    ends = [*itertools.takewhile(lambda end: end < len(text), itertools.accumulate(itertools.cycle(lengths)))]
    return [text[start:end] for start, end in itertools.pairwise([0, *ends, len(text)])]


# Objects follow each other after its rows, too.
WITH_MODULES = profile_with(["Net", "Net.a", "Net.b"]).to_json()
# The head of a text, up to its first row, is shorter.
lengths = st.lists(st.integers(100, 900), min_size=1, max_size=4)


@given(lengths)
def test_a_text_in_pieces_is_read(lengths):
    """Wherever the pieces end."""
    assert reading.load_pieces(in_pieces(WITH_MODULES, lengths)) == reading.load(WITH_MODULES)


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=4),
    st.integers(0, len(FEW) - 1),
    st.integers(0, 3),
    st.sampled_from(["", " ", '"', "}, {", "]", "}", ", ", "é", "\\u00e9"]),
)
def test_a_damaged_text_in_pieces_is_read_as_the_whole_one_or_not_at_all(lengths, start, length, new):
    """What is not read is explained by the way that has the whole text."""
    text = FEW[:start] + new + FEW[start + length :]
    found = reading.load_pieces(in_pieces(text, lengths))
    assert found is None or with_types(Profile(found["rows"])) == outcome(text)


PATHS = [f"Net.{group}.layers.{each}" for group in range(40) for each in range(50)]
BY_SIZE = [
    profile_with(PATHS[:number], [(f"aten.op{each}", "forward", each) for each in range(10)]) for number in (500, 2_000)
]
# Bytes, of which a row of its own takes 250.
MEMORY = {
    "sum": (lambda profile, _: profile + profile, 60),
    "print": (lambda profile, _: str(profile), 260),
    "difference": (lambda profile, other: str(profile.diff(other)), 300),
    "pandas": (lambda profile, _: profile.to_dataframe(), 60),
    "polars": (lambda profile, _: profile.to_dataframe(backend="polars"), 60),
}


@pytest.mark.parametrize("name", MEMORY)
def test_a_view_takes_so_many_bytes_for_a_row_beside_what_it_returns(name):
    """Those of a hundred million bytes are held for a million rows, which are in memory too."""
    view, ceiling = MEMORY[name]
    other = 3 * BY_SIZE[0]
    view(BY_SIZE[0], other)  # what writes is loaded with the first
    peaks = [most_memory(lambda profile=profile: view(profile, other))[0] for profile in BY_SIZE]
    assert (peaks[1] - peaks[0]) / (len(BY_SIZE[1].rows) - len(BY_SIZE[0].rows)) <= ceiling


SAME_COSTS = {
    "counted": lambda: counted(30).profile,
    "read": lambda: Profile.from_json(counted(30).profile.to_json()),
    "sum": lambda: counted(30).profile + counted(30).profile,
    "multiple": lambda: 3 * counted(30).profile,
    "difference": lambda: counted(30).profile - 3 * counted(30).profile,
}


@pytest.mark.parametrize("name", SAME_COSTS)
def test_rows_of_repeated_modules_share_their_costs(name):
    """A sigmoid and a ReLU cost the same in each of 30 modules."""
    rows = SAME_COSTS[name]().rows
    assert len(rows) == 60
    assert len({id(row.cost) for row in rows}) == len({row.cost for row in rows}) == 2


def test_integers_share_no_object_with_numbers_that_equal_them():
    """1, 1.0 and True are equal, and are written differently."""
    costs = SharedCosts()
    found = [costs.share(Cost(number)) for number in (1, 1.0, True, 1)]
    assert [type(cost.macs) for cost in found] == [int, float, bool, int]
    assert found[0] is found[3]


def test_a_printed_difference_makes_no_rows_of_the_change():
    """It shows what was before and after; the total of the change is known without its rows, the same as with them."""
    change = 3 * BY_SIZE[0] - BY_SIZE[0]
    assert "+" in str(change)
    before = change.total
    assert unread_of(change) is not None
    assert total_of(row.cost for row in change.rows) == before == 2 * BY_SIZE[0].total
    assert unread_of(change) is None
    assert change.total == before
