"""Utilization: what counts, by hand; what it is divided by; and what the text says."""

import copy
import json
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from opflops import Cost, OpFlopMode, Profile, ProfileError, Row, count
from opflops.devices import Device
from opflops.example import GPT

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
    """It names the dtype and the device."""
    with pytest.raises(ProfileError, match="No peak of toy is known for float16"):
        Profile((row(1000), row(1, "float16"))).mfu(1, TOY)
