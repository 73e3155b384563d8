"""``opflops.compat.FlopCounterMode`` beside PyTorch's own class, and where that one is wrong."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode as TorchMode

import opflops
from opflops.compat import FlopCounterMode, flop_registry
from opflops.compat.flop_counter import conv_flop_count, sdpa_backward_flop_count, sdpa_flop_count, shape_wrapper

aten = torch.ops.aten
X = torch.ones(2, 8)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        return x + self.down(functional.relu(self.up(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


class SharedByTwo(nn.Module):
    def __init__(self, block=None):
        super().__init__()
        block = block or Block()
        self.first, self.second = Around(block), Around(block)

    def forward(self, x):
        return self.second(self.first(self.first(x)))


class MadeOnTheFly(nn.Module):
    def forward(self, x):
        return nn.Linear(8, 8)(nn.Linear(8, 8)(x))


class NotRegistered(nn.Module):
    def __init__(self):
        super().__init__()
        self.held = [Block()]

    def forward(self, x):
        return self.held[0](x)


class CallsItself(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x, times=2):
        x = self.linear(x)
        return self(x, times - 1) if times else x


class Checkpointed(Net):
    reentrant = False

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(x)


class CheckpointedReentrant(Checkpointed):
    reentrant = True


def several_roots():
    Net()(X)
    nn.Linear(8, 3)(X)
    nn.Linear(8, 5)(X)


def part_called_first():
    net = Net()
    net.blocks[0](X)
    net(X)


def part_called_afterwards():
    net = Net()
    net(X)
    net.blocks[0].up(X)


def transformed():
    net = Net()
    parameters = dict(net.named_parameters())
    torch.func.grad(lambda given: torch.func.functional_call(net, given, (X,)).sum())(parameters)
    torch.func.vmap(net)(torch.ones(3, 2, 8))


def without_grad():
    with torch.inference_mode():
        Net()(X)
    with torch.no_grad():
        Net()(X)


def interleaved():
    x = X.clone().requires_grad_()
    first, second = Net()(x), Block()(x)
    second.sum().backward()
    first.sum().backward()


def compiled():
    torch.compile(Net(), backend="eager")(X)


def recurrent():
    nn.GRUCell(8, 4)(X).sum().backward()
    nn.GRU(8, 4)(torch.ones(3, 2, 8))[0].sum().backward()


def integers():
    torch.ones(3, 4, dtype=torch.long) @ torch.ones(4, 5, dtype=torch.long)


PROGRAMS = {
    "forward": lambda: Net()(X),
    "trained": lambda: Net()(X).sum().backward(),
    "trained, input with a gradient": lambda: Net()(X.clone().requires_grad_()).sum().backward(),
    "convolutions": lambda: (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 3))(torch.ones(1, 3, 8, 8)).sum().backward()
    ),
    "wrapped": lambda: nn.DataParallel(Around(Net()))(X).sum().backward(),
    "shared by two": lambda: SharedByTwo()(X),
    "several roots": several_roots,
    "a part called first": part_called_first,
    "a part called afterwards": part_called_afterwards,
    "made on the fly": lambda: MadeOnTheFly()(X),
    "not registered": lambda: NotRegistered()(X),
    "calls itself": lambda: CallsItself()(X),
    "outside": lambda: X @ X.T,
    "nothing": lambda: X + 1,
    "functions transformed": transformed,
    "without grad": without_grad,
    "interleaved": interleaved,
    "compiled": compiled,
    "attention with weights": lambda: nn.MultiheadAttention(8, 2)(*[torch.ones(3, 1, 8)] * 3),
    "recurrent": recurrent,
    "integers": integers,
    "bfloat16": lambda: Net().bfloat16()(X.bfloat16()).sum().backward(),
    "keywords": lambda: Around(Block())(x=X),
}


def run(mode_class, program, **options):
    torch.manual_seed(0)
    with mode_class(display=False, **options) as mode:
        program()
    return mode


@pytest.mark.filterwarnings("ignore:Using `torch.compile:UserWarning")
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.no_outer_mode
def test_counts_and_tables_are_pytorchs_where_it_is_right(name):
    """To the module name, the operator and the character of the table, at each depth."""
    theirs, ours = run(TorchMode, PROGRAMS[name]), run(FlopCounterMode, PROGRAMS[name])
    assert ours.get_total_flops() == theirs.get_total_flops()
    for depth in (None, 1, 2, 5):
        ours.depth = theirs.depth = depth
        assert sorted(ours.get_table().splitlines()) == sorted(theirs.get_table().splitlines())
    assert ours.get_table(1).splitlines()[:3] == theirs.get_table(1).splitlines()[:3]
    assert ours.get_flop_counts() == theirs.get_flop_counts()


def trained(module, *inputs):
    return lambda: module(*[each.clone().requires_grad_() for each in inputs]).sum().backward()


def attention():
    q = torch.ones(1, 2, 16, 8, requires_grad=True)
    functional.scaled_dot_product_attention(q, q, q).sum().backward()


def encoder_in_eval():
    with torch.no_grad():
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()(torch.ones(1, 3, 8))


def vectors():
    torch.zeros(3, 3).addmm_(torch.ones(3, 4), torch.ones(4, 3))
    torch.mv(torch.ones(3, 4), torch.ones(4))
    torch.dot(torch.ones(4), torch.ones(4))


def kernels_of_attention():
    q = torch.empty(2, 16, 4, 8, device="meta", dtype=torch.half)  # 16 queries, 4 heads
    aten._efficient_attention_forward(q, q, q, None, None, None, None, None, 0.0, 0, False)
    aten._flash_attention_forward(q, q, q, None, None, 16, 16, 0.0, False, False)


def branches():
    w = torch.ones(8, 8)
    X @ w
    torch.cond(X.sum() > 0, lambda x: x @ w, lambda x: (x @ w) @ w, (X,))


def jagged():
    rows = torch.nested.nested_tensor([torch.ones(2, 8), torch.ones(3, 8)], layout=torch.jagged)
    nn.Linear(8, 4)(rows)


@pytest.mark.parametrize(
    ("program", "flops"),
    [
        # 8·2·3·3 weights at 16 positions, once forward and twice backward.
        (trained(nn.Conv2d(8, 8, 3, groups=4), torch.ones(1, 8, 6, 6)), 2 * 3 * 16 * 8 * 2 * 9),
        # 8·2·3·3 weights at the 36 positions of the input.
        (trained(nn.ConvTranspose2d(8, 4, 3, stride=2, groups=2), torch.ones(1, 8, 6, 6)), 2 * 3 * 36 * 8 * 2 * 9),
        # Two products forward; five backward, since the kernel computes the scores again.
        (attention, 2 * (2 + 5) * 2 * 16 * 16 * 8),
        # Four gates of 20 units, each with 10 inputs and 20 states, for 15 vectors.
        (lambda: nn.LSTM(10, 20)(torch.ones(5, 3, 10)), 2 * 15 * 4 * 20 * 30),
        # Three vectors: four projections of 8·8, two products of 3·3·8, two layers of 8·16.
        (encoder_in_eval, 2 * (3 * 4 * 64 + 2 * 72 + 3 * 2 * 128)),
        # A complex multiply-accumulate is four real ones.
        (lambda: torch.ones(2, 8, dtype=torch.cfloat) @ torch.ones(8, 5, dtype=torch.cfloat), 2 * 4 * 2 * 8 * 5),
        (vectors, 2 * (36 + 12 + 4)),
        (jagged, 2 * 5 * 8 * 4),
        # Twice two products of 16·16·8, for two examples and four heads.
        (kernels_of_attention, 2 * 2 * 2 * (2 * 4) * 16 * 16 * 8),
        (branches, 2 * 2 * 2 * 8 * 8),
    ],
    ids=[
        "groups",
        "transposed groups",
        "attention",
        "LSTM",
        "encoder",
        "complex",
        "vectors",
        "jagged",
        "layout",
        "cond",
    ],
)
def test_figures_that_pytorch_has_wrong_are_right(program, flops):
    """By hand; PyTorch's class has another one, or raises."""
    assert run(FlopCounterMode, program).get_total_flops() == flops


def parents_and_children(counts):
    """Pair each module with those directly below it that were called."""
    for name, by_op in counts.items():
        above = name.rpartition(".")[0]
        while above and above not in counts:
            above = above.rpartition(".")[0]
        yield sum(counts[above or "Global"].values()), sum(by_op.values())


@pytest.mark.parametrize(
    ("model", "input_has_gradient"),
    [(Net, False), (Net, True), (Checkpointed, False), (Checkpointed, True), (CheckpointedReentrant, True)],
)
def test_no_module_has_more_than_the_one_that_it_is_in(model, input_has_gradient):
    """And the backward pass of a block, recomputed or not, is in it: three products of each, four with a recomputation.

    The first layer needs no gradient of an input without one.
    """
    counts = run(FlopCounterMode, lambda: model()(X.clone().requires_grad_(input_has_gradient)).sum().backward())
    counts = counts.get_flop_counts()
    assert all(above >= below for above, below in parents_and_children(counts))
    product, name = 2 * 2 * 8 * 16, model.__name__
    assert sum(counts[f"{name}.blocks.1.up"].values()) in (3 * product, 4 * product)
    assert sum(counts[f"{name}.blocks.1"].values()) == 2 * (3 if model is Net else 4) * product - (
        # Without early stopping the last product would be computed again, too; nothing needs its result.
        product if model is Checkpointed else 0
    )


def test_an_exception_leaves_later_work_to_the_modules_that_do_it():
    """The module that raised is over; the table is printed all the same."""

    class Fails(nn.Module):
        def forward(self, x):
            raise KeyError(x @ x.T)

    def program():
        with pytest.raises(KeyError):
            Fails()(X)
        nn.Linear(8, 3)(X)

    counts = run(FlopCounterMode, program).get_flop_counts()
    assert counts["Fails"] == {aten.mm: 2 * 2 * 8 * 2}
    assert counts["Linear"] == {aten.addmm: 2 * 2 * 8 * 3}


def test_what_a_higher_order_operator_calls_is_counted():
    """The branch that runs, in the module that called the operator."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 4)

        def forward(self, x):
            return torch.cond(x.sum() > 0, lambda x: self.linear(x), lambda x: self.linear(x) * 2, (x,))

    counts = run(FlopCounterMode, lambda: Branches()(X)).get_flop_counts()
    assert sum(counts["Branches"].values()) == 2 * 2 * 8 * 4


def test_the_arguments_are_pytorchs_in_the_same_order(capsys):
    """``mods``, ``depth``, ``display``, ``custom_mapping``; the first gives PyTorch's warning."""
    net = Net()
    with pytest.warns(UserWarning, match="not needed") as warned, FlopCounterMode(net, 1, True, {}) as mode:
        net(X)
    assert warned[0].filename == __file__
    printed = capsys.readouterr().out
    assert printed == mode.get_table(1) + "\n"
    assert [line.split()[0] for line in printed.splitlines()] == ["Module", "------------", "Net", "-"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        mode = FlopCounterMode(mods=[net], depth=None, display=False, custom_mapping=None)
    assert (mode.depth, mode.display) == (None, False)


def test_the_table_is_printed_when_the_block_ends_with_an_error(capsys):
    """With what was counted until then, and the error goes on."""
    with pytest.raises(KeyError), FlopCounterMode():
        raise KeyError(X @ X.T)
    assert "Global" in capsys.readouterr().out


def test_a_second_block_of_one_object_starts_afresh():
    """As with PyTorch's class."""
    mode = FlopCounterMode(display=False)
    for size in (2, 3):
        with mode:
            torch.ones(size, 4) @ torch.ones(4, 5)
        assert mode.get_flop_counts() == {"Global": {aten.mm: 2 * size * 4 * 5}}


def test_nested_counters_each_count_all_of_their_own_block():
    """PyTorch's, opflops' mode and this one in any order."""
    with TorchMode(display=False) as theirs, FlopCounterMode(display=False) as outer:
        X @ X.T
        with opflops.OpFlopMode() as mode, FlopCounterMode(display=False) as inner:
            X @ X.T
    product = 2 * 2 * 8 * 2
    assert (theirs.get_total_flops(), outer.get_total_flops()) == (2 * product, 2 * product)
    assert (inner.get_total_flops(), 2 * mode.total.macs) == (product, product)


def test_a_block_inside_one_of_the_same_object_is_refused():
    """The outer one goes on counting."""
    mode = FlopCounterMode(display=False)
    with mode:
        with pytest.raises(opflops.ActiveModeError, match="already counting"), mode:
            pass
        X @ X.T
    assert mode.get_total_flops() == 2 * 2 * 8 * 2
    with pytest.raises(opflops.ActiveModeError, match="not counting"):
        mode.__exit__(None, None, None)


def test_counts_can_be_read_and_cleared_while_the_block_runs():
    """What comes later is added to what is there."""
    with FlopCounterMode(display=False) as mode:
        assert mode.get_flop_counts() == {}
        X @ X.T
        assert mode.get_total_flops() == 64
        mode.flop_counts.clear()
        X @ X.T
        mode.flop_counts["Global"][aten.mm] += 1
        assert mode.get_total_flops() == 65
        X @ X.T
    assert mode.get_total_flops() == 129
    assert mode.flop_counts["Nothing"][aten.bmm] == 0


def test_hooks_end_with_the_block_and_the_model_stays_as_it_was():
    """Nothing is added to modules; what other counters registered stays."""
    net = Net().eval()
    before = {name: set(vars(module)) for name, module in net.named_modules()}
    hooks = torch.nn.modules.module._global_forward_pre_hooks, torch.nn.modules.module._global_forward_hooks
    counts = [len(each) for each in hooks]
    with FlopCounterMode(display=False):
        assert [len(each) for each in hooks] == [count + 1 for count in counts]
        net(X)
    assert [len(each) for each in hooks] == counts
    assert before == {name: set(vars(module)) for name, module in net.named_modules()}
    assert not net.training


def test_the_tracker_names_what_runs():
    """Forward, backward and after an error; outside the block, nothing does."""
    seen = []

    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            seen.append((mode.mod_tracker.parents, mode.mod_tracker.is_bw))
            y = self.linear(x)
            y.register_hook(lambda _: seen.append((mode.mod_tracker.parents, mode.mod_tracker.is_bw)))
            return y

    class Fails(nn.Module):
        def forward(self):
            raise KeyError

    with FlopCounterMode(display=False) as mode:
        Looks()(X).sum().backward()
        with pytest.raises(KeyError):
            Fails()()
        seen.append((mode.mod_tracker.parents, mode.mod_tracker.is_bw))
        with pytest.raises(KeyError):
            Fails()()
        Looks()(X)
    assert seen[3] == seen[0]
    assert seen[0] == ({"Global", "Looks"}, False)
    assert seen[1] == ({"Global", "Looks", "Looks.linear"}, True)
    assert seen[2] == ({"Global"}, False)
    assert mode.mod_tracker.parents == {"Global"}


@pytest.mark.parametrize("block", [Block, lambda: nn.Sequential(nn.Linear(8, 8))], ids=["ops", "no ops of its own"])
def test_the_profile_has_what_else_was_counted(block):
    """One row for each operator of a module, also if several modules call it."""
    mode = run(FlopCounterMode, lambda: SharedByTwo(block())(X))
    with opflops.OpFlopMode() as own:
        SharedByTwo(block())(X)
    assert mode.profile.rows == own.profile.rows
    assert mode.profile.sites == own.profile.sites
    assert mode.profile.modules == own.profile.modules
    assert mode.get_total_flops() == 2 * own.total.macs


@pytest.mark.parametrize("mode_class", [TorchMode, FlopCounterMode])
@pytest.mark.no_outer_mode
def test_formulas_of_a_mapping_get_the_operators_own_arguments(mode_class):
    """By position and by name as the program has them, with shapes in place of tensors, once for each call."""
    calls = []

    def count(*args, out_shape, **kwargs):
        calls.append((args, out_shape, kwargs))
        return 3

    with mode_class(display=False, custom_mapping={aten.add: count, aten.sort: count}) as mode:
        x = torch.ones(3, 4)
        x.add(x, alpha=2)
        torch.add(x, x, out=torch.empty(3, 4))
        x.add_(1)
        x.sort(dim=0)
        torch.ones(2, dtype=torch.cfloat) + torch.ones(1)
        torch.ones(2, dtype=torch.long) + 1
    assert mode.get_flop_counts() == {"Global": {aten.add: 12, aten.sort: 3}}
    assert calls[0] == (((3, 4), (3, 4)), (3, 4), {"alpha": 2})
    assert calls[1] == (((3, 4), (3, 4)), (3, 4), {"out": (3, 4)})
    assert calls[2] == (((3, 4), 0), ((3, 4), (3, 4)), {})
    assert calls[3] == (((2,), (1,)), (2,), {})
    assert len(calls) == 5


@pytest.mark.parametrize("mode_class", [TorchMode, FlopCounterMode])
@pytest.mark.no_outer_mode
def test_raw_formulas_get_tensors_and_the_result(mode_class):
    """Those with an attribute ``_get_raw``; a formula comes before the one that is there."""

    def count(left, right, *, out_val):
        assert isinstance(left, torch.Tensor)
        return right.numel() + out_val.numel()

    count._get_raw = True
    with mode_class(display=False, custom_mapping={aten.mm: count}) as mode:
        nn.Sequential(nn.Linear(8, 3, bias=False))(X)
    assert mode.flop_counts["Sequential.0"][aten.mm] == mode.flop_counts["Sequential"][aten.mm] == 24 + 6


def test_a_formula_counts_in_place_of_what_an_operator_decomposes_into():
    """In each grad mode; PyTorch's class calls it only where autograd does not come first."""
    mapping = {aten.linear: lambda *_, out_shape: out_shape.numel()}
    for grad in (True, False):
        with torch.set_grad_enabled(grad), FlopCounterMode(display=False, custom_mapping=mapping) as mode:
            nn.Linear(8, 3)(X)
        assert mode.get_flop_counts()["Linear"] == {aten.linear: 6}


def test_a_formula_that_gives_nothing_leaves_an_entry():
    """As with PyTorch's class: the operator is one of those that count."""
    mode = run(FlopCounterMode, lambda: X.sin(), custom_mapping={aten.sin: lambda *_, out_shape: 0.0})
    assert mode.get_flop_counts() == {"Global": {aten.sin: 0}}


def test_what_a_formula_raises_is_raised_where_the_operator_runs():
    """The block has counted what ran before."""

    def fails(*_, out_shape):
        raise LookupError("no such size")

    with FlopCounterMode(display=False, custom_mapping={aten.sin: fails}) as mode:
        X @ X.T
        with pytest.raises(LookupError, match="no such size"):
            X.sin()
    assert mode.get_flop_counts() == {"Global": {aten.mm: 64}}


@pytest.mark.parametrize("flops", [2.5, -1, None, "3"])
def test_flops_that_are_no_whole_number_are_refused(flops):
    """The message names the formula and what it returned."""

    def odd(*_, out_shape):
        return flops

    with (
        FlopCounterMode(display=False, custom_mapping={aten.sin: odd}),
        pytest.raises(opflops.FormulaError, match=rf"The formula odd returned {flops!r}\. FLOPs are whole numbers"),
    ):
        X.sin()


def test_a_higher_order_operator_can_have_a_formula():
    """It gets the operator's own arguments, and what the operator calls is not counted again."""
    from torch._higher_order_ops.while_loop import while_loop  # noqa: PLC0415 - loads the compiler

    def count(condition, body, carried, additional, *, out_val):
        return 100 + out_val[1].numel()

    count._get_raw = True
    mapping = {torch.ops.higher_order.while_loop: count}
    with FlopCounterMode(display=False, custom_mapping=mapping) as mode:
        while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x @ torch.ones(8, 8)), (torch.tensor(0), X))
    assert mode.get_flop_counts() == {"Global": {torch.ops.higher_order.while_loop: 116}}


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ([aten.mm], "custom_mapping must be a dict of functions by operator"),
        ({aten.mm.default: len}, "expected each target to be OpOverloadPacket.* not the overload aten.mm.default"),
        ({"aten.mm": len}, "expected each target to be OpOverloadPacket.* not 'aten.mm'"),
        ({aten.mm: 3}, "The formula for aten.mm must be a function that returns FLOPs, not 3"),
    ],
)
def test_a_mapping_that_would_have_no_effect_is_refused(mapping, sentence):
    """PyTorch's class takes it without a word, or fails later."""
    with pytest.raises(opflops.ArgumentError, match=sentence):
        FlopCounterMode(custom_mapping=mapping)


def test_an_operator_that_is_taken_out_of_the_registry_does_not_count():
    """Of one object, as with PyTorch's class."""
    mode = FlopCounterMode(display=False)
    del mode.flop_registry[aten.addmm]
    with mode:
        nn.Linear(8, 3)(X)
        X @ X.T
    assert mode.get_flop_counts() == {"Global": {aten.mm: 64}}
    assert aten.addmm in flop_registry


def test_an_operator_without_a_formula_gives_a_warning():
    """PyTorch's class says nothing."""

    @torch.library.custom_op("compat_tests::unknown", mutates_args=())
    def unknown(x: torch.Tensor) -> torch.Tensor:
        return x.sin()

    with FlopCounterMode(display=False) as mode, pytest.warns(opflops.UnpricedOpWarning, match="compat_tests.unknown"):
        unknown(X)
    assert mode.get_total_flops() == 0


def test_shapes_alone_give_flops():
    """Of convolutions, and of attention with fewer heads of keys than of queries."""
    assert conv_flop_count([2, 3, 6, 6], [6, 3, 4, 4], [2, 6, 5, 5]) == 2 * 2 * 25 * 6 * 3 * 16
    assert conv_flop_count([2, 3, 6, 6], [3, 6, 4, 4], [2, 6, 9, 9], transposed=True) == 2 * 2 * 36 * 6 * 3 * 16
    query, key, value = (2, 8, 5, 16), (2, 4, 7, 16), (2, 4, 7, 10)
    assert sdpa_flop_count(query, key, value) == 2 * 2 * 8 * 5 * 7 * (16 + 10)
    assert sdpa_backward_flop_count((2, 8, 5, 10), query, key, value) == 2 * 2 * 8 * 5 * 7 * (3 * 16 + 2 * 10)
    for bad in [(2, 3, 7, 16), (1, 4, 7, 16), (2, 4, 7, 8)]:
        with pytest.raises(AssertionError, match="are no attention"):
            sdpa_flop_count(query, bad, value)
    with pytest.raises(AssertionError, match="but the result has"):
        sdpa_backward_flop_count((2, 8, 5, 16), query, key, value)


def test_the_package_has_the_names_of_pytorchs_module():
    """So the import of either can be changed; what is not there is an error."""
    for name in ("FlopCounterMode", "flop_registry", "register_flop_formula", "sdpa_flop_count", "shape_wrapper"):
        assert getattr(opflops.compat, name) is getattr(opflops.compat.flop_counter, name)
    with pytest.raises(AttributeError, match=r"'opflops\.compat' has no attribute 'FlopCounter'"):
        _ = opflops.compat.FlopCounter


def test_a_wrapped_formula_gets_shapes():
    """Of tensors in lists, too."""
    assert shape_wrapper(lambda given, n, *, out_shape: (given, n, out_shape))([X, X], 3, out_val=(X,)) == (
        [(2, 8), (2, 8)],
        3,
        ((2, 8),),
    )
