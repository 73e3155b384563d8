"""The profile of an ended block makes its rows when something reads them, and is as any other."""

import copy
import dataclasses
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType

import pytest
import torch
from torch import nn

from opflops import Cost, OpFlopMode, Profile
from opflops.errors import FormulaError
from opflops.profile.unread import unread_of

X = torch.ones(2, 4)


@pytest.fixture(autouse=True)
def _nothing_is_checked_on_leaving(monkeypatch, _every_count_adds_up):
    """What other tests check at the end of each block reads the rows."""
    monkeypatch.undo()


class Net(nn.Module):
    """A product of 2 x 4 and 4 x 3, an addition and a maximum of 2 x 3 each; and an index, which is in no total."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return torch.relu(self.linear(x)), torch.arange(5) + 1


TOTAL = (2 * 4 * 3, 2 * 3 + 2 * 3)


def ended():
    """Return the profile of a block, of which nothing was read."""
    return counted().profile


@torch.no_grad()
def counted():
    """Return a mode whose block has ended."""
    net = Net()
    with OpFlopMode() as mode:
        net(X)
    return mode


READ = {
    "rows": lambda profile: profile.rows,
    "modules": lambda profile: profile.modules,
    "called": lambda profile: profile.called,
    "sites": lambda profile: profile.sites,
    "remarks": lambda profile: profile.remarks,
    "fields": dataclasses.asdict,
    "hash": hash,
    "equality": lambda profile: profile == Profile(),
    "replace": dataclasses.replace,
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
    "pickle": lambda profile: pickle.loads(pickle.dumps(profile)),  # noqa: S301 - its own
    "table": str,
    "sum": lambda profile: profile + profile,
    "difference": lambda profile: profile - Profile(),
    "JSON": lambda profile: profile.to_json(),
}


@pytest.mark.parametrize("read", READ.values(), ids=READ)
def test_whatever_reads_it_finds_the_rows(read):
    """The total alone needs none; both give the same, and so does the profile that was read before."""
    profile = ended()
    assert unread_of(profile) is not None
    assert (profile.macs, profile.ops) == TOTAL
    assert unread_of(profile) is not None
    result = read(profile)
    assert unread_of(profile) is None
    assert [(row.module, row.op) for row in profile.rows] == [
        *(("Net.linear", op) for op in ("aten.t", "aten.addmm")),
        *(("Net", op) for op in ("aten.relu", "aten.arange", "aten.add")),
    ]
    assert (profile.macs, profile.ops) == TOTAL
    if isinstance(result, Profile):
        assert result.rows
        assert unread_of(result) is None
    again = ended()
    assert (again == profile, profile == ended(), hash(again) == hash(profile)) == (True, True, True)


def test_a_mode_gives_one_profile_of_a_block_that_has_ended():
    """It is not that of its next block, whenever its rows are made."""
    mode = counted()
    first = mode.profile
    assert mode.profile is first
    with mode:
        torch.relu(X)
        assert mode.profile.ops == 8
        torch.relu(X)
    assert mode.profile.ops == 16
    assert [row.op for row in mode.profile.rows] == ["aten.relu"]
    assert (first.macs, len(first.rows), first.called) == (TOTAL[0], 5, ("Net", "Net.linear"))


def test_while_the_block_runs_a_profile_is_what_was_counted_so_far():
    """What runs later does not change it."""
    with OpFlopMode() as mode:
        torch.relu(X)
        before = mode.profile
        assert unread_of(before) is None
        torch.relu(X)
    assert (before.ops, mode.profile.ops) == (8, 16)


def test_it_keeps_no_model_alive():
    """Nor does it wait for the garbage collector, read or not."""
    gc.collect()
    gc.disable()
    try:
        net = Net()
        model = weakref.ref(net)
        with OpFlopMode() as mode:
            net(X)
        profile = mode.profile
        stack = weakref.ref(mode.module_stack)
        del net, mode
        assert model() is None
        assert profile.modules[1].parameters == 4 * 3 + 3
        assert stack() is None
        mode = counted()
        unread, stack = mode.profile, weakref.ref(mode.module_stack)
        del mode
        assert stack() is not None
        del unread
        assert stack() is None
    finally:
        gc.enable()


def test_several_threads_may_read_it_at_a_time():
    """All find the same rows."""
    profile = ended()
    with ThreadPoolExecutor(4) as pool:
        assert {*pool.map(lambda _: len(profile.rows), range(8))} == {5}
    assert unread_of(profile) is None


@pytest.mark.parametrize("wrong", [Cost(ops=-4), Cost(ops=0.5)], ids=str)
def test_a_wrong_count_is_an_error_when_the_profile_is_read(wrong):
    """Not only once its rows are; here it comes from a call after the first one, and a formula of opflops itself."""
    costs = iter([Cost(ops=3), wrong])

    def formula(self):
        return next(costs)

    # Those of others are checked at each call.
    formula = FunctionType(formula.__code__, {"__name__": "opflops.formulas"}, closure=formula.__closure__)
    with OpFlopMode(formulas={torch.ops.aten.relu: formula}) as mode:
        torch.relu(X)
        torch.relu(X)
    for read in (lambda: mode.profile, lambda: mode.total):
        with pytest.raises(FormulaError, match=r"aten\.relu"):
            read()
