"""Sums, differences and selections of profiles that know modules and memory."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from module_facts import EMBEDDING, HALF, HEAD, IDS, IMAGE, MEMORY, MODULES, memories
from sympy import Symbol
from test_rows import profiles
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from opflops import Cost, Profile, ProfileError, Row
from opflops.errors import ProfileArgumentError
from opflops.profile.profile import Case, Dimension
from opflops.records.modules import CallShapes, ModuleRecord, SharedParameter, TensorShape

LOOK_UP = Row("Net.a", "Embedding", "aten.embedding", "forward", "float16", 2, Cost(bytes_read=9))
PRODUCT = Row("Net.b", "Linear", "aten.mm", "forward", "float32", 4, Cost(macs=40), activations=12)
KNOWN = Profile((LOOK_UP, PRODUCT), (), ("Net", "Net.a", "Net.b"), modules=MODULES, memory=MEMORY)


def test_a_sum_adds_calls_and_counts_parameters_once():
    """Two counts of one model are of the same parameters; calls of other shapes stand beside."""
    other = replace(EMBEDDING, calls=(CallShapes((IMAGE,), (HALF,), 5), CallShapes((IDS,), (HALF,), 3)))
    both = KNOWN + replace(KNOWN, modules=(other, ModuleRecord("Net.c", "Linear", 7)))
    net, embedding, head, new = both.modules
    assert (net, head, new) == (MODULES[0], HEAD, ModuleRecord("Net.c", "Linear", 7))
    assert embedding == replace(EMBEDDING, calls=(CallShapes((IDS,), (HALF,), 5), CallShapes((IMAGE,), (HALF,), 5)))
    assert both.rows[1].activations == 24
    assert both.memory == KNOWN.memory


def test_of_different_parameters_the_larger_are_kept():
    """Before a lazy module has its own, and while it was frozen, it has fewer; in any order."""
    lazy = Profile(modules=(ModuleRecord("Net", "LazyLinear", calls=(CallShapes((IDS,), ()),)),))
    frozen = Profile(modules=(ModuleRecord("Net", "Linear", 15, 0, 60),))
    thawed = Profile(modules=(ModuleRecord("Net", "Linear", 15, 15, 60),))
    for total in (lazy + frozen + thawed, thawed + lazy + frozen, frozen + (thawed + lazy)):
        assert total.modules == (ModuleRecord("Net", "Linear", 15, 15, 60, calls=(CallShapes((IDS,), ()),)),)


@given(profiles, profiles)
def test_a_sum_has_each_module_once(a, b):
    """With all calls, and with no more parameters than the larger of the two."""
    both = a + b
    paths = [record.module for record in both.modules]
    assert len(set(paths)) == len(paths)
    assert set(paths) == {record.module for record in (*a.modules, *b.modules)}
    for record in both.modules:
        parts = [each for each in (*a.modules, *b.modules) if each.module == record.module]
        assert record.parameters == max(each.parameters for each in parts)
        assert calls_of(record) == sum(map(calls_of, parts))


def calls_of(record):
    return sum(call.calls for call in record.calls)


def test_a_difference_lists_modules_that_differ():
    """With how many more parameters and calls they have; decreases are negative, and equal modules left out."""
    tied = SharedParameter("weight", "Net.a", 640)
    before = replace(KNOWN, modules=(*MODULES, ModuleRecord("Net.old", "Linear", 6, 6, 24)))
    grown = replace(EMBEDDING, parameters=700, parameter_bytes=2800, calls=(CallShapes((IDS,), (HALF,), 3),))
    after = replace(KNOWN, modules=(MODULES[0], grown, HEAD, ModuleRecord("Net.new", "Linear", 0, shared=(tied,))))
    found = before.diff(after)
    assert found.modules == (
        ModuleRecord("Net.a", "Embedding", 60, 0, 240, calls=(CallShapes((IDS,), (HALF,), 1),)),
        ModuleRecord("Net.new", "Linear", shared=(tied,)),
        ModuleRecord("Net.old", "Linear", -6, -6, -24),
    )
    assert (found.rows, found.memory) == ((), None)
    assert KNOWN.diff(KNOWN) == Profile()


def test_activations_differ_where_nothing_else_does():
    """6 x 2 by 2 x 3 has as many products as 2 x 6 by 6 x 3."""
    (row,) = Profile((PRODUCT,)).diff(Profile((replace(PRODUCT, activations=8),))).rows
    assert (row.calls, row.cost, row.activations) == (0, Cost(), -4)


def test_a_file_that_is_older_than_modules_differs_in_none():
    """It does not say that there were none."""
    old = replace(KNOWN, rows=(LOOK_UP, replace(PRODUCT, activations=0)), modules=(), memory=None)
    for found in (old.diff(KNOWN), KNOWN.diff(old)):
        assert found == Profile()
    (added,) = Profile().diff(Profile((PRODUCT,))).rows
    assert added.activations == 12


@given(profiles, profiles)
def test_differences_of_modules_are_opposite(before, after):
    """There and back is nothing."""
    there, back = ({each.module: each for each in found.modules} for found in (before.diff(after), after.diff(before)))
    for path in there.keys() & back.keys():
        assert there[path].parameters == -back[path].parameters
        assert calls_of(there[path]) == -calls_of(back[path])
    for path in there.keys() ^ back.keys():
        record = there.get(path) or back[path]
        assert record.shared
        assert (record.parameters, record.trainable, record.buffers, record.calls) == (0, 0, 0, ())


def test_a_selection_by_module_has_its_parameters():
    """By other keys all stay, since the model is the same. What a part keeps in memory is not known."""
    net, embedding, head = MODULES
    for selected, modules in (
        (KNOWN.where(phase="forward"), MODULES),
        (KNOWN.where(op="aten.mm"), MODULES),
        (KNOWN.where_not(op="aten.mm"), MODULES),
        (KNOWN.where(module="Net.a"), (embedding,)),
        (KNOWN.where(module="Net.a", op="aten.mm"), (embedding,)),
        (KNOWN.where(module="Net.*"), MODULES),
        (KNOWN.where(module_type="Linear"), (head,)),
        (KNOWN.where(module=lambda path: path.endswith("b")), (head,)),
        (KNOWN.where_not(module="Net.a"), (net, head)),
        (KNOWN.where_not(module="Net.a", phase="forward"), MODULES),
        (KNOWN.where_not(module="Net.a", module_type="Linear"), MODULES),
    ):
        assert selected.modules == modules
        assert selected.memory is None


def test_a_module_that_never_worked_can_be_selected():
    """With those below it: their parameters are known."""
    idle = ModuleRecord("Net.b.idle", "Idle", 5)
    profile = replace(KNOWN, modules=(*MODULES, idle))
    assert profile.where(module="Net.b.idle").rows == ()
    assert profile.where(module="Net.b.idle").modules == (idle,)
    assert profile.where(module="Net.b", below=True).modules == (HEAD, idle)
    assert profile.where(module_type="Idle").modules == (idle,)
    with pytest.raises(ProfileError, match=r"there are Net, .*Net\.b\.idle"):
        profile.where(module="Net.b.idl")


def test_selections_and_sums_reach_into_cases():
    """As for rows."""
    case = Profile((PRODUCT,), modules=MODULES[1:])
    profile = Profile((PRODUCT,), dimensions=(Dimension("n", 8),), cases=(Case((("n", 1),), case),), modules=MODULES)
    assert profile.where(module="Net.b").at(n=1).modules == (HEAD,)
    assert (profile + profile).at(n=1).modules == tuple(
        replace(each, calls=tuple(call._replace(calls=2 * call.calls) for call in each.calls)) for each in MODULES[1:]
    )


def test_shapes_are_evaluated_at_sizes():
    """Calls that become equal are added up; those that do not stay apart, and memory is of no other size."""
    n = Symbol("n")
    calls = tuple(CallShapes((TensorShape((size, 2), "float32"),), (), 3) for size in (n, 5, 2 * n - 5))
    profile = Profile((), dimensions=(Dimension("n", 8),), modules=(ModuleRecord("Net", "Net", calls=calls),))
    shapes = [(call.inputs[0].shape, call.calls) for call in profile.at(n=5).modules[0].calls]
    assert shapes == [((5, 2), 9)]
    assert [call.inputs[0].shape for call in profile.at(n=6).modules[0].calls] == [(6, 2), (5, 2), (7, 2)]
    assert KNOWN.at().memory is None
    assert KNOWN.at().modules == MODULES


def test_symbolic_integers_of_pytorch_are_written_as_those_of_the_example():
    """In activations and in shapes, as in costs; to compare them adds no guard."""
    environment = ShapeEnv()
    size = FakeTensorMode(shape_env=environment).from_tensor(torch.empty(6, 4), static_shapes=False).shape[0]
    tensors = (TensorShape((size, 4), "float32"),)
    record = ModuleRecord(
        "Net", "Net", calls=(CallShapes(tensors, ()), CallShapes((TensorShape((6, 4), "float32"),), ()))
    )
    profile = Profile((replace(PRODUCT, activations=3 * size),), modules=(record,))
    known = (replace(record, calls=(CallShapes((TensorShape((6, 4), "float32"),), (), 2),)),)
    assert Profile.from_json(profile.to_json()).modules == known
    assert Profile.from_json(profile.to_json()).rows[0].activations == 18
    assert "6x4 float32" in profile.to_csv("modules")
    assert (profile + profile).modules[0].calls[0].calls == 4
    assert profile.diff(Profile()).rows[0].activations == -18
    assert environment.guards == []


@given(profiles, memories())
def test_a_profile_with_memory_is_equal_to_itself_alone(profile, memory):
    """And can be a key, with all that it knows."""
    known = replace(profile, memory=memory)
    assert {known: 1}[replace(profile, memory=replace(memory))] == 1
    assert known != replace(known, memory=replace(memory, saved={**memory.saved, "more": 1}))
    assert known != replace(known, modules=(*known.modules, ModuleRecord("More", "Net")))
    assert known != profile


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"modules": (PRODUCT,)}, r"Profile\(modules=...\) needs a tuple of ModuleRecords"),
        ({"modules": "Net"}, "ModuleRecords"),
        ({"memory": 3}, "Memory or None, not 3"),
    ],
)
def test_what_is_no_module_or_memory_is_refused(given, message):
    """Where the profile is made."""
    with pytest.raises(ProfileArgumentError, match=message):
        Profile(**given)
