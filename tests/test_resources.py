"""What a run takes: hours, device-hours, money and tokens by hand, and the assumptions that are printed with them."""

from dataclasses import replace

import pytest
import torch

from opflops import Cost, Device, Profile, ProfileError, Row, count
from opflops.devices import DEVICES
from opflops.records.memory import Memory

# A tera-operation a second in bfloat16, a quarter of that in float32, half of it in TF32.
TOY = Device("toy", {"bfloat16": 1e12, "float32": 0.25e12, "tf32": 0.5e12}, 1e11, "a drawing", 8e9)
TERA = 10**12


def row(phase="forward", macs=0, dtype="bfloat16", ops=0, **others):
    return Row("Net", "Net", "aten.mm", phase, dtype, 1, Cost(macs, ops, 0, 0, 0), **others)


# Forward 720 s at the peak (2 x 360 T), backward 1440 s.
STEP = Profile((row(macs=360 * TERA), row("backward", macs=720 * TERA)))


def flat(text):
    return " ".join(str(text).split())


def test_hours_by_hand():
    """2160 s at the peak are 5400 s at 40 %; of 8 devices 675 s a step, and 100 steps 18.75 hours."""
    plan = STEP.resources(TOY, steps=100, devices=8, mfu=0.4)
    assert plan.step_seconds == pytest.approx(675)
    assert plan.seconds == pytest.approx(67_500)
    assert plan.hours == pytest.approx(18.75)
    assert plan.device_hours == pytest.approx(150)
    assert plan.flops == plan.model_flops == 100 * 2160 * TERA
    text = flat(plan)
    assert "100 steps on 8 x toy" in text
    assert "time 18.75 hours" in text
    assert "device-hours 150" in text
    assert "flops 216.0 PFLOP, 216.0 PFLOP of them counted by the MFU" in text


def test_money_is_there_with_a_price_only():
    """150 device-hours at 2.5; never a price that nobody gave."""
    plan = STEP.resources(TOY, steps=100, devices=8, mfu=0.4, price=2.5)
    assert plan.money == pytest.approx(375)
    assert "money 375.00" in flat(plan)
    assert "The price of a device-hour is 2.50, as given." in flat(plan)
    without = STEP.resources(TOY, steps=100, devices=8, mfu=0.4)
    assert without.money is None
    assert "money" not in str(without)
    assert STEP.resources(TOY, steps=1, mfu=1, price=0).money == 0.0


def test_a_small_price_is_not_written_as_nothing():
    """1.5 device-hours at 0.002 are 0.003."""
    plan = STEP.resources(TOY, steps=1, mfu=0.4, price=0.002)
    assert plan.money == pytest.approx(0.003)
    assert "money 0.003 " in flat(plan)
    assert ", 0.003 in money" in plan.summary
    assert "The price of a device-hour is 0.002, as given." in flat(plan)
    assert "money 0.00 " in flat(STEP.resources(TOY, steps=1, mfu=0.4, price=0))


def test_tokens_are_there_if_given():
    """5400 tokens a step of 5400 s on one device at 40 %: one in a second."""
    plan = STEP.resources(TOY, steps=100, mfu=0.4, tokens=5400)
    assert (plan.tokens, plan.tokens_per_second) == (540_000, pytest.approx(1.0))
    assert "tokens 540.0 k, 1 in a second" in flat(plan)
    assert STEP.resources(TOY, steps=1, mfu=0.4).tokens is None


def test_each_dtype_runs_at_its_own_peak():
    """2 T in bfloat16 take 2 s and 2 T in float32 8 s, or 4 s in TF32."""
    mixed = Profile((row(macs=TERA), row(macs=TERA, dtype="float32")))
    assert mixed.resources(TOY, steps=1, mfu=1.0).seconds == pytest.approx(10)
    assert mixed.resources(TOY, steps=1, mfu=1.0, tf32=True).seconds == pytest.approx(6)


def test_what_an_mfu_is_not_of_takes_no_time_of_its_own():
    """Recomputed and other work is in the flops, and the remarks say what is left out of the MFU."""
    others = row("recompute", macs=TERA), row("optimizer", ops=5 * TERA, macs=TERA)
    plan = Profile((*STEP.rows, *others)).resources(TOY, steps=2, mfu=0.5)
    assert plan.model_flops == STEP.resources(TOY, steps=2, mfu=0.5).model_flops
    assert plan.seconds == STEP.resources(TOY, steps=2, mfu=0.5).seconds
    assert plan.flops == 2 * (2160 + 2 + 7) * TERA
    assert "A step is all that was counted (forward, backward, recompute and optimizer)." in flat(plan)
    assert "of matmuls that ran again in backward do not count here" in flat(plan)


def test_a_measured_mfu_gives_back_the_time_that_it_was_measured_in():
    """On the same devices, whatever they are."""
    mfu = STEP.mfu(3000.0, TOY, world_size=4)
    plan = STEP.resources(TOY, steps=7, mfu=mfu, devices=4)
    assert plan.seconds == pytest.approx(7 * 3000)
    assert "Measured: MFU 18.0 % = 2,160 s at peak / (4 devices x 3,000 s)." in flat(plan)
    assert "is assumed" not in str(plan)
    assert "may be another one" not in str(plan)
    elsewhere = replace(TOY, name="faster", peaks={"bfloat16": 2e12})
    assert "It is of toy, and may be another one on faster." in flat(STEP.resources(elsewhere, steps=7, mfu=mfu))


def test_an_assumed_mfu_and_the_source_of_the_peaks_are_printed():
    """Whoever reads the hours sees what they stand on."""
    text = flat(STEP.resources("h100-sxm", steps=1, mfu=0.35))
    assert "1 step on h100-sxm" in text
    assert "MFU 35 % is assumed." in text
    assert f"Peaks of h100-sxm: {DEVICES['h100-sxm'].source}." in text
    assert "2.160 PFLOP in bfloat16 at 989.4 TFLOP/s" in text
    assert "Not in it: evaluation, checkpoints, restarts" in text
    assert "Peaks of mine: no source given." in flat(
        STEP.resources(Device("mine", {"bfloat16": 1.0}, 1.0), steps=1, mfu=1)
    )


def test_memory_fits_or_not_if_it_was_counted():
    """9 GB into 8; without memory there is no word of it; a device without a size says so."""
    step = replace(STEP, memory=Memory(peak=9 * 10**9))
    plan = step.resources(TOY, steps=1, devices=2, mfu=0.5)
    assert not plan.fit
    assert "memory 9.00 of 8 GB: does not fit, 1.00 GB too many" in flat(plan)
    assert "Devices that share a step need less each." in flat(plan)
    assert STEP.resources(TOY, steps=1, mfu=0.5).fit is None
    assert "memory" not in str(STEP.resources(TOY, steps=1, mfu=0.5))
    unknown = step.resources(replace(TOY, memory=None), steps=1, mfu=0.5)
    assert unknown.fit is None
    assert "It is not known how much memory toy has" in flat(unknown)


def test_missing_work_makes_it_a_lower_bound():
    """An operator without a formula takes time that nobody knows."""
    plan = Profile((*STEP.rows, replace(row(), op="my.op", priced=False))).resources(TOY, steps=1, mfu=1)
    assert plan.lower_bound
    assert "time at least 0.6 hours (2,160 s)" in flat(plan)
    assert "Not counted: my.op (1 call), which has no formula." in flat(plan)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mfu": 40}, "Write 0.4 for 40 %."),
        ({"mfu": 0}, "mfu must be above 0"),
        ({"mfu": float("nan")}, "mfu must be above 0"),
        ({"mfu": True}, "mfu must be above 0"),
        ({"mfu": "0.4"}, "not '0.4'"),
        ({"steps": 0}, "steps must be a whole number, 1 or more"),
        ({"steps": 2.5}, "not 2.5"),
        ({"steps": 10**400}, "steps must be a whole number"),
        ({"devices": 0}, "devices must be 1 or more"),
        ({"devices": 2.0}, "devices must be 1 or more"),
        ({"price": -1}, "price must be what one device costs in an hour"),
        ({"tokens": "4k"}, "tokens must be a whole number"),
        ({"mfu": STEP.hfu(5000.0, TOY)}, "mfu is an HFU"),
        ({"device": "h10"}, "no figures for a device 'h10'"),
        ({"device": None}, "A device is a name, such as 'h100-sxm'"),
    ],
)
def test_what_cannot_be_planned_with_is_refused(arguments, words):
    """The sentence says what would be right."""
    with pytest.raises(ProfileError, match=words):
        STEP.resources(**{"device": TOY, "steps": 1, "mfu": 0.4, **arguments})


def test_what_is_missing_is_asked_for():
    """Neither steps nor an MFU has a default."""
    with pytest.raises(ProfileError, match=r"needs the argument mfu.*resources\('h100-sxm', steps=1000, mfu=0.4\)"):
        STEP.resources(TOY, steps=3)
    with pytest.raises(ProfileError, match="since an MFU is of these alone"):
        Profile((row(ops=5),)).resources(TOY, steps=1, mfu=0.4)


def test_sizes_come_first():
    """A formula has no hours."""
    sizes = {0: torch.export.Dim("batch")}
    profile = count(torch.nn.Linear(4, 4), torch.zeros(3, 4), dynamic_shapes=(sizes,))
    with pytest.raises(ProfileError, match=r"The resource plan needs numbers.*profile\.at\(batch=8\)"):
        profile.resources("h100-sxm", steps=1, mfu=0.4)
    with pytest.raises(ProfileError, match="as in a difference"):
        STEP.diff(Profile()).resources(TOY, steps=1, mfu=0.4)
    # Two multiply-accumulates for each of 8 x 4 x 4 at 67 T in a second.
    assert profile.at(batch=8).resources("h100-sxm", steps=1, mfu=1).seconds == pytest.approx(256 / 67e12)


@pytest.mark.parametrize(
    ("steps", "words"), [(1, "1.5 hours"), (20, "30 hours (1.25 days)"), (4_000, "6,000 hours (250 days)")]
)
def test_long_times_are_in_days_too(steps, words):
    """From a day on."""
    assert f"time {words}" in flat(STEP.resources(TOY, steps=steps, mfu=0.4))
