"""Tables: golden reports, columns that add up, widths, orders, formats, and the notes below them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tabulate import tabulate_formats
from test_rows import LINEAR, PROFILE, RELU

from opflops import Cost, OpFlopMode, Profile, ProfileError, Row, count
from opflops.example import INPUT_SHAPE, SimpleCNN
from opflops.report.text.comparison import ComparisonOptions, format_comparison
from opflops.report.text.pairing import ComparedProfile

GOLDEN = Path(__file__).parent / "golden"
MACS = {"conv1": 388_800, "conv2": 778_752, "fc1": 138_240, "fc2": 10_080, "fc3": 840}
RELU_OPS = 14_400 + 5_408 + 120 + 84
WORK = "calls,macs,flops,bytes,%"


@pytest.fixture(scope="module")
def simple_cnn():
    with OpFlopMode() as mode:
        SimpleCNN()(torch.zeros(INPUT_SHAPE))
    return mode.profile.where(module=[row.module for row in mode.profile.rows if row.module])


@pytest.fixture(autouse=True)
def _width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def cells(table):
    """Split a plain table into its columns: label with its indentation, then numbers."""
    lines = [re.match(r"^( *\S+(?: \S+)*?) {2,}(.*)$", line) for line in table.splitlines()]
    found = [(match[1], re.split(r" {2,}", match[2].strip())) for match in lines if match]
    return [
        (label, *(float(number.replace(",", "")) for number in numbers))
        for label, numbers in found
        if re.fullmatch(r"[\d,]+", numbers[0])
    ]


def test_the_overview_of_the_example_is_as_it_was(simple_cnn):
    """The report for SimpleCNN, in full."""
    assert str(simple_cnn) + "\n" == (GOLDEN / "simple_cnn.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("tablefmt", ["github", "tsv", "html"])
def test_other_formats_are_as_they_were(simple_cnn, tablefmt):
    """The operators of SimpleCNN, for programs to read."""
    written = simple_cnn.table(by="op", tablefmt=tablefmt) + "\n"
    assert written == (GOLDEN / f"simple_cnn_by_op.{tablefmt}").read_text(encoding="utf-8")


def test_the_report_shows_what_the_layers_cost(simple_cnn):
    """Each layer by its name, and the ReLUs that no registered child is, by hand arithmetic."""
    lines = {label.strip(): numbers for label, *numbers in cells(simple_cnn.table(columns=WORK))}
    for layer, macs in MACS.items():
        name = f"{layer} ({'Conv2d' if layer.startswith('conv') else 'Linear'})"
        assert lines[name][1] == macs
    assert lines["ReLU()"][2] == lines["aten.relu"][2] == RELU_OPS
    assert lines["total"][1] == sum(MACS.values())


def test_columns_add_up_level_by_level(simple_cnn):
    """A module's line is the sum of the lines one step further in; the roots make the total."""
    lines = [
        (len(label) - len(label.lstrip()), numbers[:4]) for label, *numbers in cells(simple_cnn.table(columns=WORK))
    ]
    *tree, (_, whole) = lines
    assert [sum(column) for column in zip(*(numbers for indent, numbers in tree if indent == 0), strict=True)] == whole
    parents = 0
    for position, (indent, numbers) in enumerate(tree):
        below = []
        for deeper, more in tree[position + 1 :]:
            if deeper <= indent:
                break
            if deeper == indent + 2:
                below.append(more)
        if below:
            parents += 1
            assert [sum(column) for column in zip(*below, strict=True)] == numbers
    assert parents == 7


@pytest.mark.parametrize("by", ["op", "dtype", "phase", "module_type", ("module", "op")])
def test_columns_of_lists_add_up(simple_cnn, by):
    """Whatever they are grouped by, the lines make the total, and the shares a hundred."""
    *lines, whole = [numbers for _, *numbers in cells(simple_cnn.table(by=by, columns=WORK, width=200))]
    sums = [sum(column) for column in zip(*lines, strict=True)]
    assert sums[:4] == whole[:4]
    assert sums[4] == pytest.approx(100, abs=0.05 * len(lines))


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_depth_folds_what_is_below_it(depth):
    """The total stays, and the folded module shows the operators of its subtree."""
    net = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(4, 3)), torch.nn.ReLU()))
    x = torch.zeros(2, 4)
    with OpFlopMode() as mode:
        net(x)
    table = mode.table(depth=depth, columns=WORK)
    lines = cells(table)
    assert lines[-1][2:4] == (24, 60)
    modules = [label for label, *_ in lines if "aten." not in label and label != "total"]
    assert len(modules) == [1, 2, 4, 5][depth]
    assert "aten.addmm" in table
    assert "aten.relu" in table


def test_an_overview_too_long_to_read_is_folded_and_says_so():
    """Two hundred layers that all differ are shown as the one that holds them."""
    rows = [replace(LINEAR, module=f"Net.layers.{index}", cost=Cost(macs=index)) for index in range(200)]
    text = str(Profile(rows))
    assert len(text.splitlines()) < 30
    assert "Modules deeper than level 1 are folded" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "folded" not in str(PROFILE)


def test_a_stack_of_eighty_layers_prints_as_a_screen():
    """The repeated block is one line, with what is in it; operators that do little are added up."""
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    with torch.device("meta"):
        model = torch.nn.TransformerEncoder(layer, 80, enable_nested_tensor=False)
    text = str(count(model, torch.zeros(1, 4, 8, device="meta")))
    lines = text.splitlines()
    assert lines.index("") <= 35
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 80
    assert re.search(r"^    0-79 ×80 \(Transformer.*coderLayer\)  ", text, re.MULTILINE)
    assert "linear1 (Linear)" in text
    assert re.search(r"^13 without arithmetic +4,320 +0 +0 +0.0$", text, re.MULTILINE)
    assert "Some operators share a line. Show all with table() or --by module." in text.replace("\n", " ")


def test_siblings_are_sorted_as_asked(simple_cnn):
    """Largest first, or by name; by default in the order of execution."""

    def children(**options):
        return [
            label.split()[0]
            for label, *_ in cells(simple_cnn.table(depth=1, columns=WORK, **options))
            if label[2:3].isalpha() and label.startswith("  ") and "aten" not in label
        ]

    assert children() == ["conv1", "ReLU()", "conv2", "fc1", "fc2", "fc3"]
    assert children(sort="macs") == ["conv2", "conv1", "fc1", "fc2", "fc3", "ReLU()"]
    assert children(sort="calls")[0] == "ReLU()"
    assert children(sort="name") == ["ReLU()", "conv1", "conv2", "fc1", "fc2", "fc3"]


@pytest.mark.parametrize("width", [60, 72, 80, 100, 200])
def test_a_table_is_no_wider_than_the_terminal(simple_cnn, monkeypatch, width):
    """Numbers are scaled first, then names are cut in the middle."""
    monkeypatch.setenv("COLUMNS", str(width))
    long = Profile(
        tuple(replace(row, module=row.module + ".a_rather_long_name_of_a_module") for row in simple_cnn.rows)
    )
    boxed = long.table(by=("module", "op"), tablefmt="grid", width=max(width, 72))
    for text, limit in ((str(simple_cnn), width), (str(long), width), (boxed, max(width, 72))):
        assert max(map(len, text.splitlines())) <= limit
    assert ("…" in str(long)) == (width < 80)


def test_names_stay_readable_in_a_table_that_is_too_wide_anyway(simple_cnn):
    """To cut them would not make it fit."""
    columns = "params,trainable,input,output,activations,calls,macs,ops,flops,transcendentals,bytes"
    text = simple_cnn.table(columns=columns, numbers="scaled", width=80)
    assert max(map(len, text.splitlines())) > 80
    assert "module / operator" in text
    assert "  conv1 (Conv2d) " in text
    assert "    aten.convolution " in text


def test_numbers_are_exact_scaled_or_what_fits(simple_cnn):
    """Exact and SI-scaled numbers can be asked for."""
    assert "388,800" in simple_cnn.table(numbers="exact", width=200)
    assert "388.8 k" in simple_cnn.table(numbers="scaled", width=200)
    giant = Profile((replace(LINEAR, cost=Cost(macs=4_089_184_256)),))
    assert "4,089,184,256" in giant.table(width=80)
    assert "4.089 G" in giant.table(width=60)


def test_numbers_are_written_alike_in_the_tables_of_an_overview():
    """If the tree needs prefixes, the operators, which would fit in full, have them too."""
    long = replace(LINEAR, module="Net.a_module_whose_name_takes_much_of_the_line", cost=Cost(macs=4_089_184_256))
    text = str(Profile((long, replace(RELU, module="Net"))))
    assert "4,089,184,256" not in text
    assert re.search(r"^aten.addmm .* 4.089 G ", text, re.MULTILINE)


def test_no_line_ends_in_spaces(simple_cnn):
    """Where the last cell is blank, or the bar is short."""
    nothing = Profile((replace(LINEAR, cost=Cost()),))
    for text in (str(nothing), simple_cnn.table(bar=True, width=120)):
        assert not any(line.endswith(" ") for line in text.splitlines())


@pytest.mark.parametrize("tablefmt", tabulate_formats)
def test_every_format_of_tabulate_works(simple_cnn, tablefmt):
    """The total is in all of them."""
    text = simple_cnn.table(by="op", tablefmt=tablefmt, numbers="exact", width=200)
    assert ("1316712" if tablefmt == "tsv" else "1,316,712") in text.replace("\\,", ",")


UNPRICED = replace(LINEAR, op="mylib.f", priced=False, calls=3, cost=Cost(bytes_read=8))
ESTIMATED = replace(LINEAR, op="aten.svd", estimate="iterations depend on the values")


def test_unpriced_operators_are_in_the_table_in_the_total_and_below():
    """No report can be read without seeing what it lacks."""
    text = Profile((LINEAR, UNPRICED)).table(by="op", width=200)
    assert "mylib.f (unpriced)" in text
    assert "total (1 operator has no formula)" in text
    assert "Not counted: mylib.f, 3 calls. Add a formula" in text
    assert "@opflops.formula(torch.ops.mylib.f)" in text
    for tablefmt in ("github", "html", "tsv"):
        assert "total (1 operator has no formula)" in Profile((LINEAR, UNPRICED)).table(by="phase", tablefmt=tablefmt)


def test_estimates_say_why():
    """What is not exact is named below the table, with the reason."""
    assert "Estimated: aten.svd, 2 calls: iterations depend on the values." in Profile((ESTIMATED,)).table(width=200)


def test_integer_work_is_said_to_be_in_no_total():
    """Integer operations are shown by dtype."""
    assert "Totals are floating-point only. Integer work: 9 int64 operations in 1 call." in PROFILE.table(width=200)


def test_integer_work_is_in_no_total_of_times_and_said_to_be():
    """Half a second in two dtypes beside a second of arithmetic."""
    rows = [
        replace(LINEAR, seconds=1.0),
        Row("Net", "Net", "aten.add", "forward", "int64", 1, Cost(ops=3), 0.375),
        Row("Net", "Net", "aten.eq", "forward", "bool", 1, Cost(), 0.125),
    ]
    for text in (str(Profile(rows)), Profile(rows).table("op")):
        assert "500.0 ms in int64 and bool operators." in text.replace("\n", " ")
        assert re.search(r"^total .* 1\.000 s|^total .* 1\.000000", text, re.MULTILINE)


def test_what_is_left_out_is_named_for_both_ways_in():
    """In Python, and on the command line."""
    rows = [row for number in range(90) for row in (LINEAR, replace(RELU, module=f"Net.{number}"))]
    rows += [replace(LINEAR, module=f"Net.deep.{letter}.{'x' * number}") for letter in "abc" for number in range(1, 30)]
    text = str(Profile(rows)).replace("\n", " ")
    assert "Show each one with expand=True or --expand." in text
    assert re.search(r"are folded into those above\. Show all with table\(\) or --by module\.", text)


def test_modules_nested_a_thousand_levels_deep_are_shown():
    """Python calls no function as often inside itself."""
    rows = [replace(LINEAR, module=f"Net{'.d' * 1500}.x{number}") for number in range(2)]
    assert "are folded into those above" in str(Profile(rows))
    assert len(Profile(rows).table(numbers="exact").splitlines()) > 1500
    assert re.search(r"^Net +4 +20 ", Profile(rows).table(depth=2, numbers="exact"), re.MULTILINE)
    named = {"one": ComparedProfile(rows), "two": ComparedProfile(rows[:1])}
    assert format_comparison(named, ComparisonOptions(depth=300, tablefmt="tsv")).count("\n") > 200


def test_counts_that_no_float_holds_are_shown():
    """With their shares; ratios of them that no float holds are left out."""
    rows = [replace(LINEAR, cost=Cost(macs=2**1100, bytes_read=2**1100), seconds=1.0), replace(RELU, seconds=1.0)]
    text = Profile(rows).table("op", columns="flops,intensity,flop/s,%", numbers="scaled", width=2000)
    assert [line.split()[-1] for line in text.splitlines()[2:4]] == ["100.0", "0.0"]
    assert "2.00" in text.splitlines()[2]


def test_every_table_says_what_its_columns_mean():
    """The legend distinguishes macs and flops."""
    assert "flops = 2 x macs + other operations" in PROFILE.table(width=200)


def test_an_empty_profile_has_a_table():
    """Nothing was counted, and the total is 0."""
    text = str(Profile())
    assert re.search(r"total +0 +0 +0$", text, re.MULTILINE)
    assert "Nothing was counted." in text
    assert "share a line" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "modul"}, "module, module_type, op, phase, dtype"),
        ({"depth": -1}, "0 or more"),
        ({"sort": "size"}, "calls, macs, flops, transcendentals, bytes, name"),
        ({"tablefmt": "word"}, "github"),
        ({"numbers": "roman"}, "'auto', 'exact' or 'scaled'"),
    ],
)
def test_a_wrong_option_gets_a_sentence_with_the_right_ones(options, message):
    """The error lists what there is."""
    with pytest.raises(ProfileError, match=message):
        PROFILE.table(**options)


@pytest.mark.parametrize("alike", [False, True])
def test_a_report_takes_little_time_for_many_rows(alike):
    """Work grows in proportion to rows: ten times as many take well under thirty times as many steps."""
    import sys  # noqa: PLC0415 - only this test counts calls

    def steps(count):
        rows = [
            Row(f"Net.layers.{index}.fc", "Linear", "aten.mm", "forward", "float32", 1, Cost(macs=alike or index))
            for index in range(count)
        ]
        calls = 0

        def count_call(*_):
            nonlocal calls
            calls += 1

        sys.setprofile(count_call)
        try:
            Profile(rows).table()
        finally:
            sys.setprofile(None)
        return calls

    assert steps(2000) < 15 * steps(200)


def test_integer_work_that_only_costs_more_is_added_up_too():
    """In a difference rows may have no calls more and a cost all the same."""
    rows = tuple(
        Row("Net", "Net", op, "forward", "int64", 0, Cost(ops=ops)) for op, ops in (("aten.a", 3), ("aten.b", 4))
    )
    assert "Integer work: 7 int64 operations in 0 calls." in Profile(rows).table(width=200)
