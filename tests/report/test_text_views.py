"""Text views of profiles of many kinds, at several widths: they fit, are aligned, add up, and say what is hidden."""

import re
from dataclasses import replace

import pytest
import torch
from read_tables import HIDDEN, hidden_columns, number, read
from torch.nn.parallel import DistributedDataParallel
from viewed_profiles import BUILDERS, profile_of

import opflops
from opflops import Cost, Profile, Row
from opflops.cli import main
from opflops.devices import DEVICES
from opflops.report.text.comparison import ComparisonOptions, format_comparison
from opflops.report.text.device_table import format_device, format_devices
from opflops.report.text.pairing import ComparedProfile

WIDTHS = (60, 80, 100, 200)
WIDE = 1000
CUT = "Names that do not fit are cut (…)."


def compared(profile):
    return ComparedProfile(profile.rows, profile.symbolic, modules=profile.modules, memory=profile.memory)


def part_of(profile):
    """Return every second row, as of a program that did less."""
    return replace(profile, rows=profile.rows[::2], ranks=())


def comparison(profile, several, **options):
    others = {"a_file_with_a_long_name.json": part_of(profile), "torchvision:resnet18": profile_of("resnet")}
    named = {"torchvision:the_first": profile, **others, "hf:openai-community/gpt2": profile_of("gpt"), "e": profile}
    return format_comparison(
        {name: compared(each) for name, each in [*named.items()][:several]}, ComparisonOptions(**options)
    )


def numeric(view):
    """Return a view of profiles with counts that are numbers."""
    return lambda p: None if p.dimensions or not p.rows else view(p)


def with_matmuls(view):
    """Return a view of profiles with multiply-accumulates that are numbers."""
    return numeric(lambda p: view(p) if p.macs else None)


VIEWS = {
    "overview": lambda p: p.overview(bottlenecks=False),
    "tree": lambda p: p.table(),
    "tree of one level": lambda p: p.table(depth=1),
    "tree of the largest": lambda p: p.table(top=4),
    "tree by size": lambda p: p.table(sort="flops"),
    "operators": lambda p: p.table("op"),
    "largest operators": lambda p: p.table("op", top=3),
    "phases": lambda p: p.table("phase"),
    "dtypes": lambda p: p.table("dtype"),
    "classes": lambda p: p.table("module_type"),
    "modules and operators": lambda p: p.table(("module", "op")),
    "ranks": lambda p: p.table("rank") if p.ranks else None,
    "difference": lambda p: str(p - part_of(p)) if not p.ranks else None,
    "difference of operators": lambda p: (p - part_of(p)).table("op") if not p.ranks else None,
    "largest differences": lambda p: (p - part_of(p)).table(top=3) if not p.ranks else None,
    "two models": lambda p: comparison(p, 2),
    "five models": lambda p: comparison(p, 5),
    "operators of five models": lambda p: comparison(p, 5, by="op", measure="macs"),
    "roofline": numeric(lambda p: str(p.roofline("h100-sxm"))),
    "roofline of modules": numeric(lambda p: p.roofline("h100-sxm", "module").table(5)),
    "bottlenecks": lambda p: str(p.bottlenecks()) if any(row.seconds for row in p.rows) else None,
    "bottlenecks on a device": numeric(lambda p: str(p.bottlenecks("h100-sxm"))),
    "communication": lambda p: str(p.communication()),
    "scaling": lambda p: str(p.scaling()) if p.dimensions else None,
    "scaling of macs": lambda p: str(p.scaling("macs")) if p.dimensions else None,
    "resources": with_matmuls(lambda p: str(p.resources("h100-sxm", steps=1e6, mfu=0.4, devices=8, price=2))),
}


@pytest.fixture(autouse=True)
def columns(monkeypatch):
    """Return a function that sets the width of the terminal."""
    return lambda width: monkeypatch.setenv("COLUMNS", str(width))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", BUILDERS)
def test_views_fit_and_say_what_they_leave_out(columns, name, view):
    """Lines fit, cells stand below their headers, and sentences name the hidden columns and cut names, no others."""
    profile = profile_of(name)
    columns(WIDE)
    whole = VIEWS[view](profile)
    if whole is None:
        pytest.skip("not a view of this profile")
    all_tables, sentences = read(whole)
    assert HIDDEN not in sentences
    for width in WIDTHS:
        columns(width)
        text = VIEWS[view](profile)
        assert not [line for line in text.splitlines() if len(line) > width and " " in line.strip()]
        tables, sentences = read(text)
        assert len(tables) == len(all_tables)
        expected = {
            (position, header)
            for position, (table, full) in enumerate(zip(tables, all_tables, strict=True))
            for header in full.headers
            if squeezed(header) not in map(squeezed, table.headers)
        }
        known = {(position, header) for position, full in enumerate(all_tables) for header in full.headers}
        assert hidden_columns(sentences, tables) & known == expected
        assert all(table.headers for table in tables)
        assert (CUT in sentences) == any("…" in label for label in labels(tables) - labels(all_tables))


def labels(tables):
    """Return the labels of all lines, those of totals included."""
    return {label.strip() for table in tables for label in (*table.labels, *(table.total or ())[:1])}


def squeezed(header):
    """Remove the places where a header may be broken."""
    return header.replace(" ", "")


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("width", [80, WIDE])
def test_lines_add_up_and_no_column_is_all_zeros(columns, name, width):
    """Lines make the line above, outermost lines the total, shares a hundred; each usual column tells something."""
    profile = profile_of(name)
    if not profile.rows:
        pytest.skip("nothing was counted")
    columns(width)
    sizes = {each.name: each.example for each in profile.dimensions}
    for view in ("overview", "tree", "tree of one level", "tree of the largest", "operators", "classes"):
        for table in read(VIEWS[view](profile))[0]:
            for header in table.headers:
                assert re.search(r"[1-9a-z]", "".join(table.column(header))), (view, header)
            if table.total is None or "%" not in table.headers:
                continue
            assert table.total[1 + table.headers.index("%")] == "100.0"
            for header in {"calls", "macs", "flops", "%"} & {*table.headers}:
                values = [number(cell, sizes) for cell in table.column(header)]
                whole = number(table.total[1 + table.headers.index(header)], sizes)
                if None in values or whole is None:
                    # A formula of which only the leading term is shown.
                    continue
                for parent in [None, *set(range(len(values))) - set(table.leaves())]:
                    below = table.children(parent)
                    if not below:
                        continue
                    expected = whole if parent is None else values[parent]
                    rounding = (0.051 if header == "%" else 6e-4 * abs(expected)) * (len(below) + 1)
                    exact = header == "calls" or (width == WIDE and header != "%")
                    assert sum(values[each] for each in below) == pytest.approx(expected, abs=0 if exact else rounding)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_chosen_depth_is_never_longer_than_the_usual_report(columns, name):
    """With and without operators of the deeper levels."""
    columns(100)
    profile = profile_of(name)
    usual = len(read(str(profile))[0][0].labels)
    for depth in (0, 1):
        assert len(read(profile.table(depth=depth))[0][0].labels) <= usual


@pytest.mark.parametrize("name", BUILDERS)
def test_top_keeps_the_largest_lines_wherever_they_are(columns, name):
    """Of all lines that have none below them, those with the most flops."""
    columns(WIDE)
    profile = profile_of(name)
    sizes = {each.name: each.example for each in profile.dimensions}
    if not any(row.cost.flops != 0 for row in profile.rows if row.floating):
        pytest.skip("nothing was computed")

    def flops(table, is_wanted=lambda _: True):
        return sorted(
            number(table.column("flops")[each], sizes) for each in table.leaves() if is_wanted(table.labels[each])
        )

    (every,), _ = read(profile.table(numbers="exact"))
    (largest,), _ = read(profile.table(top=4, numbers="exact"))
    kept = flops(largest, lambda label: not re.match(r" *\d+ others?( |$)", label))
    assert kept == flops(every)[-4:]
    assert len(largest.labels) <= len(every.labels)


@pytest.mark.parametrize("name", BUILDERS)
def test_what_costs_nothing_is_listed_only_where_asked(columns, name):
    """Neither integer operators nor several without arithmetic side by side; table() lists the latter."""
    columns(WIDE)
    profile = profile_of(name)
    floating = {row.op for row in profile.rows if row.floating}
    costly = {row.op for row in profile.rows if row.floating and (any(row.cost[:3]) or row.cost.sent or not row.priced)}
    tables = read(str(profile))[0]
    labels = {label.strip() for table in tables for label in table.labels}
    assert not labels & {row.op for row in profile.rows} - floating
    if any(row.seconds for row in profile.rows):
        return
    tree, operators = tables[0], tables[1] if len(tables) > 1 else tables[0]
    for parent in [None, *range(len(tree.labels))]:
        below = [tree.labels[each].strip() for each in tree.children(parent)]
        assert len([label for label in below if label in floating - costly]) < 2
    assert len([label for label in operators.labels if label in floating - costly]) < 2
    asked = {label.strip() for label in read(profile.table("op"))[0][0].labels} if profile.rows else set()
    assert floating <= {label.removesuffix(" (unpriced)") for label in asked}


def test_an_unpriced_operator_has_a_line_in_every_report():
    """Its bytes are known, its arithmetic is not; it is none of those without arithmetic."""
    rows = [row for row in profile_of("long names").rows if not row.module]
    rows += [Row("", "", f"aten.{name}", "forward", "float32", 1, Cost(bytes_read=8)) for name in ("view", "clone")]
    tree, operators = read(str(Profile(rows)))[0]
    for table in (tree, operators):
        labels = [label.strip() for label in table.labels]
        assert {"mylib.a_fused_kernel_of_my_own (unpriced)", "2 without arithmetic"} <= {*labels}


def test_a_report_says_which_table_hides_a_column(columns):
    """A column that is shown in one table and hidden in another is named with that table."""
    columns(80)
    text = " ".join(str(profile_of("timed")).split())
    (found,) = re.findall(rf"{HIDDEN}(.*?)\. ", text)
    assert re.search(r"calls \(in the table(?:s by module and op| by (?:module|op))\)", found)


def test_no_more_columns_are_hidden_than_needed(columns):
    """Where a wide column gives way, narrow ones that gave way before it come back."""
    columns(80)
    text = profile_of("batch and sequence").table("op")
    assert read(text)[0][0].headers == ["calls", "flops", "%"]
    assert f"{HIDDEN}macs." in text


def test_formulas_that_are_cut_say_so(columns):
    """Where only leading terms fit, a sentence says how to see all; where all fit, there is none."""
    profile = profile_of("batch and sequence")
    columns(80)
    assert "+ … stands for more terms of a formula." in " ".join(str(profile).split())
    assert "…" not in profile.table(numbers="exact", columns="flops", width=WIDE)


@pytest.mark.parametrize("width", WIDTHS)
def test_plans_and_devices_fit(columns, width):
    """Of many ranks that send to each other; all devices in a table, and each alone."""

    def build(mesh):
        return DistributedDataParallel(torch.nn.Linear(4, 3), device_mesh=mesh)

    columns(width)
    made = opflops.plan(build, torch.ones(2, 4), mesh={"data_parallel_ranks": 512}, backward=True)
    for text in (str(made), format_devices([*DEVICES.values()]), *map(format_device, DEVICES.values())):
        read(text)
        assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize(
    "argv",
    [
        ["opflops.example:SimpleCNN", "--backward", "--memory", "--fits", "t4"],
        ["opflops.example:SimpleCNN", "--roofline", "t4", "--bottlenecks", "t4", "--resources", "t4,steps=1e6,mfu=0.4"],
        ["opflops.example:SimpleCNN", "--largest", "batch=0:0", "--fits", "100MB"],
        ["opflops.example:SimpleCNN", "opflops.example:SimpleCNN", "--measure", "bytes"],
        ["diff", "opflops.example:SimpleCNN", "opflops.example:SimpleCNN", "--by", "op"],
        ["coverage"],
        ["devices"],
        ["devices", "h100-sxm"],
    ],
    ids=lambda argv: " ".join(argv)[:60],
)
def test_reports_of_the_command_line_fit(columns, capsys, argv, width):
    """Their heads and sentences too, all of them aligned."""
    columns(width)
    assert main([*argv, "--quiet"]) == 0
    out = capsys.readouterr().out
    read(out)
    assert not [line for line in out.splitlines() if len(line) > width and " " in line.strip()]


def test_an_empty_profile_is_a_sentence():
    """And a table without lines."""
    assert "Nothing was counted." in str(Profile())
