"""Rooflines: least times by hand, what bounds them, devices and their names, and the table."""

import re

import pytest

from opflops import Cost, Profile, ProfileError, Row
from opflops.devices import DEVICES, Device, device

# A thousand operations a second in float32, four thousand in TF32, eight thousand in eight bits; a hundred bytes.
TOY = Device("toy", {"float32": 1000.0, "tf32": 4000.0, "float8": 8000.0}, 100.0)


def row(op, flops=0, moved=0, dtype="float32", module="Net", seconds=None):
    return Row(module, "Net", op, "forward", dtype, 1, Cost(0, flops, 0, moved, 0), seconds)


MATMUL = row("aten.mm", flops=50_000, moved=2_000)  # 50 s of arithmetic, 20 s of traffic
COPY = row("aten.clone", moved=500)  # 5 s of traffic
PROFILE = Profile((MATMUL, COPY))
_MI100 = ("mi100", "bfloat16")


def test_each_operator_takes_the_longer_of_its_two_times():
    """By hand: 50 s of arithmetic against 20 s of traffic, and 5 s of traffic alone."""
    mm, clone = PROFILE.roofline(TOY).parts
    assert (mm.label, mm.arithmetic_seconds, mm.memory_seconds, mm.seconds) == ("aten.mm", 50.0, 20.0, 50.0)
    assert (clone.label, clone.seconds, clone.limit) == ("aten.clone", 5.0, "memory")
    assert (mm.limit, mm.intensity) == ("arithmetic", 25.0)


def test_the_total_adds_operators_that_do_not_overlap():
    """It is the sum of the longer times, more than the longer of the sums."""
    slow_copy = row("aten.cat", moved=4_000)
    total = Profile((MATMUL, slow_copy)).roofline(TOY).total
    assert total.seconds == 50.0 + 40.0
    assert (total.arithmetic_seconds, total.memory_seconds) == (50.0, 60.0)


@pytest.mark.parametrize("by", ["op", "module", ("op", "dtype")])
def test_parts_sum_to_the_total(by):
    """Whatever they are grouped by."""
    found = PROFILE.roofline(TOY, by)
    for measure in ("flops", "bytes", "seconds", "arithmetic_seconds", "memory_seconds"):
        assert sum(getattr(part, measure) for part in found.parts) == getattr(found.total, measure)


def test_integer_work_has_traffic_alone():
    """No peak is known for it, so its arithmetic bounds nothing."""
    (part,) = Profile((row("aten.add", flops=10**9, moved=300, dtype="int64"),)).roofline(TOY).parts
    assert (part.flops, part.seconds, part.limit) == (0, 3.0, "memory")


def test_tf32_is_used_where_asked_for_and_known():
    """Four times the rate here, and no change on a device without it."""
    assert PROFILE.roofline(TOY, tf32=True).parts[0].arithmetic_seconds == 12.5
    plain = Device("plain", {"float32": 1000.0}, 100.0)
    assert PROFILE.roofline(plain, tf32=True).parts[0].arithmetic_seconds == 50.0


def test_a_timed_run_is_compared_with_the_bound():
    """It took twice as long as it must."""
    timed = Profile((row("aten.mm", flops=50_000, moved=2_000, seconds=100.0), row("aten.clone", moved=500)))
    found = timed.roofline(TOY)
    assert [part.measured for part in found.parts] == [100.0, None]
    assert found.parts[0].attained == 0.5
    # The total's bound is of both operators, and its time of one.
    assert found.total.attained is None
    assert "Only partly timed, so without a share of the bound: total." in str(found)
    assert "50.0 %" in str(found)
    assert "took" not in str(PROFILE.roofline(TOY))


def test_the_table_shows_the_longest_first_and_where_the_figures_are_from():
    """As text, with the total last."""
    lines = str(PROFILE.roofline(TOY)).splitlines()
    assert [line.split()[0] for line in (*lines[2:4], lines[5])] == ["aten.mm", "aten.clone", "total"]
    assert lines[5].split()[1:] == ["50.00", "k", "2.500", "k", "20", "55.00", "s", "100.0", "arithmetic"]
    assert DEVICES["h100-sxm"].source in str(Profile((MATMUL,)).roofline("h100-sxm")).replace("\n", " ")


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_table_fits_where_it_is_shown(monkeypatch, columns):
    """What can be missed most goes first, and names give way; the bound itself stays."""
    monkeypatch.setenv("COLUMNS", str(columns))
    text = str(Profile((row("aten.a_rather_long_name_of_an_operator", 5_000, 2_000, seconds=90.0),)).roofline(TOY))
    table = text.split("\n\n", maxsplit=1)[0].splitlines()
    assert max(map(len, table)) <= max(columns, 56)
    header = " ".join(table[0].split() + table[1].split()) if "----" not in table[1] else table[0]
    assert re.search(r"at least|\bat\b.*\bleast\b", header)
    assert ("Hidden because" in text) == (columns < 200)
    assert ("flops/byte" in table[0]) == (columns == 200)


def test_a_run_faster_than_the_bound_is_remarked_on():
    """Caches do that."""
    fast = Profile((row("aten.mm", flops=50_000, moved=2_000, seconds=1.0),))
    assert "Faster than the bound: aten.mm." in str(fast.roofline(TOY))


def test_published_figures():
    """Datasheets: an H100 SXM does 989.4 TFLOP/s dense in bfloat16, an A100 312, and the ridge of an H100 is at 295."""
    h100 = device("h100-sxm")
    assert h100.peak("bfloat16") == 989.4e12
    assert device("a100-sxm-80gb").peak("float16") == 312e12
    assert h100.peak("bfloat16") / h100.bandwidth == pytest.approx(295, abs=1)


@pytest.mark.parametrize("name", ["H100 SXM", "h100_sxm", " h100-sxm", "NVIDIA H100 80GB HBM3"])
def test_a_device_is_found_by_its_names(name):
    """Ours in any case and with spaces, and the one that PyTorch reports."""
    assert device(name) is DEVICES["h100-sxm"]


def test_every_device_is_faster_in_narrower_dtypes():
    """Rates never fall from float64 over float32, TF32, float16 and float8 to float4."""
    for each in DEVICES.values():
        dtypes = ("float64", "float32", "tf32", "float16", "bfloat16", "float8", "float4")
        # The MI100 alone is slower in bfloat16 than in float16.
        rates = [each.peaks[dtype] for dtype in dtypes if dtype in each.peaks and (each.name, dtype) != _MI100]
        assert rates == sorted(rates), each.name


def test_dtypes_that_run_as_others():
    """Complex arithmetic is stated in real operations, and small floats of one size have one rate."""
    assert TOY.peak("complex64") == 1000.0
    assert TOY.peak("float8_e4m3fn") == TOY.peak("float8_e5m2") == 8000.0
    small = Device("small", {"float4": 9.0, "int8": 7.0}, 2.0)
    assert small.peak("float4_e2m1fn_x2") == 9.0
    assert {small.peak(dtype) for dtype in ("int8", "uint8", "qint8", "quint8")} == {7.0}


def test_an_ambiguous_name_lists_what_it_could_be():
    """There is no H100, there are several."""
    with pytest.raises(ProfileError, match=r"did you mean h100-pcie, h100-sxm or h100-nvl\?"):
        device("H100")


def test_an_unknown_name_says_where_all_are_listed():
    """Nothing is like it, and they are too many for a sentence."""
    with pytest.raises(
        ProfileError, match=rf"those of {len(DEVICES)} devices, which the command opflops devices lists"
    ):
        device("abacus")


def test_an_unknown_rate_is_no_number():
    """A T4 has no bfloat16 rate, and a rate of zero is none."""
    with pytest.raises(ProfileError, match=r"No peak of t4 is known for bfloat16; known are float32, float16, int8\."):
        Profile((row("aten.mm", flops=1, dtype="bfloat16"),)).roofline("t4")
    with pytest.raises(ProfileError, match="must be above zero"):
        Device("broken", {"float32": 0.0}, 1.0)


def test_what_needs_no_time_may_be_untimed():
    """A view is bounded by nothing."""
    (part,) = Profile((row("aten.mm", flops=1000, seconds=2.0), row("aten.mm", module="Net.a"))).roofline(TOY).parts
    assert (part.untimed, part.attained) == (0, 0.5)


def test_integer_work_takes_time_and_is_said_to_be_in_the_total():
    """Here alone: tables have floating-point work in their totals."""
    integer = row("aten.add", moved=300, dtype="int64", seconds=6.0), row("aten.eq", dtype="bool", seconds=1.0)
    found = Profile((row("aten.mm", flops=1000, seconds=2.0), *integer)).roofline(TOY)
    assert (found.total.seconds, found.total.measured) == (4.0, 9.0)
    assert "The bytes and times include the work in int64 and bool; other totals do not." in str(found).replace(
        "\n", " "
    )
    assert "no other totals" not in str(PROFILE.roofline(TOY))


@pytest.mark.parametrize("measure", ["flops", "moved"])
def test_a_difference_has_no_bound(measure):
    """There is no time below zero."""
    before, after = (Profile((row("aten.mm", **{measure: most}),)) for most in (5, 3))
    name = {"moved": "bytes"}.get(measure, measure)
    with pytest.raises(ProfileError, match=f"aten.mm in Net has -2 {name}, as in a difference"):
        before.diff(after).roofline(TOY)
    with pytest.raises(ProfileError, match=r"has -0.5 seconds, as in a difference"):
        Profile((row("aten.mm", **{measure: 3}, seconds=-0.5),)).roofline(TOY)


def test_a_count_that_no_float_holds_has_no_time():
    """It gets a sentence."""
    with pytest.raises(ProfileError, match="too large to compute a time"):
        Profile((row("aten.mm", flops=2**1100),)).roofline(TOY)


def test_expressions_have_no_time():
    """Sizes come first."""
    import sympy  # noqa: PLC0415 - only here

    symbolic = Profile((row("aten.mm", flops=sympy.Symbol("batch", positive=True, integer=True)),))
    with pytest.raises(ProfileError, match=r"The roofline needs numbers, but .*\. Choose sizes first: profile\.at\("):
        symbolic.roofline(TOY)


def test_the_note_names_rates_of_integers_and_leaves_out_what_is_unknown():
    """Integers have operations, not floating-point ones; a device without peaks has its bandwidth alone."""
    work = Profile((row("aten.clone", moved=400),))
    said = str(work.roofline("a2")).replace("\n", " ")
    assert "18.00 TFLOP/s in bfloat16, 36.00 TOP/s in int8; float32 is not computed in TF32." in said
    assert "of the Mac): 400.0 GB/s; float32 is not" in str(work.roofline("m2-max")).replace("\n", " ")
