"""What a gathered profile keeps of each rank, what is asked of it, and how it is compared, saved and reported."""

import csv
import io
import pickle
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.export import Dim

from opflops import Cost, OpFlopMode, Profile, ProfileError, Row, count, time_step
from opflops.profile.gathering import combine_ranks
from opflops.records.imbalance import MEASURES, Imbalance
from opflops.records.timing import Timing
from opflops.report.page.data import profile_data


class Net(nn.Sequential):
    """Two layers; the first is called twice, so that it has call sites."""

    def __init__(self, width=8):
        super().__init__(nn.Linear(8, 8), nn.Linear(8, width))

    def forward(self, x):
        return self[1](self[0](self[0](x)))


def run(batch, width=8, remarks=()):
    """Count a forward: batch * (2 * 8 * 8 + 8 * width) macs."""
    net, x = Net(width), torch.ones(batch, 8)
    with OpFlopMode(memory=True) as m:
        net(x).sum()
    return replace(m.profile, remarks=remarks)


def uneven():
    """Ranks 0, 1 and 2 with batches of 4, 1 and 1, and a rank 7 that did nothing."""
    return {0: run(4), 1: run(1), 2: run(1), 7: Profile()}


def test_numbers_are_sums_and_each_rank_has_its_own():
    """Of 6 examples of 192 macs; a rank without work counts in the mean: 768 / (1152 / 4)."""
    parts = uneven()
    whole = combine_ranks(parts)
    assert whole.total == sum((p.total for p in parts.values()), Cost())
    assert whole.total.macs == 6 * 192
    assert {rank: cost.macs for rank, cost in whole.by("rank").items()} == {0: 768, 1: 192, 2: 192}
    assert whole.imbalance() == 768 / 288
    assert whole.by("rank", "module")[1, "Net.1"].macs == 64
    assert whole.call_sites("Net.0")["Net #1"].macs == 6 * 64
    assert sum(row.calls for row in whole.rows) == sum(row.calls for p in parts.values() for row in p.rows)
    for rank, part in parts.items():
        own = whole.where(rank=rank)
        assert own.rows == tuple(replace(row, rank=rank) for row in part.rows)
        assert own.sites == tuple(replace(row, rank=rank) for row in part.sites)
        assert (own.memory, own.modules, own.called, own.remarks) == (
            *(part.memory, part.modules, part.called, part.remarks),
        )


def test_what_cannot_be_added_up_is_that_of_one_rank():
    """Memory of the highest peak, the longest run, the parameters of the rank with most; remarks say whose they are."""
    parts = {0: run(1, remarks=("A.", "B.")), 1: run(50, width=9, remarks=("A.",)), 2: run(2, remarks=("A.",))}
    for rank, wall in ((0, 0.5), (1, 0.2), (2, None)):
        parts[rank] = replace(parts[rank], timing=Timing(3, 1, 0.6 if rank else 0.55, wall=wall, calls={"Net": 1}))
    whole = combine_ranks(parts)
    assert whole.memory.peak == parts[1].memory.peak > parts[0].memory.peak
    low = parts[0].memory.peak
    assert whole.memory.remarks[-1] == (
        f"This is the memory of rank 1, which has the highest peak of 3 ranks; the lowest is {low:,} bytes, of rank 0."
    )
    # 0.55 and 0.5, 0.6 and 0.2, 0.6: a run without the mode is what took long, where it is known.
    assert whole.timing is parts[2].timing
    assert whole.parameters == (8 * 8 + 8) + (8 * 9 + 9)
    assert whole.module("Net.0").calls[0].calls == 2
    assert sum(calls.calls for calls in whole.module("Net.0").calls) == 6
    assert whole.remarks == ("A.", "B (rank 0).")
    assert [record.profile.timing for record in whole.ranks] == [p.timing for p in parts.values()]
    some = whole.where(rank=(0, 2))
    assert (some.remarks, some.memory.peak) == (("A.", "B (rank 0)."), parts[2].memory.peak)


def test_ranks_are_selected_like_any_other_value():
    """With other conditions, by functions, and left out; a rank that there is not is an error that names those."""
    whole = combine_ranks(uneven())
    assert whole.where(rank=0, op="addmm").total.macs == 768
    assert whole.where(rank=lambda rank: rank > 0).total.macs == 384
    assert whole.where_not(rank=0).total.macs == 384
    assert whole.where(rank=(0, 1, 2, 7)) == whole
    assert whole.where(rank=7).total == Cost()
    assert whole.where(rank=7).imbalance() == 1
    assert str(whole.where(rank=1).imbalance()) == "imbalance 1.00 in macs: 192 on rank 1 alone"
    assert whole.where(module="Net.1").imbalance() == 4 / 1.5
    assert whole.where(rank=(1, 2)).imbalance() == 1
    with pytest.raises(ProfileError, match="got rank=3, and this profile has ranks 0-2 and 7"):
        whole.where(rank=3)
    with pytest.raises(ProfileError, match="is of one process"):
        run(1).where(rank=0)


def test_ranks_that_are_left_out_are_no_ranks_any_more():
    """In the same profile as if the others were selected: in shares, in their list, in reports, in files."""
    whole = combine_ranks(uneven())
    others = whole.where_not(rank=0)
    assert others == whole.where(rank=(1, 2, 7)) == whole.where_not(rank=lambda rank: rank < 1)
    assert [record.rank for record in others.ranks] == [1, 2, 7]
    assert others.imbalance() == 192 / (2 * 192 / 3)
    assert others.memory.peak == run(1).memory.peak
    assert "total of 3 ranks" in str(others)
    assert Profile.from_json(others.to_json()).imbalance().amounts == {1: 192, 2: 192, 7: 0}
    # Of a condition on more than ranks, rank 0 keeps its other rows.
    assert [record.rank for record in whole.where_not(rank=0, op="mul").ranks] == [0, 1, 2, 7]
    assert whole.where_not(rank=(0, 1, 2, 7)).ranks == ()
    symbolic = count(Net(), torch.ones(3, 8), dynamic_shapes=({0: Dim("batch")},))
    halves = combine_ranks({0: symbolic, 1: symbolic})
    assert halves.where_not(rank=0).at(batch=5).total == symbolic.at(batch=5).total


@pytest.mark.parametrize("measure", MEASURES)
def test_imbalance_is_the_most_over_the_mean(measure):
    """For each measure, by a loop over rows; times of all rows, and counts of floating ones."""
    rows = [
        Row("", "", "aten.mm", "forward", dtype, 1, Cost(*(number * each for each in range(1, 7))), 0.5 * number)
        for number, dtype in ((3, "float32"), (5, "int64"))
    ]
    parts = {0: Profile(rows), 1: Profile([replace(row, cost=2 * row.cost, seconds=row.seconds) for row in rows])}
    sums = [
        sum(
            row.seconds if measure == "seconds" else getattr(row.cost, measure)
            for row in p.rows
            if measure == "seconds" or row.dtype == "float32"
        )
        for p in parts.values()
    ]
    found = combine_ranks(parts).imbalance(measure)
    assert found == max(sums) / (sum(sums) / 2)
    assert (found.measure, [*found.amounts.values()]) == (measure, sums)
    assert pickle.loads(pickle.dumps(found)).amounts == found.amounts  # noqa: S301 - our own


def test_the_slowest_rank_has_the_longest_times_or_else_most_flops():
    """And of the measure that is asked for; an unknown one, a formula and a difference are errors in sentences."""
    whole = combine_ranks(uneven())
    assert (whole.slowest_rank(), whole.slowest_rank("bytes"), whole.imbalance().fastest) == (0, 0, 7)
    row = Row("", "", "aten.mm", "forward", "float32", 1, Cost(macs=5), 1.0)
    timed = combine_ranks({0: Profile([row]), 1: Profile([replace(row, seconds=2.0, cost=Cost(macs=1))])})
    assert (timed.slowest_rank(), timed.slowest_rank("macs")) == (1, 0)
    assert (
        str(timed.imbalance("seconds"))
        == "imbalance 1.33 in seconds: most 2 s (rank 1), mean 1.5 s, least 1 s (rank 0)"
    )
    assert Imbalance("macs", {0: 0, 1: 0}) == 1
    with pytest.raises(ProfileError, match="no measure 'mac'"):
        whole.imbalance("mac")
    with pytest.raises(ProfileError, match="has no times"):
        whole.imbalance("seconds")
    with pytest.raises(ProfileError, match="cannot show negative counts"):
        whole.diff(combine_ranks({0: Profile()})).imbalance()
    formula = count(nn.Linear(2, 3), torch.ones(4, 2), dynamic_shapes=({0: Dim("n")},))
    symbolic = combine_ranks({0: formula, 1: formula})
    with pytest.raises(ProfileError, match=r"needs numbers, but macs is 6\*n"):
        symbolic.imbalance()
    assert (symbolic.total.macs * 1, symbolic.at(n=5).imbalance()) == (2 * formula.total.macs, 1)
    assert symbolic.at(n=5).where(rank=1).total == formula.at(n=5).total
    assert Profile.from_json(symbolic.to_json()) == symbolic


def test_redundant_work_is_what_is_beyond_the_unsharded_model():
    """A replicated product of two ranks is there once too often; a sharded one never; by any keys of rows."""
    unsharded = run(6)
    assert combine_ranks({0: run(4), 1: run(2)}).redundant(unsharded).macs == 0
    replicated = combine_ranks({0: unsharded, 1: unsharded})
    assert replicated.redundant(unsharded) == unsharded.total
    assert {name: cost.macs for name, cost in replicated.redundant(unsharded, "module").items()} == {
        "Net.0": 6 * 2 * 64,
        "Net.1": 6 * 64,
        "": 0,
    }
    assert combine_ranks({0: run(4)}).redundant(unsharded, "module", "phase")["Net.1", "forward"].macs == -2 * 64
    with pytest.raises(ProfileError, match=r"^redundant\(\) got 'mod'; .*Did you mean 'module'"):
        replicated.redundant(unsharded, "mod")
    with pytest.raises(ProfileError, match="model in one process, and this one was gathered"):
        replicated.redundant(replicated)


def test_a_gathered_profile_is_read_as_it_was_written():
    """As JSON, also within a difference and a sum; as CSV, a column has the rank."""
    whole = combine_ranks(uneven())
    step = time_step(lambda: Net()(torch.ones(2, 8)), warmup=0, max_seconds=0.05)
    timed = combine_ranks({3: step, 4: step})
    for each in (whole, timed, whole.where(rank=1), whole.diff(timed), whole + whole, combine_ranks({5: Profile()})):
        assert Profile.from_json(each.to_json()) == each
    lines = list(csv.DictReader(io.StringIO(whole.to_csv())))
    macs = {rank: sum(int(line["macs"]) for line in lines if line["rank"] == rank) for rank in "012"}
    assert macs == {"0": 768, "1": 192, "2": 192}
    damaged = whole.to_json().replace('"ranks": [{"rank": 0', '"ranks": [{"rank": 1')
    with pytest.raises(ProfileError, match="rank 1 is there more than once"):
        Profile.from_json(damaged)


def test_gathered_profiles_are_compared_rank_by_rank():
    """A rank that does more than before is in the difference, and alone; two steps add up on each rank."""
    before, after = (combine_ranks({0: run(4), 1: run(batch)}) for batch in (1, 3))
    change = before.diff(after)
    assert {rank: cost.macs for rank, cost in change.by("rank").items() if cost.macs} == {1: 2 * 192}
    assert (before + change).by("rank", "op") == after.by("rank", "op")
    assert after.diff(after).rows == ()
    twice = before + before
    assert {rank: cost.macs for rank, cost in twice.by("rank").items()} == {0: 1536, 1: 384}
    assert (twice.imbalance(), len(twice.ranks)) == (before.imbalance(), 2)
    assert (before + Profile()).imbalance() == before.imbalance()
    # Rows of no rank have none to be compared with.
    assert (before + run(1)).ranks == ()


@pytest.mark.parametrize("combine", [lambda q, p: q + p, lambda q, p: p + q, lambda q, p: p.diff(q).change])
def test_a_process_without_a_rank_is_none(combine):
    """Added to a gathered profile, or taken from it: in the sentence on what was sent, in tables, in errors."""
    row = Row("Net", "Net", "c10d.allreduce_", "forward", "float32", 1, Cost(macs=5, sent=50), group="tp (2)")
    single = Profile([row])
    smaller = [Profile([replace(row, cost=Cost(macs=macs, sent=10 * macs))]) for macs in (3, 1, 2)]
    mixed = combine(combine_ranks(dict(enumerate(smaller))), single)
    text = " ".join(str(mixed).split())
    assert "Sent to others by 3 ranks and by a single process:" in text
    assert "a gathered profile and one of a single process, whose work is of no rank" in text
    assert "(no rank)" in mixed.table("rank")
    for ask in (mixed.imbalance, mixed.slowest_rank, partial(mixed.redundant, single)):
        with pytest.raises(ProfileError, match="one of a single process, whose work is of no rank"):
            ask()
    assert abs(mixed.where(rank=0).total.macs) == 3
    with pytest.raises(ProfileError, match="this one was gathered"):
        combine_ranks({0: single}).redundant(mixed)
    of_one = combine_ranks({4: single}) + single
    assert "Sent to others by rank 4 and by a single process: 100 bytes" in " ".join(str(of_one).split())
    assert "single process" not in str(combine_ranks({4: single})) + str(single)


def test_the_report_is_of_all_ranks():
    """A table by rank, with those that did nothing; what the total is of; how evenly work is shared."""
    text = combine_ranks(uneven()).overview(width=100)
    table = text[text.index("\nrank ") :].splitlines()
    assert [line.split()[0] for line in table[3:7]] == ["0", "1", "2", "7"]
    assert [line.split()[2] for line in table[3:7]] == ["768", "192", "192", "0"]
    assert "total of 4 ranks" in text
    assert "Numbers are sums over 4 ranks." in text
    assert "Imbalance 2.67 in macs: most 768 (rank 0), mean 288, least 0 (rank 7)." in text
    of_one = combine_ranks(uneven()).where(rank=1).overview(width=100)
    assert "Numbers are of rank 1." in of_one
    assert "\nrank " not in of_one


def test_many_ranks_that_do_the_same_share_a_line():
    """Of 40, two kinds: their numbers are sums over the ranks of a line."""
    large, small = run(4), run(1)
    whole = combine_ranks({rank: small if rank in (3, 4, 39) else large for rank in range(40)})
    lines = whole.table(by="rank", width=100).splitlines()[2:4]
    assert lines[0].split()[:5] == ["0-2", "and", "5-38", "×37", str(37 * 7)]
    assert [line.split()[-3] for line in lines] == [f"{37 * 768:,}", f"{3 * 192:,}"]
    assert lines[1].startswith("3, 4 and 39 ×3")


def test_utilization_of_gathered_ranks_divides_by_all_devices():
    """Twice the work on two devices in the same time is the same utilization; so it is of added-up times."""
    part = run(4)
    one = part.mfu(0.01, "h100-sxm:tf32")
    both = combine_ranks({0: part, 1: part})
    assert both.mfu(0.01, "h100-sxm:tf32") == pytest.approx(one)
    assert both.mfu(0.01, "h100-sxm:tf32", world_size=4) == pytest.approx(one / 2)
    timed = replace(part, rows=tuple(replace(row, seconds=0.001) for row in part.rows))
    pair = combine_ranks({0: timed, 1: timed})
    assert pair.mfu(device="h100-sxm") == pytest.approx(timed.mfu(device="h100-sxm"))
    wall = Timing(3, 1, 0.3, wall=0.2)
    pair = combine_ranks({0: replace(timed, timing=wall), 1: replace(timed, timing=wall)})
    assert pair.hfu(device="h100-sxm") == pytest.approx(timed.hfu(0.2, "h100-sxm"))


def test_the_page_lists_ranks():
    """One line for each, with its share and numbers; a column of rows says which rank they are of, for the filter."""
    whole = combine_ranks(uneven())
    data = profile_data(whole.rows, whole.symbolic)
    assert [(line["name"], line["numbers"][1][0]) for line in data["ranks"]["lines"]] == [
        *(("0", "768"), ("1", "192"), ("2", "192"), ("7", "0")),
    ]
    assert [line["share"] for line in data["ranks"]["lines"]] == [
        pytest.approx(whole.where(rank=rank).total.flops / whole.total.flops) for rank in (0, 1, 2, 7)
    ]
    assert data["ranks"]["note"].startswith("Numbers are sums over 4 ranks. Imbalance 2.67 in macs")
    floating = [row for row in whole.rows if row.floating]
    assert [data["strings"][index] for index in data["rows"]["rank"]] == [str(row.rank) for row in floating]
    for alone in (run(1), whole.where(rank=0)):
        data = profile_data(alone.rows, alone.symbolic)
        assert data["ranks"] is None
        assert "rank" not in data["rows"]


def test_times_of_gathered_ranks_are_said_to_be_sums():
    """In rooflines, rankings and notes; the share of a run is the mean; a plan is of as many devices as ranks."""
    part = run(4)
    timing = Timing(5, 1, 0.06, wall=0.05, calls={"Net": 1})
    timed = replace(part, rows=tuple(replace(row, seconds=0.001) for row in part.rows), timing=timing)
    seconds = 0.001 * len(timed.rows)
    both = combine_ranks({0: timed, 1: timed})
    sentence = "Times are sums over 2 ranks, each of which has a device of its own."
    for text in (both.roofline("h100-sxm").table(), both.bottlenecks().table(), both.bottlenecks("h100-sxm").table()):
        assert sentence in " ".join(text.split())
    assert both.roofline("h100-sxm").utilizations[0] == pytest.approx(timed.mfu(0.05, "h100-sxm"))
    notes = " ".join(both.overview(width=100).split())
    assert (
        f"A run takes the slowest rank 50.00 ms without the mode; these operators take {100 * seconds / 0.05:.0f} %"
        in notes
    )
    assert "in the mean of all ranks" in notes
    assert sentence not in timed.roofline("h100-sxm").table()
    one, two = (each.resources("h100-sxm", steps=10, mfu=0.4) for each in (part, combine_ranks({0: part, 1: part})))
    assert (two.hours, two.device_hours) == (pytest.approx(one.hours), pytest.approx(2 * one.hours))
