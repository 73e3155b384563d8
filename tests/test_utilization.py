"""Utilization: what counts, by hand; what it is divided by; and what the text says."""

import copy
import datetime as dt
import json
import pickle
from decimal import Decimal
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from opflops import Cost, OpFlopMode, Profile, ProfileError, Row, count
from opflops.devices import Device
from opflops.example import GPT
from opflops.records.timing import Timing

TOY = Device("toy", {"float32": 1000.0, "tf32": 4000.0, "bfloat16": 2000.0, "int8": 8000.0}, 100.0, "a toy's box")


def row(macs=0, dtype="float32", phase="forward", op="aten.mm", **fields):
    return Row("Net", "Net", op, phase, dtype, 1, Cost(macs, 7, 3, 5, 11), **fields)


def test_products_of_forward_and_backward_are_divided_by_time_and_peak():
    """By hand: 2 * (1000 + 2000) FLOPs at 1000 FLOP/s take 6 s, of 10 s."""
    mfu = Profile((row(1000), row(2000, phase="backward"))).mfu(10, TOY)
    assert (mfu, mfu.numerator, mfu.denominator, mfu.flops) == (0.6, 6.0, 10.0, 6000)
    assert mfu.source == "a toy's box"


def test_each_dtype_is_at_its_own_peak():
    """By hand, as under autocast: 2 s in float32 and 1 s in bfloat16."""
    mfu = Profile((row(1000), row(1000, "bfloat16"))).mfu(6, TOY)
    assert mfu == 0.5
    assert [(each.dtype, each.flops, each.seconds) for each in mfu.parts] == [
        ("float32", 2000, 2.0),
        ("bfloat16", 2000, 1.0),
    ]


def test_hfu_adds_what_was_recomputed():
    """The optimizer's products are in neither, and the text names what is left out."""
    profile = Profile((row(1000), row(500, phase="recompute"), row(250, phase="optimizer")))
    mfu, hfu = profile.mfu(4, TOY), profile.hfu(4, TOY)
    assert (mfu, hfu) == (0.5, 0.75)
    assert "1.000 kFLOP of matmuls that ran again in backward do not count here, but in hfu()." in str(mfu)
    assert "ran again" not in str(hfu)
    for each in (mfu, hfu):
        assert "500 FLOP of matmuls in the optimizer's step do not count." in str(each)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
def test_an_optimizer_that_multiplies_matrices_does_not_count():
    """By hand, as Muon does: 2 * 4 * 8 * 8 FLOPs forward and for the weight's gradient; the text has the others."""
    profile = count(nn.Linear(8, 8, bias=False), torch.ones(4, 8), optimizer=torch.optim.Muon)
    assert profile.by("phase")["optimizer"].macs > 0
    for each in (profile.mfu(1, "a100-sxm-40gb"), profile.hfu(1, "a100-sxm-40gb")):
        assert each.flops == 2 * 2 * 4 * 8 * 8
        assert "FLOP of matmuls in the optimizer's step do not count." in str(each)


def test_several_devices_share_the_work():
    """By hand: 2 s at the peak, of 4 devices for 1 s each."""
    mfu = Profile((row(1000),)).mfu(1, TOY, world_size=4)
    assert (mfu, mfu.denominator) == (0.5, 4.0)
    assert "2.000 s at peak / (4 devices x 1.000 s)" in str(mfu)


def test_the_text_has_the_denominator_and_the_source():
    """So does what an interactive session shows."""
    mfu = Profile((row(1000),)).mfu(4, TOY)
    statement = (
        "MFU 50.0 % = 2.000 s at peak / 4.000 s. 2 x macs: 2.000 kFLOP in float32 at 1.000 kFLOP/s. "
        "Peaks of toy: a toy's box."
    )
    assert (str(mfu), repr(mfu)) == (statement, f"<{statement}>")


def test_it_is_a_number():
    """It compares, formats, pickles and serializes as one."""
    mfu = Profile((row(1000),)).mfu(4, TOY)
    assert isinstance(mfu, float)
    assert (f"{mfu:.1%}", round(mfu, 1), mfu + 0.5, json.dumps({"mfu": mfu})) == ("50.0%", 0.5, 1.0, '{"mfu": 0.5}')
    for other in (pickle.loads(pickle.dumps(mfu)), copy.deepcopy(mfu)):  # noqa: S301 - our own
        assert (other, str(other), other.parts) == (mfu, str(mfu), mfu.parts)


def test_the_hand_count_of_gpt():
    """By hand: 6 FLOPs for each weight and token, and 14 products of scores for each layer, token and token."""
    layers, width, words, batch, seq = 2, 64, 100, 3, 16
    gpt = GPT(layers, width, 4, words, seq).bfloat16()
    profile = count(gpt, torch.zeros(batch, seq, dtype=torch.int64), optimizer=torch.optim.AdamW)
    weights = 12 * layers * width**2 + words * width
    tokens = batch * seq
    by_hand = 6 * weights * tokens + 14 * layers * width * seq * tokens
    mfu = profile.mfu(0.5, "h100-sxm")
    assert mfu * mfu.denominator * 989.4e12 == pytest.approx(by_hand, rel=1e-12)
    assert profile.hfu(0.5, "h100-sxm") == mfu


@pytest.mark.parametrize(("reentrant", "recomputed"), [(False, 1), (True, 2)])
def test_the_hand_count_of_a_checkpointed_model(reentrant, recomputed):
    """By hand: two equal layers forward, twice that backward, and in HFU alone what runs again.

    The kind that is not reentrant stops at the last tensor that backward needs, which is before the second layer.
    """
    block = nn.Sequential(nn.Linear(8, 16, bias=False), nn.Tanh(), nn.Linear(16, 8, bias=False))
    with OpFlopMode() as m:
        checkpoint(block, torch.randn(4, 8, requires_grad=True), use_reentrant=reentrant).sum().backward()
    layer = 2 * 4 * 8 * 16
    mfu, hfu = m.profile.mfu(100, TOY), m.profile.hfu(100, TOY)
    assert (mfu.flops, hfu.flops) == (6 * layer, (6 + recomputed) * layer)
    assert (mfu * 100 * 1000, hfu * 100 * 1000) == pytest.approx((mfu.flops, hfu.flops))


def test_an_unknown_peak_is_an_error():
    """It names the dtype, the device and an operator; what does not count needs no peak."""
    with pytest.raises(
        ProfileError, match=r"No peak of toy is known for float16; .* aten\.bmm in Net ran in float16\."
    ):
        Profile((row(1000), row(1, "float16", op="aten.bmm"))).mfu(1, TOY)
    again = Profile((row(1000), row(0, "float16"), row(1, "float16", phase="recompute")))
    assert again.mfu(1, TOY) == 2.0
    with pytest.raises(ProfileError, match="No peak of toy is known for float16"):
        again.hfu(1, TOY)


def test_a_sparse_matmul_at_its_own_speed_is_no_more_than_full():
    """By hand: 2:4 weights have half of the 2 * 16 * 32 * 8 FLOPs, so that twice the dense speed is 100 %."""
    half = torch.empty(16, 16, dtype=torch.bfloat16, device="meta")
    meta = torch.empty(16, 2, dtype=torch.int16, device="meta")
    with OpFlopMode() as m:
        torch.ops.aten._sparse_semi_structured_mm(half, meta, torch.empty(32, 8, dtype=torch.bfloat16, device="meta"))
    dense = 2 * 16 * 32 * 8 / TOY.peak("bfloat16")
    assert m.profile.mfu(dense / 2, TOY) == 1.0


class CheckpointedGPT(GPT):
    """Recompute each block in backward."""

    def __init__(self, *sizes, reentrant):
        super().__init__(*sizes)
        self.reentrant = reentrant

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(self.norm(x))


@pytest.mark.parametrize("reentrant", [False, True])
def test_the_hand_count_of_gpt_with_checkpointed_blocks(reentrant):
    """By hand: HFU adds the forward of the blocks, in the newer kind without the last layer of each.

    That layer's result is in no gradient, and nothing after it is needed, so that the recomputation stops before it.
    """
    layers, width, words, batch, seq = 2, 64, 100, 3, 16
    ids = torch.zeros(batch, seq, dtype=torch.int64)
    with OpFlopMode() as m:
        CheckpointedGPT(layers, width, 4, words, seq, reentrant=reentrant)(ids).sum().backward()
    tokens = batch * seq
    by_hand = (6 * (12 * layers * width**2 + words * width) + 14 * layers * width * seq) * tokens
    again = (2 * 12 * layers * width**2 + 4 * layers * width * seq) * tokens
    stopped_before = 0 if reentrant else 2 * layers * 4 * width**2 * tokens
    mfu, hfu = m.profile.mfu(0.1, "h100-sxm"), m.profile.hfu(0.1, "h100-sxm")
    assert mfu.flops == by_hand
    assert mfu * 0.1 * 67e12 == pytest.approx(by_hand, rel=1e-12)
    assert hfu * 0.1 * 67e12 == pytest.approx(by_hand + again - stopped_before, rel=1e-12)


def test_the_rule_of_thumb_has_one_product_of_scores_less():
    """The fused backward recomputes scores: 7 matmuls of 2 * T * HQ FLOPs for each layer and token, not 6."""
    gpt = GPT(2, 64, 4, 100, 16)
    mfu = count(gpt, torch.zeros(3, 16, dtype=torch.int64), backward=True).mfu(1, "h100-sxm")
    rule = 3 * 16 * (6 * (12 * 2 * 64**2 + 100 * 64) + 12 * 2 * 64 * 16)
    assert mfu.flops - rule == 3 * 16 * 2 * (2 * 16 * 64)


def test_a_compiled_model_counts_as_a_plain_one():
    """Its operators run one by one inside the block."""
    found = []
    for compiled in (False, True):
        gpt, ids = GPT(1, 32, 2, 50, 8), torch.zeros(2, 8, dtype=torch.int64)
        model = torch.compile(gpt, backend="eager") if compiled else gpt
        with OpFlopMode() as m:
            model(ids).sum().backward()
        found.append(m.profile.mfu(1, TOY))
    assert found[0] == found[1] > 0


def test_autocast_has_two_peaks():
    """By hand: a layer of 2 x 8 x 8 in bfloat16, a matmul of 2 x 8 x 4 in float32, and one gradient of each."""
    layer = nn.Linear(8, 8)
    with OpFlopMode() as m:
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(torch.ones(2, 8))
        (y.float() @ torch.ones(8, 4)).sum().backward()
    mfu = m.profile.mfu(1, TOY)
    assert {part.dtype: part.flops for part in mfu.parts} == {"bfloat16": 2 * 2 * 128, "float32": 2 * 2 * 64}
    assert mfu == pytest.approx(512 / 2000 + 256 / 1000)


def test_float32_in_tf32():
    """By the device's name or the argument; complex arithmetic on float32 too. Four times the rate here."""
    for dtype in ("float32", "complex64"):
        profile = Profile((row(1000, dtype),))
        assert profile.mfu(4, TOY, tf32=True) == 0.125
        assert f"2.000 kFLOP in {dtype} (TF32) at 4.000 kFLOP/s" in str(profile.mfu(4, TOY, tf32=True))
    a100 = Profile((row(156 * 10**12),)).mfu(4, "a100-sxm-40gb:tf32")
    assert a100 == pytest.approx(0.5)
    assert "(TF32) at 156.0 TFLOP/s. Peaks of a100-sxm-40gb: NVIDIA A100" in str(a100)
    bfloat16 = Profile((row(1000, "bfloat16"),))
    assert str(bfloat16.mfu(4, TOY, tf32=True)) == str(bfloat16.mfu(4, TOY))


def test_tf32_where_there_is_none_is_said():
    """The rate is that of float32."""
    v100 = Profile((row(10**12),)).mfu(1, "v100-sxm2:tf32")
    assert v100 == Profile((row(10**12),)).mfu(1, "v100-sxm2")
    assert "No peak of v100-sxm2 is known for TF32, so float32 is divided by its own." in str(v100)


def test_complex_and_eight_bit_floats():
    """By hand: 4 real multiply-accumulates for each complex one, and all 8-bit floats at one peak."""
    with OpFlopMode() as m:
        torch.ones(3, 4, dtype=torch.complex64) @ torch.ones(4, 5, dtype=torch.complex64)
    assert m.profile.mfu(1, TOY).flops == 2 * 4 * 3 * 4 * 5
    h100 = Profile((row(10**12, "float8_e4m3fn"), row(10**12, "float8_e5m2"))).mfu(1, "h100-sxm")
    assert h100 == pytest.approx(4e12 / 1978.9e12)


def test_quantized_work_counts_where_the_device_states_a_peak():
    """By hand, dynamically quantized layers in unsigned bytes; else a sentence, and the share is a lower bound."""
    with OpFlopMode() as m:
        torch._int_mm(torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 24, dtype=torch.int8))
    profile = m.profile + Profile((row(1000, "quint8"),))
    mfu = profile.mfu(10, TOY)
    assert mfu.flops == 2 * (32 * 16 * 24 + 1000)
    assert "24.58 kOP in int8 at 8.000 kOP/s, 2.000 kOP in quint8 at 8.000 kOP/s" in str(mfu)
    floats = Device("floats", {"float32": 1000.0}, 100.0)
    missing = (profile + Profile((row(1000),))).mfu(10, floats)
    assert (missing, missing.lower_bound) == (0.2, True)
    assert str(missing).startswith("MFU at least 20.0 % = 2.000 s at peak / 10.00 s.")
    assert "24.58 kOP of matmuls in int8 do not count, since no peak of floats is known for it." in str(missing)
    assert "2.000 kOP of matmuls in quint8 do not count, since no peak of floats is known for it." in str(missing)
    assert "Peaks of floats: no source given." in str(missing)


def test_operators_without_a_formula_make_it_a_lower_bound():
    """In the phases that count; the text names them."""
    lost = [row(0, op=f"lib.op{number}", priced=False) for number in range(6)]
    mfu = Profile((row(1000), lost[0])).mfu(4, TOY)
    assert mfu.lower_bound
    assert "Not counted: lib.op0 (1 call), which has no formula." in str(mfu)
    many = str(Profile((row(1000), *lost)).mfu(4, TOY))
    assert "lib.op2 (1 call), lib.op3 (1 call) and 2 others, which have no formula." in many
    five = str(Profile(tuple(lost[:5])).mfu(4, TOY))
    assert "lib.op3 (1 call) and lib.op4 (1 call), which have no formula." in five
    elsewhere = Profile((row(1000), row(0, op="lib.op", phase="optimizer", priced=False))).mfu(4, TOY)
    assert not elsewhere.lower_bound


def test_estimates_are_named():
    """With their reason, once for all operators that have it."""
    rows = (row(1000, op="a.b", estimate="why not"), row(1000, op="a.c", estimate="why not"), row(0, estimate="other"))
    text = str(Profile(rows).mfu(4, TOY))
    assert "Estimated: a.b and a.c: why not." in text
    assert "other" not in text


def test_work_of_other_threads_makes_it_a_lower_bound():
    """The profile's remark says so; a remark on shapes does not."""
    other = "Not counted: modules called in other threads: Net (24 calls). OpFlopMode(threads=True) counts them."
    mfu = Profile((row(1000),), remarks=(other,)).mfu(4, TOY)
    assert mfu.lower_bound
    assert str(mfu).endswith(other)
    shapes = Profile((row(1000),), remarks=("Net was called with many shapes.",)).mfu(4, TOY)
    assert not shapes.lower_bound
    assert str(shapes).endswith("Net was called with many shapes.")


@pytest.mark.parametrize("rows", [(), (row(0),), (row(1000, phase="recompute"),)])
def test_without_matmuls_it_is_zero(rows):
    """And the text says why."""
    mfu = Profile(rows).mfu(1, TOY)
    assert mfu == 0.0
    assert "MFU 0.0 % = 0 s at peak / 1.000 s. 2 x macs: none." in str(mfu)
    assert "There are no matmuls in the phases forward and backward." in str(mfu)
    assert "forward, backward and recompute" in str(Profile((row(0),)).hfu(1, TOY))


def test_more_than_all_is_not_clipped():
    """The text says that something is wrong, and TF32 only where it could be the reason."""
    share = Profile((row(1000),)).mfu(1, TOY)
    assert share == 2.0
    assert "MFU 200.0 % = " in str(share)
    assert "More than 100 % is impossible: " in str(share)
    assert "(the device is then 'toy:tf32')" in str(share)
    for fast in (Profile((row(1000),)).mfu(0.1, TOY, tf32=True), Profile((row(10**6, "bfloat16"),)).mfu(0.1, TOY)):
        assert "More than 100 % is impossible: " in str(fast)
        assert "toy:tf32" not in str(fast)
    assert "impossible" not in str(Profile((row(1000),)).mfu(2, TOY))
    assert pickle.loads(pickle.dumps(share)).notes == share.notes  # noqa: S301 - our own


@pytest.mark.parametrize("seconds", [0, 0.0, -1.5, float("nan"), float("inf"), True, 10**400, 1j])
def test_a_time_is_above_zero_and_finite(seconds):
    """The error says what was given."""
    with pytest.raises(ProfileError, match=r"mfu\(\) needs the seconds .* above zero and finite, not "):
        Profile((row(1000),)).mfu(seconds, TOY)


@pytest.mark.parametrize(
    ("seconds", "advice"),
    [
        (torch.tensor(0.02), r"not a Tensor of shape \(\)\. Pass float\(seconds\)\."),
        (dt.timedelta(seconds=2), r"Pass seconds\.total_seconds\(\)\."),
        (Decimal("0.5"), r"not a Decimal\. Pass float\(seconds\)\."),
        ([0.02, 0.03], r"not the list \[0\.02, 0\.03\]\. Pass one number, such as the median\."),
        (torch.ones(3), r"not a Tensor of shape \(3,\)\. Pass one number, such as the median\."),
        (torch.ones, r"not the function ones\.$"),
    ],
)
def test_other_kinds_of_times_are_explained(seconds, advice):
    """What to pass in their place."""
    with pytest.raises(ProfileError, match=advice):
        Profile((row(1000),)).hfu(seconds, TOY)


def test_numbers_of_other_kinds_are_times():
    """A fraction, an integer, NumPy's."""
    numpy = pytest.importorskip("numpy")
    for seconds in (4, Fraction(4), numpy.float32(4), numpy.int64(4)):
        assert Profile((row(1000),)).mfu(seconds, TOY) == 0.5


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "8", "None"])
def test_a_world_has_a_whole_number_of_devices(size):
    """The error says what was given."""
    with pytest.raises(ProfileError, match="world_size must be 1 or more, not "):
        Profile((row(1000),)).mfu(1, TOY, world_size=size)


@pytest.mark.parametrize("arguments", [(), (0.02,), ("h100-sxm",), (TOY, 0.02), ("h100-sxm", 0.02)])
def test_a_missing_device_or_time_is_an_error(arguments):
    """So is the wrong order."""
    with pytest.raises(ProfileError, match=r"needs the seconds .* then a device, as in hfu\(0\.02, 'h100-sxm'\)"):
        Profile((row(1000),)).hfu(*arguments)


def test_wrong_calls_are_explained():
    """Of the arguments by position and by name."""
    with pytest.raises(ProfileError, match=r"mfu\(\) takes only seconds and device by position.*world_size, tf32"):
        Profile((row(1000),)).mfu(1, TOY, 8)
    with pytest.raises(ProfileError, match=r"There are no figures for a device 'abacus'"):
        Profile((row(1000),)).mfu(1, "abacus")


def test_without_a_time_the_operators_times_are_added_up():
    """By hand: 2 s at the peak, of 3 + 1 s; the text says where the time is from."""
    profile = Profile((row(1000, seconds=3.0), row(0, "int64", phase="optimizer", seconds=1.0)))
    mfu = profile.mfu(device=TOY)
    assert (mfu, mfu.seconds) == (0.5, 4.0)
    assert "2.000 s at peak / 4.000 s (the operators' times, added up; some were timed only once)." in str(mfu)
    assert profile.where(phase="forward").mfu(None, TOY) == pytest.approx(2 / 3)


def test_a_profile_without_times_says_so():
    """Also one that was timed in part, which has no time for the whole."""
    with pytest.raises(ProfileError, match=r"was not timed\. Give mfu\(\) the seconds .* OpFlopMode\(timing=True\)"):
        Profile((row(1000),)).mfu(None, TOY)
    with pytest.raises(ProfileError, match=r"timed in part: aten\.bmm in Net has no time\. Give hfu\(\)"):
        Profile((row(1000, seconds=1.0), row(1, op="aten.bmm"))).hfu(None, TOY)
    lost = Row("Net", "Net", "lib.op", "forward", "", 1, Cost(), priced=False)
    with pytest.raises(ProfileError, match=r"timed in part: lib\.op in Net has no time"):
        Profile((row(1000, seconds=1.0), lost)).mfu(None, TOY)
    assert Profile((row(1000, seconds=1.0), lost)).roofline(TOY).utilizations == ()
    for rows in ((), (row(1000, seconds=float("inf")),)):
        with pytest.raises(ProfileError, match="was not timed"):
            Profile(rows).mfu(None, TOY)


def test_a_timed_roofline_has_the_utilization():
    """The HFU only where it differs, and neither without all times or without matmuls."""
    timed = Profile((row(1000, seconds=3.0), row(1000, phase="backward", seconds=5.0)))
    (mfu,) = timed.roofline(TOY).utilizations
    assert mfu == 0.5
    assert (
        "MFU 50.0 % = 4.000 s at peak / 8.000 s (the operators' times, added up; some were timed only once)."
        in " ".join(str(timed.roofline(TOY)).split())
    )
    again = (timed + Profile((row(1000, phase="recompute", seconds=2.0),))).roofline(TOY)
    assert [(each.kind, each) for each in again.utilizations] == [("MFU", 0.4), ("HFU", 0.6)]
    assert (timed + Profile((row(1000, op="aten.bmm"),))).roofline(TOY).utilizations == ()
    assert Profile((row(0, seconds=1.0),)).roofline(TOY).utilizations == ()
    (with_remark,) = Profile((row(1000, seconds=3.0),), remarks=("Something else.",)).roofline(TOY).utilizations
    assert str(with_remark).endswith("Something else.")
    assert "MFU" not in str(Profile((row(1000),)).roofline(TOY))


def test_expressions_need_sizes():
    """One sentence says how to choose them; at sizes it is a number."""
    sizes = {"ids": {0: torch.export.Dim("batch")}}
    gpt = GPT(1, 32, 2, 50, 8)
    profile = count(gpt, torch.zeros(2, 8, dtype=torch.int64), dynamic_shapes=sizes)
    with pytest.raises(ProfileError, match=r"MFU needs numbers, but macs is .*profile\.at\(batch=8\)\."):
        profile.mfu(1, TOY)
    alone = count(gpt, torch.zeros(6, 8, dtype=torch.int64))
    assert profile.at(batch=6).mfu(1, TOY) == alone.mfu(1, TOY) > 0


def test_a_difference_has_a_utilization_only_if_nothing_is_negative():
    """The work that was added may be divided by the time that was added."""
    small, large = Profile((row(1000),)), Profile((row(3000),))
    assert small.diff(large).mfu(8, TOY) == 0.5
    with pytest.raises(ProfileError, match=r"MFU cannot show negative counts, but aten\.mm in Net has -2000 macs"):
        large.diff(small).mfu(8, TOY)
    slow, fast = Profile((row(1000, seconds=5.0),)), Profile((row(1500, seconds=3.0),))
    with pytest.raises(ProfileError, match=r"MFU cannot show negative counts, but aten\.mm in Net has -2\.0 seconds"):
        slow.diff(fast).mfu(None, TOY)


def test_a_count_that_no_float_holds_is_an_error():
    """It gets a sentence, as does a world of that size."""
    with pytest.raises(ProfileError, match=r"more than a float can hold, of a time of 1e-320 s"):
        Profile((row(1000),)).mfu(1e-320, TOY)
    with pytest.raises(ProfileError, match="too large to compute a time"):
        Profile((row(2**1100),)).mfu(1, TOY)
    with pytest.raises(ProfileError, match="too large to compute a time"):
        Profile((row(1),)).mfu(1, TOY, world_size=2**1100)


def test_small_shares_are_not_written_as_zero():
    """Three digits of each."""
    for macs, text in ((1, "0.05 %"), (37, "1.85 %"), (1000, "50.0 %"), (500_000, "25,000.0 %")):
        assert f"MFU {text} = " in str(Profile((row(macs),)).mfu(4, TOY))


def test_a_run_without_counting_is_the_time_that_counts():
    """The median of several; a part of the profile has the times of its operators alone."""
    rows = (row(1000, seconds=1.0, spread=0.1), row(500, phase="backward", seconds=2.0, spread=0.1))
    profile = Profile(rows, timing=Timing(7, 3, 6.0, 0.1, wall=5.0, wall_spread=0.2, overhead=1.0))
    mfu = profile.mfu(None, TOY)
    assert mfu == pytest.approx(3 / 5)
    assert "3.000 s at peak / 5.000 s (the median of 7 runs without the mode)." in str(mfu)
    assert profile.roofline(TOY).utilizations == (mfu,)
    assert profile.mfu(10, TOY) == pytest.approx(0.3)
    assert profile.where(phase=("forward", "backward")).mfu(None, TOY) == mfu
    part = profile.where(phase="backward").mfu(None, TOY)
    assert part == 0.5
    assert "1.000 s at peak / 2.000 s (the operators' times, added up)." in str(part)
    once = Profile(rows, timing=Timing(1, 3, 6.0, wall=5.0)).mfu(None, TOY)
    assert "(a single run without the mode)" in str(once)


def test_a_single_cold_time_is_marked():
    """Of operators that ran once in a block that was not repeated."""
    assert "(the operators' times, added up; some were timed only once)" in str(
        Profile((row(1000, seconds=3.0),)).mfu(None, TOY)
    )
