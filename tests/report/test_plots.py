"""The pictures: their numbers, their labels and units, that texts lie on no others, and what is no picture."""

import io
import sys
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from drawn import assert_legible, profile, row, texts_of, words
from required import absent
from torch import nn
from torch.export import Dim

from opflops import MissingExtraError, OpFlopMode, Profile, ProfileError, count
from opflops.devices import Device
from opflops.errors import ProfileArgumentError
from opflops.example import GPT, SimpleCNN
from opflops.records.memory import LiveBytes, Memory, Moment, Sample

try:
    matplotlib = import_module("matplotlib")
except ImportError as error:
    matplotlib = None
    REASON = f"matplotlib does not import ({error})"

DEVICE = Device("mine", {"float32": 1e12, "float16": 4e12}, 1e11)
PHASES = ("forward", "backward", "recompute", "optimizer")


def make_figure(**options):
    """Make a figure that pyplot does not know."""
    return import_module("matplotlib.figure").Figure(**options)


@pytest.fixture(autouse=True)
def _matplotlib(request):
    """Skip without matplotlib, except a test that takes it away itself."""
    if matplotlib is None and "without_matplotlib" not in request.node.name:
        absent("plot", REASON)


@pytest.fixture
def figure():
    return make_figure(layout="constrained")


@pytest.fixture(scope="module")
def step():
    """Count a training step of a small GPT with memory."""
    with torch.device("meta"):
        model, ids = GPT(layers=2, width=64, heads=4, vocabulary=100), torch.zeros(2, 32, dtype=torch.int64)
    return count(model, ids, optimizer=torch.optim.AdamW, memory=True, device="cpu")


class Attention(nn.Module):
    """Mix tokens by a matmul with weights, whose cost grows with their number, and two that grow with its square."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return q @ k.transpose(1, 2) @ v if x.shape[1] > 1 else v


@pytest.fixture(scope="module")
def formulas():
    """Count a model whose sizes are symbols, and that does something else with one token."""
    return count(Attention(), torch.zeros(2, 32, 16), dynamic_shapes=({0: Dim("batch"), 1: Dim("seq", max=1024)},))


def bars(ax):
    """Return the ends of the bars, by the name above each."""
    names = [label.get_text() for label in ax.get_yticklabels()]
    lengths = {}
    for patch in ax.patches:
        name = names[int(patch.get_y())]
        lengths[name] = max(lengths.get(name, 0), patch.get_x() + patch.get_width())
    return lengths


# Module bars


def test_bars_are_each_modules_own_work_largest_first():
    """By hand: 2 flops a mac; the root's own work is a bar, and no bar includes another."""
    rows = [row("Net", "aten.add", macs=1500, kind="Net"), row("Net.a", macs=500), row("Net.a.b", macs=4000)]
    ax = profile(*rows).plot_modules()
    assert bars(ax) == pytest.approx({"a.b (Linear)": 8, "Net": 3, "a (Linear)": 1})
    assert ax.get_xlabel() == "Floating-point operations (kFLOPs)"
    assert ax.get_title(loc="left") == "Net: own flops of each module\n12.00 kFLOPs in all"


def test_bars_at_a_depth_include_what_is_below():
    """Bars of the deepest level are inclusive, those above are own work, and all add up."""
    rows = [
        row("Net", macs=1, kind="Net"),
        row("Net.a", macs=10),
        row("Net.a.b", macs=100),
        row("Net.a.b.c", macs=1000),
    ]
    p = profile(*rows)
    assert bars(p.plot_modules("macs", depth=0)) == pytest.approx({"Net": 1.111})
    assert bars(p.plot_modules("macs", depth=1)) == pytest.approx({"a (Linear)": 1.11, "Net": 0.001})
    ax = p.plot_modules("macs", depth=2)
    assert bars(ax) == pytest.approx({"a.b (Linear)": 1.1, "a (Linear)": 0.01, "Net": 0.001})
    assert "macs of modules to level 2, these with all below" in ax.get_title(loc="left")


def test_equal_blocks_are_one_bar():
    """As in tables, with how many they are; nested repeats are multiplied."""
    rows = [row(f"Net.blocks.{block}.heads.{head}.q", macs=100) for block in range(3) for head in range(2)]
    assert bars(profile(*rows).plot_modules("macs")) == pytest.approx({"blocks.0-2.heads.0-1.q (Linear) ×6": 600})


def test_phases_are_stacked_in_colors_with_a_legend():
    """Each phase has its own color, in the order of a step; one phase alone needs no legend."""
    rows = [row("Net.fc", phase=phase, macs=macs) for phase, macs in zip(PHASES[::-1], (1, 20, 300, 4000), strict=True)]
    ax = profile(*rows).plot_modules("macs")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(PHASES)
    widths = sorted((patch.get_x(), patch.get_width(), patch.get_facecolor()) for patch in ax.patches)
    assert [width for _, width, _ in widths] == pytest.approx([4, 0.3, 0.02, 0.001])
    assert len({color for *_, color in widths}) == 4
    assert profile(rows[0]).plot_modules().get_legend() is None


def test_bars_of_the_others_add_up():
    """Those beyond the top are one bar; where it is much longer than the others, it is cut off, and says so."""
    few = profile(*(row(f"Net.{name}", macs=macs) for name, macs in zip("abcd", (50, 40, 30, 20), strict=True)))
    assert bars(few.plot_modules("macs", top=2)) == pytest.approx({"a (Linear)": 50, "b (Linear)": 40, "2 others": 50})
    many = profile(*(row(f"Net.m{number}x", f"aten.op{number}", macs=1000 + number) for number in range(1000)))
    ax = many.plot_modules("macs", top=3)
    assert [label.get_text() for label in ax.get_yticklabels()][-1] == "997 others (bar cut off)"
    assert ax.get_xlim()[1] < 2.1
    assert any(text.startswith(f"{sum(range(1000, 1997)) / 1e6:.3f} MMACs") for text in words(ax.figure))


@pytest.mark.parametrize(
    ("measure", "label"),
    [
        ("macs", "Multiply-accumulates (GMACs)"),
        ("bytes", "Memory traffic (MB)"),
        ("seconds", "Time (ms)"),
        ("ops", "Operations other than multiply-accumulates (operations)"),
    ],
)
def test_axes_of_bars_have_units(measure, label):
    """The unit suits the largest number; of nothing there is a sentence."""
    ax = profile(row("Net.fc", macs=3 * 10**9, moved=5 * 10**6, seconds=0.02)).plot_modules(measure)
    assert ax.get_xlabel() == label
    assert_legible(ax.figure)
    if measure == "ops":
        assert "No operations other than multiply-accumulates of modules to show." in words(ax.figure)


def test_time_of_integer_work_has_a_bar_too():
    """As in other views of time; its arithmetic is in no total and has none."""
    p = profile(row("Net.a", seconds=0.001), row("Net.b", dtype="int64", seconds=0.003))
    assert bars(p.plot_modules("seconds")) == pytest.approx({"b (Linear)": 3, "a (Linear)": 1})
    assert list(bars(p.plot_modules())) == ["a (Linear)"]


@pytest.mark.parametrize("power", [30, 400])
def test_huge_counts_have_bars(power):
    """Integers beyond floating point are divided first."""
    ax = profile(row("Net.a", macs=2 * 10**power), row("Net.b", macs=10**power)).plot_modules("macs")
    first, second = bars(ax).values()
    assert first == pytest.approx(2 * second)
    assert f"10^{power - power % 3} MACs" in ax.get_xlabel()
    assert_legible(ax.figure)


# Roofline


def points(ax):
    """Return the points of a roofline: x, y, whether filled."""
    return [
        (line.get_xdata()[0], line.get_ydata()[0], line.get_markerfacecolor() != "none")
        for line in ax.lines
        if line.get_marker() == "o"
    ]


def test_points_stand_at_their_bound_or_where_they_were_measured():
    """By hand: 2e9 flops over 1e9 bytes; at 1e11 B/s that takes 10 ms, so 2e11 FLOP/s, or 1e11 if it took 20 ms."""
    work = row("Net.a", macs=10**9, moved=10**9)
    assert points(profile(work).plot_roofline(DEVICE)) == [(2.0, pytest.approx(2e11), False)]
    ax = profile(replace(work, seconds=0.02)).plot_roofline(DEVICE)
    assert points(ax) == [(2.0, pytest.approx(1e11), True)]
    assert "at least 10.00 ms, took 20.00 ms" in ax.get_title(loc="left")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Arithmetic intensity (FLOPs/byte)", "Rate (FLOP/s)")


def test_partly_timed_parts_stand_at_their_bound():
    """The rate of a part that was timed in part is not known."""
    rows = [row("Net.a", macs=10**9, moved=10**9, seconds=0.02), row("Net.b", macs=10**9, moved=10**9)]
    assert points(profile(*rows).plot_roofline(DEVICE)) == [(2.0, pytest.approx(2e11), False)]


def test_each_dtype_in_use_has_a_roof():
    """With its peak; the slope has the bandwidth. Dtypes with one peak share a roof; others have none."""
    rows = [row("Net.a", dtype=dtype, macs=10**9) for dtype in ("float32", "complex64")]
    shown = words(profile(*rows).plot_roofline(DEVICE).figure)
    assert "float32, complex64: 1 TFLOP/s" in shown
    assert "100 GB/s" in shown
    assert not any("float16" in text for text in shown)
    assert any(
        "float32 in TF32: 156 TFLOP/s" in text
        for text in words(profile(*rows[:1]).plot_roofline("a100-sxm-80gb:tf32").figure)
    )


def test_roofs_of_integers_are_in_operations():
    """Not in FLOPs, also where a roof is that of a floating-point dtype too."""
    assert "int8: 130 TOP/s" in words(Profile().plot_roofline("t4").figure)
    shown = " ".join(words(Profile().plot_roofline("h100-sxm").figure))
    assert "float8: 1.98 PFLOP/s; int8: 1.98 POP/s" in shown


def test_equal_modules_are_one_point():
    """Named by what they have in common, with the sum of their times as area."""
    rows = [row(f"Net.{number}.fc", macs=10**9) for number in range(80)] + [row("Net.head", macs=10**9, moved=10**10)]
    ax = profile(*rows).plot_roofline(DEVICE, by="module")
    assert len(points(ax)) == 2
    assert "Net.*.fc ×80" in words(ax.figure)


def test_parts_that_have_no_place_are_named():
    """Copies have no flops: the title says how many parts are missing, and their share."""
    rows = [row("Net.a", macs=10**9, moved=10**9), row("Net.b", "aten.copy_", macs=0, moved=10**9)]
    ax = profile(*rows).plot_roofline(DEVICE)
    assert "Not shown: 1 part without FLOPs or without bytes, 50.0 % of the bound." in ax.get_title(loc="left")
    assert len(points(ax)) == 1


def test_points_without_a_label_are_counted():
    """Only the largest get one."""
    rows = [row("Net.a", f"aten.op{number}", macs=10 ** (number + 3), moved=10**4) for number in range(9)]
    ax = profile(*rows).plot_roofline(DEVICE, top=2)
    assert {text for text in words(ax.figure) if text.startswith("aten")} == {"aten.op8", "aten.op7"}
    assert "7 points without a label" in words(ax.figure)


def test_nothing_to_show_is_a_sentence():
    """In rooflines and bars of empty profiles, and of integer work alone."""
    for p in (Profile(), profile(row("Net.a", dtype="int64"))):
        roofline, modules = p.plot_roofline(DEVICE), p.plot_modules()
        assert "No floating-point work that moves bytes." in words(roofline.figure)
        assert "No floating-point operations of modules to show." in words(modules.figure)
        assert_legible(roofline.figure)
        assert_legible(modules.figure)
        # The roofs pass behind the sentence.
        (sentence,) = [text for text in roofline.texts if text.get_text().startswith("No floating-point")]
        assert sentence.get_bbox_patch().get_facecolor() == roofline.get_facecolor()


# Memory


def sample(number, phase="forward", **live):
    return Sample(Moment("Net.fc", "aten.mm", phase, number=number), LiveBytes(**live))


def memory_of(*samples, **others):
    highest = max(samples, key=lambda each: each.live.total)
    return Memory(peak=highest.live.total, at=highest.at, at_peak=highest.live, timeline=samples, **others)


def test_areas_of_memory_are_stacked_to_the_peak():
    """By hand: 3 + 2 kB at the peak, which is marked; categories without bytes have no place in the legend."""
    p = Profile(
        memory=memory_of(
            sample(0, parameters=3000),
            sample(4, "backward", parameters=3000, gradients=2000),
            sample(9, "optimizer", parameters=3000, gradients=1000),
        )
    )
    ax = p.plot_memory()
    assert ax.get_ylabel() == "Live memory (kB)"
    assert ax.get_xlabel() == "Operators that have run"
    (mark,) = [line for line in ax.lines if line.get_marker() == "v"]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (4, 5.0)
    assert ax.get_ylim()[1] > 5
    shown = words(ax.figure)
    assert "peak: 5.000 kB after aten.mm in Net.fc (backward)" in shown
    assert {"forward", "backward", "gradients", "parameters"} <= set(shown)
    assert "inputs" not in shown
    assert max(area.get_datalim(ax.transData).y1 for area in ax.collections[:2]) == pytest.approx(5)


def test_phases_too_short_for_a_name_are_in_the_legend():
    """Recomputation and backward alternate in short stretches."""
    samples = [sample(0, parameters=1)]
    samples += [sample(1 + number, ("recompute", "backward")[number % 2], parameters=1) for number in range(60)]
    shown = words(Profile(memory=memory_of(*samples)).plot_memory().figure)
    assert {"phase: recompute", "phase: backward", "phase: forward"} <= set(shown)


def test_a_device_is_picked_by_name():
    """By default the one with the highest peak; the title names the others."""
    other = replace(memory_of(sample(0, inputs=7)), device="cuda:0")
    p = Profile(memory=memory_of(sample(0, inputs=9000), others=(other,)))
    assert p.plot_memory().get_title(loc="left") == "Memory on cpu: peak 9.000 kB\npeak on cuda:0: 7 B"
    assert p.plot_memory("cuda:0").get_title(loc="left") == "Memory on cuda:0: peak 7 B"
    with pytest.raises(ProfileArgumentError, match="'cuda:1'; there are cpu, cuda:0"):
        p.plot_memory("cuda:1")


@pytest.mark.parametrize(
    "memory",
    [Memory(), memory_of(sample(0, parameters=5)), Memory(timeline=(sample(0),), at=Moment("", "aten.mm", "forward"))],
)
def test_memory_of_little_is_drawn(memory):
    """No operator, one operator, or no bytes."""
    assert_legible(Profile(memory=memory).plot_memory().figure)


# Scaling


def test_curves_are_the_formulas(formulas):
    """Each point is what ``at`` says, the other dimension at the size of the example or at the given one."""
    ax = formulas.plot_scaling(("macs", "bytes"), "seq", sizes={"batch": 3}, limits=(8, 512))
    for line, measure in zip(ax.lines, ("macs", "bytes"), strict=False):
        x, y = line.get_data()
        assert (x[0], x[-1]) == (8, 512)
        for position in (0, 20, -1):
            assert y[position] == getattr(formulas.at(batch=3, seq=int(x[position])).total, measure)
    assert ax.get_title(loc="left").startswith("macs, bytes by seq at batch = 3")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Size of seq", "Count (MACs, B)")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_curves_have_their_exponents(formulas):
    """Matmuls with weights grow with seq, attention with its square, and the total from one to the other."""
    shown = words(formulas.plot_scaling("macs", "seq").figure)
    assert "aten.addmm   seq" in shown
    assert "aten.bmm   seq²" in shown
    (total,) = [text for text in shown if text.startswith("total")]
    assert 1 < float(total.partition("seq^")[2].partition(" ")[0]) < 2
    assert total.endswith("→ seq²")


def test_curves_stop_where_formulas_do():
    """Sizes outside a condition are shaded and have no counts; the condition stands in the title."""

    def model(x):
        return x @ x.T if x.shape[0] > 8 else x

    ax = count(model, torch.zeros(16, 4), dynamic_shapes=({0: Dim("n")},)).plot_scaling("macs")
    x, y = ax.lines[0].get_data()
    assert all((value != value) == (size <= 8) for size, value in zip(x, y, strict=True))  # noqa: PLR0124 - not a number
    assert "Holds for n > 8" in ax.get_title(loc="left")
    assert_legible(ax.figure)


def test_sizes_that_must_be_multiples_are_found():
    """A formula that holds for multiples of 8 alone has a curve all the same."""

    def model(x):
        return x.reshape(8, -1) @ torch.zeros(x.shape[0] // 8, 2) if x.shape[0] % 8 == 0 else x

    p = count(model, torch.zeros(64), dynamic_shapes=({0: Dim("n")},))
    ax = p.plot_scaling("macs", limits=(64, 4096))
    known = [(size, value) for size, value in zip(*ax.lines[0].get_data(), strict=True) if value == value]  # noqa: PLR0124 - not a number
    assert len(known) > 20
    assert all(value == 2 * size and size % 8 == 0 for size, value in known)


def test_a_size_with_a_case_of_its_own_is_a_dot(formulas):
    """At a sequence of one token the model runs other operators."""
    ax = formulas.plot_scaling(("flops", "macs"), "seq")
    dots = [line.get_data() for line in ax.lines if line.get_marker() == "o"]
    assert [tuple(map(list, dot)) for dot in dots] == [
        ([1], [formulas.at(batch=2, seq=1).total.flops]),
        ([1], [formulas.at(batch=2, seq=1).total.macs]),
    ]
    assert 1 not in ax.lines[0].get_xdata()


def test_what_is_zero_is_named_not_drawn(formulas):
    """A logarithmic axis has no place for it."""
    ax = formulas.plot_scaling(("transcendentals", "macs"), "seq")
    zero = count(lambda x: x @ x.T, torch.zeros(4, 4), dynamic_shapes=({0: Dim("n")},))
    assert ax.get_legend() is not None
    title = zero.plot_scaling(("transcendentals", "macs")).get_title(loc="left")
    assert "Not shown, being 0: transcendentals." in title
    assert_legible(zero.plot_scaling("transcendentals").figure)


# All pictures


def named(ax):
    """Return the texts that have a dollar sign; there are some."""
    found = [text for text in ax.figure.findobj(import_module("matplotlib.text").Text) if "$" in text.get_text()]
    assert found
    return found


def pictures(step, formulas):
    """Return functions that draw each picture of real models."""
    net, x = SimpleCNN(), torch.zeros(1, 3, 32, 32)
    with OpFlopMode(timing=True) as m:
        net(x).sum().backward()
    return {
        "modules": step.plot_modules,
        "modules at a depth": lambda **options: step.plot_modules("bytes", depth=1, **options),
        "roofline": lambda **options: step.plot_roofline("h100-sxm", **options),
        "roofline of modules": lambda **options: step.plot_roofline("h100-sxm", ("module", "phase"), **options),
        "timed roofline": lambda **options: m.profile.plot_roofline(DEVICE, "module", **options),
        "memory": step.plot_memory,
        "scaling": lambda **options: formulas.plot_scaling("flops", "seq", **options),
    }


@pytest.mark.parametrize(
    "size",
    [None, (3.5, 3), *(pytest.param(size, marks=pytest.mark.exhaustive) for size in ((4, 5), (5, 4), (9, 3), (14, 8)))],
)
def test_no_text_lies_on_another(step, formulas, size):
    """In figures of all sizes, of real models."""
    for name, draw in pictures(step, formulas).items():
        given = None if size is None else make_figure(figsize=size, layout="constrained").add_subplot()
        ax = draw(ax=given)
        assert ax is given or size is None, name
        assert_legible(ax.figure)


def test_pictures_in_a_grid_stay_legible(step, formulas):
    """Axes that share a figure, without a layout that makes room for titles, have short titles."""
    figure = make_figure(figsize=(16, 8))
    axes = figure.subplots(2, 3, gridspec_kw={"hspace": 0.3, "wspace": 0.3})
    draws = list(pictures(step, formulas).values())
    for draw, ax in zip(draws[1:], axes.flat, strict=True):
        assert draw(ax=ax) is ax
    assert_legible(figure)


@pytest.mark.parametrize("font", [pytest.param(6, marks=pytest.mark.exhaustive), 16])
def test_users_size_of_text_is_used(step, font):
    """Small and large text of matplotlib's settings."""
    with matplotlib.rc_context({"font.size": font}):
        for ax in (step.plot_modules(), step.plot_memory(), step.plot_roofline("h100-sxm")):
            assert_legible(ax.figure)


def test_names_are_plain_text():
    """Signs of TeX stay as they are, names may begin with ``_``, and what cannot be drawn is escaped."""
    names = ["$x_1$", "_a^2", r"\frac{a}{b}", "слой", "卷积", "bad\x1b[2J"]
    p = profile(*(row(f"Net.{name}", f"_my.{name}", macs=1000 + number) for number, name in enumerate(names)))
    with matplotlib.rc_context({"font.family": ["DejaVu Sans"]}):
        shown = words(p.plot_modules().figure)
        ops = words(p.plot_roofline(DEVICE).figure)
    for name in (*names[:4], r"\u5377\u79ef", r"bad\x1b[2J"):
        assert f"{name} (Linear)" in shown
        assert f"_my.{name}" in ops
    assert not any(text.get_parse_math() for text in named(p.plot_modules()) + named(p.plot_roofline(DEVICE)))
    symbol = count(lambda x: x @ x.T, torch.zeros(4, 4), dynamic_shapes=({0: Dim("n")},))
    priced = replace(symbol, rows=tuple(replace(each, op="$n_1$") for each in symbol.rows))
    assert not any(text.get_parse_math() for text in named(priced.plot_scaling()))


def test_a_curve_may_have_a_name_that_begins_with_an_underscore(formulas):
    """Releases of matplotlib before 3.10 leave such names out of legends by themselves."""
    rows = tuple(replace(each, op=f"_private.{each.op}") for each in formulas.rows)
    shown = words(replace(formulas, rows=rows, cases=()).plot_scaling("macs", "seq").figure)
    assert "_private.aten.addmm   seq" in shown


def test_nothing_of_matplotlib_changes(step, formulas):
    """No figure of pyplot, which is not even imported, no backend and no setting; a file can be written."""
    # A look at the backend's name by the usual way would choose one.
    before, had_pyplot = dict(dict.items(matplotlib.rcParams)), "matplotlib.pyplot" in sys.modules
    for draw in (step.plot_modules, lambda: step.plot_roofline("h100-sxm"), step.plot_memory, formulas.plot_scaling):
        file = io.BytesIO()
        draw().figure.savefig(file, format="png")
        assert file.getvalue().startswith(b"\x89PNG")
    assert dict(dict.items(matplotlib.rcParams)) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_symbolic_and_negative_counts_say_what_to_do(formulas):
    """Bars and rooflines need numbers; curves need formulas."""
    with pytest.raises(ProfileError, match=r"The picture needs numbers.*profile\.at\(batch=8, seq=8\)"):
        formulas.plot_modules()
    with pytest.raises(ProfileError, match=r"profile\.at\("):
        formulas.plot_roofline("h100-sxm")
    numbers = formulas.at(batch=2, seq=8)
    with pytest.raises(ProfileError, match="dynamic_shapes"):
        numbers.plot_scaling()
    smaller = numbers.diff(formulas.at(batch=1, seq=4))
    with pytest.raises(ProfileError, match="cannot show negative counts"):
        smaller.plot_modules()


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda p: p.plot_modules("flop"), "There is no measure 'flop'; did you mean flops"),
        (lambda p: p.plot_modules("seconds"), r"Count with OpFlopMode\(timing=True\)"),
        (lambda p: p.plot_modules(depth=-1), "depth must be 0 or more"),
        (lambda p: p.plot_modules(top=0), "top must be 1 or more, not 0"),
        (lambda p: p.plot_roofline("h100-sxn"), "did you mean"),
        (lambda p: p.plot_roofline("h100-sxm", by="layer"), "rows have module"),
        (lambda p: p.plot_memory(), "Count with memory=True"),
        (lambda p: p.plot_modules(ax=3), "ax must be Axes of matplotlib.*not 3"),
        (lambda p: p.plot_modules(ax=[1, 2]), r"Pick one of several, as in ax=axes\[0\]"),
    ],
)
def test_wrong_arguments_are_answered_in_sentences(draw, sentence):
    """What was given, and what would be right."""
    with pytest.raises(ProfileError, match=sentence):
        draw(profile(row("Net.fc")))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"measure": "seconds"}, "There is no measure 'seconds'"),
        ({"measure": ()}, "or several as in"),
        ({"dimension": "seqs"}, "There is no dimension 'seqs'; there are batch, seq"),
        ({"sizes": {"batch": 4}}, "sizes fixes batch, along which"),
        ({"sizes": {"sec": 4}}, "did you mean 'seq'"),
        ({"sizes": 4}, "needs a dict of sizes"),
        ({"limits": (8, 2)}, "the smaller one first"),
        ({"limits": 8}, "limits must be two sizes"),
        ({"dimension": "seq", "limits": (1, 2048)}, "1 to 1024, not 2048"),
        ({"by": "layer"}, "rows have module"),
    ],
)
def test_wrong_arguments_of_curves_are_answered_in_sentences(formulas, options, sentence):
    """What was given, and what would be right."""
    with pytest.raises(ProfileError, match=sentence):
        formulas.plot_scaling(**options)


def test_axes_with_other_coordinates_are_refused(figure):
    """Bars in polar coordinates would be nonsense."""
    with pytest.raises(ProfileArgumentError, match="rectangular coordinates, and these are polar"):
        profile(row("Net.fc")).plot_modules(ax=figure.add_subplot(projection="polar"))


def test_without_matplotlib_the_error_says_how_to_install_it(monkeypatch, step, formulas):
    """For each picture, the extra's name."""
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    draws = (step.plot_modules, lambda: step.plot_roofline("h100-sxm"), step.plot_memory, formulas.plot_scaling)
    for draw in draws:
        with pytest.raises(MissingExtraError, match=r"A picture needs matplotlib.*pip install 'opflops\[plot\]'"):
            draw()


def test_a_part_of_a_figure_can_be_drawn_on(figure, step):
    """Also the Axes of a subfigure, whose layout is that of the whole."""
    left, right = figure.subfigures(1, 2)
    step.plot_modules(ax=left.add_subplot())
    step.plot_memory(ax=right.add_subplot())
    assert len(texts_of(figure)) > 20
