"""Columns: which can be asked for, what is in them, in every format, and how many lines there are."""

import re
from dataclasses import replace

import pytest
from tabulate import tabulate_formats

from opflops import Cost, Profile, ProfileError, Row
from opflops.report.text.sheet import is_markup
from opflops.report.text.terminal import width_of

ROWS = [
    Row("Net.a", "Linear", "aten.addmm", "forward", "float32", 2, Cost(100, 4, 1, 40, 60)),
    Row("Net.a", "Linear", "aten.mm", "backward", "float32", 4, Cost(200, 0, 0, 80, 20)),
    Row("Net.b", "ReLU", "aten.relu", "forward", "float32", 1, Cost(0, 6, 0, 8, 8)),
    Row("", "", "aten.adam", "optimizer", "float32", 3, Cost(0, 90, 5, 30, 30)),
    Row("Net", "Net", "aten.view", "forward", "float32", 7, Cost()),
]
PROFILE = Profile(ROWS)
TIMED = Profile([replace(row, seconds=0.001 * (1 + index)) for index, row in enumerate(ROWS)])


def tsv(profile, **options):
    """Read a table back: columns by header, and lines by label, numbers as such."""
    header, *lines = [line.split("\t") for line in profile.table(tablefmt="tsv", **options).splitlines()]
    found = {line[0].strip(): [cell.strip().replace(",", "") for cell in line[1:]] for line in lines}
    names = [name.strip() for name in header[1:]]
    return {label: dict(zip(names, map(number, values), strict=True)) for label, values in found.items()}


def number(cell):
    try:
        return float(cell)
    except ValueError:
        return cell


def test_each_column_holds_what_it_says():
    """By hand for one operator and for the total: 404 of 708 flops."""
    columns = (
        "calls,macs,ops,flops,transcendentals,bytes,bytes_read,bytes_written,intensity,forward,backward,optimizer,%"
    )
    found = tsv(PROFILE, by="op", columns=columns)
    addmm = [2, 100, 4, 204, 1, 100, 40, 60, 2.04, 204, 0, 0, 29.1]
    whole = [17, 300, 100, 700, 6, 276, 158, 118, 2.54, 210, 400, 90, 100]
    assert list(found["aten.addmm"].values()) == addmm
    assert list(found["total"].values()) == whole
    assert list(found["total"]) == columns.split(",")


def test_phases_are_those_that_there_are():
    """In their order; no column for what never ran."""
    assert list(tsv(PROFILE, columns=["flops", "phases"])["total"]) == ["flops", "forward", "backward", "optimizer"]
    assert list(tsv(PROFILE.where(phase="forward"), columns="phases")["total"]) == ["forward"]


@pytest.mark.parametrize("by", ["module", "op", "phase", ("module", "phase")])
@pytest.mark.parametrize("top", [None, 1, 2])
def test_columns_add_up(by, top):
    """With others added up in one line, and phases making the whole."""
    profile = PROFILE.where(module=["Net.a", "Net.b", ""]) if by != "module" else PROFILE
    columns = "calls,macs,flops,bytes,phases"
    found = tsv(profile, by=by, columns=columns, top=top, depth=0)
    whole = found.pop("total")
    lines = found.values()
    if by == "module":
        lines = [found["Net"], found["(outside)"]] if top is None else [found["Net"], found["1 other module"]]
    for name in columns.removesuffix(",phases").split(","):
        assert sum(line[name] for line in lines) == whole[name]
    assert whole["forward"] + whole["backward"] + whole["optimizer"] == whole["flops"]


def test_top_shows_the_largest_and_adds_up_the_others():
    """By flops unless sorted by something else."""
    assert list(tsv(PROFILE, by="op", top=2)) == ["aten.mm", "aten.addmm", "3 others", "total"]
    assert list(tsv(PROFILE, by="op", top=1, sort="calls")) == ["aten.view", "4 others", "total"]
    assert list(tsv(PROFILE, by="op", top=4)) == ["aten.mm", "aten.addmm", "aten.adam", "aten.relu", "1 other", "total"]
    assert list(tsv(PROFILE, by="op", top=5))[-2:] == ["aten.view", "total"]
    assert tsv(PROFILE, by="op", top=2)["3 others"]["flops"] == 96


def test_top_keeps_the_largest_operators_of_the_tree():
    """Below the modules that ran them; what is left out is one line in each place."""
    lines = PROFILE.table(top=1, columns="flops", width=100).splitlines()[2:]
    labels = [line.rpartition("  ")[0].rstrip() for line in lines[: lines.index("")]]
    expected = ["Net", "  a (Linear)", "    aten.mm", "    1 other operator"]
    assert labels[: len(expected)] == expected
    assert labels[-3] == "1 other module"


def test_times_are_shown_where_there_are_any():
    """Seconds, and what they make of the flops: 408 of them in a millisecond for the largest operator."""
    found = tsv(TIMED, by="op")
    assert list(found["total"]) == ["calls", "macs", "flops", "seconds", "flop/s", "%"]
    assert found["aten.mm"]["seconds"] == 0.002
    assert found["aten.mm"]["flop/s"] == "200.0 k"
    assert found["total"]["seconds"] == pytest.approx(0.015)
    assert "2.000 ms" in TIMED.table(by="op", numbers="scaled")
    assert "seconds" not in tsv(PROFILE)["total"]
    assert next(iter(tsv(TIMED, by="op", sort="seconds"))) == "aten.view"


def test_a_rate_of_what_took_no_time_is_blank():
    """As is the intensity of what moves nothing."""
    found = tsv(PROFILE, by="op", columns="flop/s,seconds,intensity,calls")
    assert found["aten.mm"] == {"flop/s": "", "seconds": "", "intensity": 4, "calls": 4}
    assert found["aten.view"]["intensity"] == ""


@pytest.mark.parametrize("tablefmt", tabulate_formats)
@pytest.mark.parametrize("by", ["module", "op"])
def test_every_format_has_every_column(tablefmt, by):
    """With all options at once, the total's figures are there; formats for terminals have bars, markup has none."""
    columns = "calls,flops,phases,bytes,intensity,seconds,flop/s,%,bar"
    text = TIMED.table(by, tablefmt=tablefmt, columns=columns, top=2, numbers="exact", width=200, sort="flops", depth=2)
    for figure in ("17", "700", "210", "400", "90", "276", "2.54", "0.015000"):
        assert figure in text
    assert ("█" in text) == (not is_markup(tablefmt))


@pytest.mark.parametrize("tablefmt", tabulate_formats)
def test_columns_add_up_in_every_format(tablefmt):
    """Read back, the lines make the total."""
    text = PROFILE.table(by="op", tablefmt=tablefmt, columns="calls,flops,bytes", top=3, width=200)
    lines = [line for line in text.split("macs are")[0].splitlines() if re.search(r"aten\b|others|total", line)]
    *parts, whole = [[int(each) for each in re.findall(r"\b\d+\b", line)[-3:]] for line in lines]
    assert whole == [17, 700, 276]
    assert len(parts) == 4
    assert [sum(column) for column in zip(*parts, strict=True)] == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "flop"}, r"no column 'flop'; did you mean .*'flops'"),
        ({"columns": ["macs", "qqq"]}, "there are calls, macs"),
        ({"columns": []}, "needs a column"),
        ({"top": 0}, "1 or more"),
        ({"sort": "flop"}, "did you mean"),
    ],
)
def test_a_wrong_column_or_number_gets_a_sentence(options, message):
    """With the nearest names."""
    with pytest.raises(ProfileError, match=message):
        PROFILE.table(**options)


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("tablefmt", ["simple", "rounded_grid", "plain", "psql", "pretty", "presto"])
@pytest.mark.parametrize("bars", [False, True])
def test_tables_fit(width, tablefmt, bars):
    """Usual columns give way one after the other, then names are cut; a note says what is left out."""
    rows = [
        replace(row, module=f"Net.encoder.layers.{index}.self_attention.out_projection_with_a_name", op=row.op,
                cost=row.cost * 10**9)
        for index, row in enumerate(ROWS)
    ]  # fmt: skip
    for profile in (Profile(rows), Profile([replace(row, seconds=1.5) for row in rows])):
        text = profile.table(tablefmt=tablefmt, width=width, bar=bars)
        assert max(map(width_of, text.splitlines())) <= width


def test_what_there_was_no_room_for_is_said():
    """The least telling columns give way first."""
    long = Profile([replace(row, module="Net.a_module_with_a_long_name") for row in ROWS])
    notes = " ".join(long.table(width=40, numbers="scaled").split())
    assert "Hidden because the terminal is narrow: calls, macs." in notes
    assert "Left out" not in long.table(width=80)


def test_columns_that_were_asked_for_stay():
    """Names are cut for them, and bars are drawn at any width."""
    text = PROFILE.table(columns="calls,macs,flops,%,bar", width=40)
    assert "calls" in text
    assert "█" in text
    assert "Left out" not in text


def test_phase_columns_say_what_they_hold():
    """In words, below."""
    assert "Columns forward, backward and optimizer: flops of the phase." in PROFILE.table(columns="phases")
    assert "intensity = flops / bytes." in PROFILE.table(columns="intensity")


def test_markup_keeps_the_tree():
    """Where spaces would be lost, they do not break."""
    lines = PROFILE.table(tablefmt="github", columns="flops").splitlines()
    assert any(line.startswith("| \u00a0\u00a0\u00a0\u00a0aten.addmm") for line in lines)
    assert "&nbsp;" not in PROFILE.table(tablefmt="html")


def test_an_overview_of_several_phases_has_a_table_of_them():
    """And of dtypes, where there are several."""
    assert re.search(r"^backward +4 ", str(PROFILE), re.MULTILINE)
    assert not re.search(r"^float32", str(PROFILE), re.MULTILINE)
    mixed = Profile([*ROWS, replace(ROWS[0], dtype="bfloat16")])
    assert re.search(r"^bfloat16 +2 ", str(mixed), re.MULTILINE)
