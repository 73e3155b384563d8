"""The module stack: paths, roots, modules created during a forward, and how the stack is pushed and popped."""

import gc
import weakref

import pytest
import torch
from torch import nn

from opflops import OpFlopMode, Profile, ProfileError

X = torch.ones(2, 4)


def paths(function):
    """Run a function under a mode and list the module paths that did arithmetic (initialising weights is none)."""
    with OpFlopMode() as mode:
        function()
    return [path for path, cost in mode.profile.by("module").items() if cost.flops + cost.transcendentals]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return nn.ReLU()(self.fc(x)) + 1


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x * 2


def test_paths_are_those_of_named_modules_behind_the_roots_class():
    """Work belongs to the module that ran it; a container that is never called has none."""
    assert paths(lambda: Net()(X)) == [
        "Net.blocks.0.fc",
        "Net.blocks.0.ReLU()",
        "Net.blocks.0",
        "Net.blocks.1.fc",
        "Net.blocks.1.ReLU()",
        "Net.blocks.1",
        "Net",
    ]


def test_work_under_no_module_has_an_empty_path():
    """Functions between models belong to no module."""
    assert paths(lambda: X + X) == [""]


def test_a_second_root_of_a_class_is_numbered():
    """Also if the first was deleted by then."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    assert paths(lambda: (first(X), second(X), first(X))) == ["Linear", "Linear#2"]
    assert paths(lambda: (nn.ReLU()(X), nn.ReLU()(X))) == ["ReLU", "ReLU#2"]


def test_a_part_of_a_known_root_keeps_its_path_when_called_from_outside():
    """A model's method other than forward, or a script, may call its parts."""
    net = Net()
    assert paths(lambda: (net(X), net.blocks[1].fc(X)))[-1] == "Net"
    assert set(paths(lambda: (net(X), net.blocks[1].fc(X)))) == set(paths(lambda: net(X)))


def test_a_shared_module_has_its_first_path():
    """named_modules lists a module once."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode = nn.Linear(4, 4)
            self.decode = self.encode

        def forward(self, x):
            return self.decode(self.encode(x))

    with OpFlopMode() as mode:
        Tied()(X)
    assert mode.profile.where(module="Tied.encode", op="aten.addmm").rows[0].calls == 2
    assert "Tied.decode" not in mode.profile.by("module")


def test_modules_created_during_a_forward_are_below_their_caller():
    """With their own children below them. Several of one class share a path."""

    class Dynamic(nn.Module):
        def forward(self, x):
            for _ in range(3):
                x = nn.Sequential(nn.Linear(4, 4), nn.Tanh())(x)
            return x

    with OpFlopMode() as mode:
        Dynamic()(X)
    assert mode.profile.where(op="aten.addmm").by("module").keys() == {"Dynamic.Sequential().0"}
    assert mode.profile.where(op="aten.addmm").rows[0].calls == 3
    assert "Dynamic.Sequential().1" in mode.profile.by("module")


def test_a_module_registered_while_running_gets_its_registered_path():
    """Lazily built children are children."""

    class Lazy(nn.Module):
        def forward(self, x):
            if not hasattr(self, "fc"):
                self.fc = nn.Linear(4, 4)
            return self.fc(x)

    assert paths(lambda: Lazy()(X)) == ["Lazy.fc"]


def test_a_registered_module_called_through_a_temporary_one_keeps_its_path():
    """A temporary container does not rename what it holds."""

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return nn.Sequential(self.fc)(x)

    assert paths(lambda: Wrapped()(X)) == ["Wrapped.fc"]


def test_recursion_and_reuse_stay_on_the_path():
    """A module that calls itself is one module."""

    class Recursive(nn.Module):
        def forward(self, x, depth=3):
            return self(x + 1, depth - 1) if depth else x

    with OpFlopMode() as mode:
        Recursive()(X)
    assert [(row.module, row.calls) for row in mode.profile.rows] == [("Recursive", 3)]


def test_an_exception_in_a_forward_unwinds_the_stack():
    """Later work is not attributed to the module that failed."""

    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Block()

        def forward(self, x):
            self.inner(x)
            raise RuntimeError

    def run():
        with pytest.raises(RuntimeError):
            Failing()(X)
        return X + X

    with OpFlopMode() as mode:
        run()
    assert mode.profile.where(op="aten.add", module="").total.ops == 8


def test_an_exception_caught_inside_a_module_returns_to_it():
    """Later work belongs to the module that caught it."""

    class Bad(nn.Module):
        def forward(self, x):
            raise ValueError

    class Good(nn.Module):
        def __init__(self):
            super().__init__()
            self.bad = Bad()

        def forward(self, x):
            try:
                return self.bad(x)
            except ValueError:
                return x * 2

    assert paths(lambda: Good()(X)) == ["Good"]


def test_two_models_in_one_block_do_not_mix():
    """A model that another one calls but does not register is below its caller; alone it is a root."""
    teacher = Block()

    class Student(nn.Module):
        def forward(self, x):
            return teacher(x)

    assert paths(lambda: Student()(X))[0] == "Student.Block().fc"
    assert paths(lambda: (teacher(X), Student()(X)))[0] == "Block.fc"


def test_row_types_are_class_names():
    """Each row holds the class name of its module."""
    with OpFlopMode() as mode:
        Net()(X)
        X.sum()
    types = {row.module: row.module_type for row in mode.profile.rows}
    assert types[""] == ""
    assert types["Net.blocks.0.ReLU()"] == "ReLU"
    assert types["Net"] == "Net"


def test_a_module_that_replaces_another_has_its_own_type():
    """The path is the same, the class is not."""
    net = nn.Sequential(nn.ReLU())
    with OpFlopMode() as mode:
        net(X)
        net[0] = nn.GELU()
        net(X)
    types = {row.op: (row.module, row.module_type) for row in mode.profile.rows}
    assert types == {"aten.relu": ("Sequential.0", "ReLU"), "aten.gelu": ("Sequential.0", "GELU")}


def test_module_calls_are_restored_when_the_block_ends():
    """nn.Module.__call__ is the same function as before, with the same code, also after an exception."""
    call = nn.Module.__call__
    before = call.__code__
    with OpFlopMode():
        assert nn.Module.__call__ is call
        assert call.__code__ is not before
    assert nn.Module.__call__ is call
    assert call.__code__ is before
    with pytest.raises(KeyError), OpFlopMode():
        raise KeyError
    assert call.__code__ is before


def test_a_block_sets_no_attribute_of_the_class_of_modules():
    """Python would forget then what it knows of the attributes of all classes derived from it."""
    before = vars(nn.Module).copy()
    with OpFlopMode():
        Net()(X)
        assert vars(nn.Module) == before


def test_nested_modes_restore_when_the_last_ends():
    """The end of the inner block does not remove the patches of the outer one."""
    before = nn.Module.__call__.__code__
    with OpFlopMode() as outer:
        with OpFlopMode() as inner:
            Block()(X)
        Block()(X)
    assert nn.Module.__call__.__code__ is before
    assert "Block.fc" in inner.profile.by("module")
    assert {"Block.fc", "Block#2.fc"} <= set(outer.profile.by("module"))


def test_a_wrapper_that_somebody_leaves_behind_does_no_harm():
    """Another tool's patch of nn.Module.__call__, put over ours and kept, neither recurses nor loses the stack."""
    before = nn.Module.__call__
    with OpFlopMode():
        ours = nn.Module.__call__

        def theirs(module, *args, **kwargs):
            return ours(module, *args, **kwargs)

        nn.Module.__call__ = theirs
    try:
        assert nn.Module.__call__ is theirs
        assert paths(lambda: Net()(X)) == paths(lambda: Net()(X))
        assert "Net.blocks.0.fc" in paths(lambda: Net()(X))
    finally:
        nn.Module.__call__ = before


def test_a_patch_that_is_made_in_one_block_and_undone_in_another_keeps_the_names():
    """Each call is counted once, whether somebody else's function calls PyTorch's or not, once or more."""
    original, expected = nn.Module.__call__, paths(lambda: Net()(X))

    def through(module, *args, **kwargs):
        return original(module, *args, **kwargs)

    def around(module, *args, **kwargs):
        return module.forward(*args, **kwargs)

    def undo():
        nn.Module.__call__ = original
        Net()(X)

    try:
        for theirs in (through, around):
            with OpFlopMode():
                nn.Module.__call__ = theirs
            assert paths(lambda: Net()(X)) == expected
            assert paths(undo) == expected
        nn.Module.__call__ = lambda module, *args: (original(module, *args), original(module, *args))[1]
        with OpFlopMode() as mode:
            linear = nn.Linear(4, 4)
            linear(X)
    finally:
        nn.Module.__call__ = original
    calls = {record.module: sum(call.calls for call in record.calls) for record in mode.profile.modules}
    assert calls == {"Linear": 2}


def test_nothing_of_the_users_is_kept_alive_or_changed():
    """The mode holds no module, and leaves no hook or attribute on any."""
    net = Net()
    state = {name: set(vars(module)) for name, module in net.named_modules()}
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()]
    with OpFlopMode() as mode:
        net(X)
    assert state == {name: set(vars(module)) for name, module in net.named_modules()}
    assert hooks == [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()]
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None
    assert mode.total.macs == 64


def test_a_module_at_the_address_of_a_deleted_one_is_told_apart():
    """A path belongs to the module, not to its address, which may be reused."""

    class Maker(nn.Module):
        def forward(self, x):
            for make in (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.ReLU, nn.Tanh):
                x = make()(x)
            return x

    with OpFlopMode() as mode:
        Maker()(X)
    operators = {row.module: row.op for row in mode.profile.rows if row.op != "aten.detach"}
    assert operators == {
        "Maker.ReLU()": "aten.relu",
        "Maker.Tanh()": "aten.tanh",
        "Maker.Sigmoid()": "aten.sigmoid",
    }


def test_modules_whose_class_defines_equality_are_told_apart():
    """Modules are compared by identity."""

    class Equal(nn.Module):
        def __eq__(self, other):
            return True

        def __hash__(self):
            return 1

        def forward(self, x):
            return x + 1

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Equal(), Equal()

        def forward(self, x):
            return self.second(self.first(x))

    # named_modules() itself takes one of two equal modules for the other, and lists one.
    pair = Pair()
    with OpFlopMode() as mode:
        pair(X)
    assert [(row.module, row.calls) for row in mode.profile.rows] == [("Pair.first", 1), ("Pair.second", 1)]


class Twice(nn.Module):
    """Call one layer twice, and once more through a block."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(4, 4, bias=False)
        self.block = nn.Sequential(self.shared)
        self.spare = nn.Linear(4, 4)
        self.list = nn.ModuleList([nn.Identity(), nn.ReLU()])

    def forward(self, x):
        return self.list[0](self.block(self.shared(self.shared(x[:1]))))


def test_calls_of_a_shared_module_are_told_apart_by_call_site():
    """By caller and number of the call, forward and backward, over all steps. Rows add the call sites up."""
    net = Twice()
    with OpFlopMode() as mode:
        for _ in range(3):
            net(X).sum().backward()
    p = mode.profile
    # The first call wants no gradient of its input.
    assert {site: cost.macs for site, cost in p.call_sites("Twice.shared").items()} == {
        "Twice #1": 3 * (16 + 16),
        "Twice #2": 3 * (16 + 32),
        "Twice.block #1": 3 * (16 + 32),
    }
    assert p.by("module")["Twice.shared"].macs == 3 * (16 + 32 + 48 + 32)
    assert [row.calls for row in p.rows if row.op == "aten.mm" and row.phase == "forward"] == [9]
    assert p.where(phase="forward").call_sites("Twice.shared")["Twice #2"].macs == 3 * 16
    assert set(p.call_sites("Twice")) == {""}
    assert Profile.from_json(p.to_json()) == p
    assert not (p.diff(p)).rows
    assert (p + p).call_sites("Twice.shared")["Twice #1"].macs == 2 * 3 * (16 + 16)


def test_later_iterations_of_a_long_loop_share_a_call_site():
    """A module that one run calls thousands of times does not take thousands of rows."""

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            for _ in range(200):
                x = self.fc(x)
            return x

    with OpFlopMode() as mode:
        Loop()(X)
    sites = mode.profile.call_sites("Loop.fc")
    assert len(sites) == 64
    assert sites["Loop #1"].macs == 32
    assert sites["Loop #64"].macs == (200 - 63) * 32


def test_modules_that_never_ran_are_listed():
    """Containers of called modules, and those without a forward, are not. A called Identity is not either."""
    net = Twice()
    with OpFlopMode() as mode:
        net(X)
    assert mode.profile.uncalled(net) == ["Twice.spare", "Twice.list.1"]
    with OpFlopMode() as mode:
        nn.ReLU()(X), Twice()(X), net(X)
    with pytest.raises(ProfileError, match="'Net' was called; called were ReLU, Twice"):
        mode.profile.uncalled(Net())
    assert "Twice#2.spare" in mode.profile.uncalled(net, root="Twice#2")
