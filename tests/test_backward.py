"""Attribution of backward work: to the module whose forward created the node or that owns the parameter; phases."""

import gc

import pytest
import torch
from torch import nn
from torch.nn.functional import silu
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from opflops import OpFlopMode
from opflops.records.rows import inclusive, total

X = torch.ones(2, 4)
# A Linear(4, 4) on two rows multiplies 2 * 4 * 4 numbers, forward, for its weight and for its input.
LINEAR = 32


def check(mode):
    """See that modules and phases add up to the total, and hand the profile on."""
    profile = mode.profile
    tree = inclusive(profile.rows)
    roots = [cost for path, cost in tree.items() if "." not in path]
    assert sum(roots[1:], roots[0]) == total(profile.rows)
    for path, cost in tree.items():
        children = [tree[child] for child in tree if child.rpartition(".")[0] == path and path]
        assert cost == sum(children, profile.by("module").get(path, cost - cost))
    return profile


def macs(mode):
    """List who multiplied how much in each phase."""
    return {key: cost.macs for key, cost in check(mode).by("module", "phase").items() if cost.macs}


def ops(mode, name):
    """List who ran an operator, in each phase."""
    return [(row.module, row.phase) for row in check(mode).rows if row.op == name]


class Net(nn.Module):
    """Two linear layers, and functional work between them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)

    def forward(self, x):
        return self.second(silu(self.first(x)))


def test_a_gradient_belongs_to_the_module_whose_forward_created_its_node():
    """The first layer needs no gradient of its input; silu's gradient is the caller's."""
    net = Net()
    with OpFlopMode() as mode:
        net(X).sum().backward()
    assert macs(mode) == {
        ("Net.first", "forward"): LINEAR,
        ("Net.second", "forward"): LINEAR,
        ("Net.second", "backward"): 2 * LINEAR,
        ("Net.first", "backward"): LINEAR,
    }
    assert ops(mode, "aten.silu_backward") == [("Net", "backward")]


def test_accumulating_a_gradient_belongs_to_the_parameters_owner():
    """From the second backward on, each gradient is added to the weight's or bias's."""
    net = Net()
    with OpFlopMode() as mode:
        net(X).sum().backward()
        net(X).sum().backward()
    adds = {row.module: row.cost.ops for row in check(mode).rows if row.op == "aten.add_"}
    assert adds == {"Net.first": 4 * 4 + 4, "Net.second": 4 * 4 + 4}


def test_a_leaf_that_is_no_parameter_accumulates_outside():
    """An input that requires a gradient belongs to no module."""
    x = X.clone().requires_grad_()
    net = Net()
    with OpFlopMode() as mode:
        for _ in range(2):
            net(x).sum().backward()
    assert {row.module: row.cost.ops for row in check(mode).rows if row.op == "aten.add_"}[""] == 8


def test_retained_graphs_and_several_backward_calls():
    """Each backward of one graph costs the same, in the same modules."""
    net = Net()
    with OpFlopMode() as mode:
        loss = net(X).sum()
        for _ in range(3):
            loss.backward(retain_graph=True)
    assert macs(mode)["Net.second", "backward"] == 3 * 2 * LINEAR
    assert macs(mode)["Net.first", "backward"] == 3 * LINEAR


def test_graphs_of_several_forwards_are_told_apart_in_any_order():
    """Nodes of an earlier call keep their owner."""
    one, other = Net(), nn.Sequential(nn.Linear(4, 4))
    with OpFlopMode() as mode:
        losses = [model(X).sum() for model in (one, other, one, other, one)]
        for loss in losses[::2] + losses[1::2]:
            loss.backward()
    assert macs(mode)["Net.second", "backward"] == 3 * 2 * LINEAR
    assert macs(mode)["Sequential.0", "backward"] == 2 * LINEAR


def test_a_second_derivative_belongs_to_the_module_too():
    """Nodes that the first backward creates for a module belong to that module in the second."""
    net = Net()
    x = X.clone().requires_grad_()
    with OpFlopMode() as mode:
        (gradient,) = torch.autograd.grad(net(x).pow(2).sum(), x, create_graph=True)
        gradient.pow(2).sum().backward()
    found = macs(mode)
    assert {key[0] for key in found} == {"Net.first", "Net.second"}
    assert {key[1] for key in found} == {"forward", "backward"}
    assert {module for module, _ in ops(mode, "aten.silu_backward")} == {"Net"}


class Halve(torch.autograd.Function):
    """A function with a backward of its own."""

    @staticmethod
    def forward(ctx, x):
        return x * 0.5

    @staticmethod
    def backward(ctx, gradient):
        return gradient @ torch.eye(4) * 0.5


def test_a_custom_function_works_for_the_module_that_applied_it():
    """Its backward is Python code that runs operators."""

    class Halving(Net):
        def forward(self, x):
            return Halve.apply(super().forward(x))

    with OpFlopMode() as mode:
        Halving()(X).sum().backward()
    assert macs(mode)["Halving", "backward"] == LINEAR


def test_hooks_work_for_the_module_whose_gradient_they_see():
    """Tensor hooks and full backward hooks of modules."""
    net = Net()
    net.first.register_full_backward_hook(lambda module, inputs, outputs: (outputs[0] @ torch.eye(4), None)[1])

    class Hooked(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            y = self.net(x)
            y.register_hook(lambda gradient: gradient @ torch.eye(4))
            return y * 2

    x = X.clone().requires_grad_()
    with OpFlopMode() as mode:
        Hooked()(x).sum().backward()
    found = macs(mode)
    assert found["Hooked.net.first", "backward"] == 3 * LINEAR
    assert sum(cost for (_, phase), cost in found.items() if phase == "backward") == 4 * LINEAR + 2 * LINEAR


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # PyTorch's own, once a process
def test_function_transforms_work_for_the_modules_they_differentiate():
    """torch.func.grad, vjp and jvp over a functional call."""
    net = Net()
    parameters = dict(net.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(net, parameters, (x,)).sum()

    with OpFlopMode() as mode:
        torch.func.grad(loss)(parameters, X)
    assert macs(mode) == {
        ("Net.first", "forward"): LINEAR,
        ("Net.second", "forward"): LINEAR,
        ("Net.second", "backward"): 2 * LINEAR,
        ("Net.first", "backward"): LINEAR,
    }
    with OpFlopMode() as mode:
        torch.func.jvp(lambda x: net(x), (X,), (X,))
    # The tangent takes a product with the weight, and one of the input with the weight's own tangent, which is zero.
    assert macs(mode) == {("Net.first", "forward"): 3 * LINEAR, ("Net.second", "forward"): 3 * LINEAR}
    with OpFlopMode() as mode:
        torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, X)
    assert macs(mode)["Net.second", "backward"] == 2 * LINEAR


def test_a_gradient_penalty_inside_a_forward_stays_with_its_layers():
    """A forward may differentiate; what it differentiates keeps its owner."""

    class Penalty(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def forward(self, x):
            x = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.net(x).sum(), x, create_graph=True)
            return gradient @ torch.eye(4)

    with OpFlopMode() as mode:
        Penalty()(X)
    assert macs(mode) == {
        ("Penalty.net.first", "forward"): LINEAR,
        ("Penalty.net.second", "forward"): LINEAR,
        ("Penalty.net.second", "backward"): LINEAR,
        ("Penalty.net.first", "backward"): LINEAR,
        ("Penalty", "forward"): LINEAR,
    }


class Checkpointed(nn.Module):
    """A checkpoint around two layers and the functional work between them."""

    def __init__(self, *, reentrant, plain=False, contexts=None):
        super().__init__()
        self.net = Net()
        self.options = {"use_reentrant": reentrant}
        if contexts:
            self.options["context_fn"] = contexts
        self.plain = plain

    def forward(self, x):
        if not self.plain:
            return checkpoint(self.net, x, **self.options)
        return checkpoint(lambda x: self.net.second(silu(self.net.first(x))), x, **self.options)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("plain", [False, True])
def test_a_checkpointed_forward_is_recomputed(reentrant, plain):
    """Both kinds of checkpoint, around a module and around a plain function."""
    x = X.clone().requires_grad_()
    model = Checkpointed(reentrant=reentrant, plain=plain)
    with OpFlopMode() as mode:
        model(x).sum().backward()
    caller = "Checkpointed" if plain else "Checkpointed.net"
    found = macs(mode)
    for layer in ("first", "second"):
        again = 0 if layer == "second" and not reentrant else LINEAR  # the last one's result is not needed again
        assert found["Checkpointed.net." + layer, "forward"] == LINEAR
        assert found.get(("Checkpointed.net." + layer, "recompute"), 0) == again
        assert found["Checkpointed.net." + layer, "backward"] == 2 * LINEAR
    assert sorted(ops(mode, "aten.silu")) == [(caller, "forward"), (caller, "recompute")]
    assert ops(mode, "aten.silu_backward") == [(caller, "backward")]


def test_a_checkpoint_in_a_checkpoint():
    """The inner forward runs once, and is recomputed for each of the two."""

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Checkpointed(reentrant=False)

        def forward(self, x):
            return checkpoint(lambda x: self.inner(x) @ torch.eye(4), x, use_reentrant=False)

    x = X.clone().requires_grad_()
    with OpFlopMode() as mode:
        Outer()(x).sum().backward()
    found = macs(mode)
    assert found["Outer.inner.net.first", "forward"] == LINEAR
    assert found["Outer.inner.net.first", "recompute"] == 2 * LINEAR
    assert found["Outer.inner.net.first", "backward"] == 2 * LINEAR
    assert {phase for module, phase in ops(mode, "aten.silu") if module == "Outer.inner.net"} == {
        "forward",
        "recompute",
    }


def test_selective_checkpointing_recomputes_only_what_was_not_saved():
    """If the result of every matmul is saved, only the rest is recomputed."""
    keep = [torch.ops.aten.addmm.default, torch.ops.aten.mm.default]
    model = Checkpointed(reentrant=False, contexts=lambda: create_selective_checkpoint_contexts(keep))
    x = X.clone().requires_grad_()
    with OpFlopMode() as mode:
        model(x).sum().backward()
    assert not any(phase == "recompute" for _, phase in macs(mode))
    assert ops(mode, "aten.silu") == [("Checkpointed.net", "forward"), ("Checkpointed.net", "recompute")]


def test_a_checkpoint_whose_graph_is_recorded():
    """With create_graph, grad mode does not show a recomputation; the module stack and the checkpoint do."""
    x = X.clone().requires_grad_()
    model = Checkpointed(reentrant=False, plain=True)
    with OpFlopMode() as mode:
        torch.autograd.grad(model(x).pow(2).sum(), x, create_graph=True)
    assert sorted(ops(mode, "aten.silu")) == [("Checkpointed", "forward"), ("Checkpointed", "recompute")]
    # Its own gradient is written out where it will be differentiated.
    assert ops(mode, "aten.sigmoid") == [("Checkpointed", "backward")]
    assert macs(mode)["Checkpointed.net.first", "backward"] == LINEAR


def test_a_checkpoint_of_a_function_without_modules_belongs_to_its_caller():
    """Plain functions, called outside any module."""
    w = torch.ones(4, 4, requires_grad=True)
    for reentrant in (True, False):
        with OpFlopMode() as mode:
            checkpoint(lambda x, w: torch.tanh(x @ w), X, w, use_reentrant=reentrant).sum().backward()
        assert macs(mode) == {("", "forward"): LINEAR, ("", "recompute"): LINEAR, ("", "backward"): LINEAR}


def test_a_recomputation_in_a_custom_function_is_known_by_grad_mode():
    """A backward that runs with grad mode off, and then turns it on, recomputes a forward."""

    class Again(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            with torch.no_grad():
                return torch.tanh(x @ w)

        @staticmethod
        def backward(ctx, gradient):
            gradient = gradient * 1
            x, w = (each.detach().requires_grad_() for each in ctx.saved_tensors)
            with torch.enable_grad():
                y = torch.tanh(x @ w)
            return torch.autograd.grad(y, (x, w), gradient)

    w = torch.ones(4, 4, requires_grad=True)
    with OpFlopMode() as mode:
        Again.apply(X.clone().requires_grad_(), w).sum().backward()
    assert macs(mode) == {("", "forward"): LINEAR, ("", "recompute"): LINEAR, ("", "backward"): 2 * LINEAR}


class Twice(torch.autograd.Function):
    """Double a tensor, with a backward that can be differentiated only once: it turns grad mode off for itself."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient * 2


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("retain_graph", [False, True])
def test_a_backward_that_turns_grad_mode_off_recomputes_nothing(create_graph, retain_graph):
    """What follows it in a pass that records its graph is backward work: also if that pass begins with it."""
    for times in (1, 3):
        x, net = X.clone().requires_grad_(), Net()
        with OpFlopMode() as mode:
            y = net(x)
            for _ in range(times):
                y = Twice.apply(y)
            torch.autograd.grad(y, x, torch.ones_like(y), create_graph=create_graph, retain_graph=retain_graph)
        assert macs(mode) == {
            ("Net." + layer, phase): LINEAR for layer in ("first", "second") for phase in ("forward", "backward")
        }
        assert {phase for _, phase in ops(mode, "aten.mul")} >= {"forward", "backward"}
        assert not any(row.phase == "recompute" for row in mode.profile.rows)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_checkpoint_beside_a_backward_that_turns_grad_mode_off(create_graph):
    """The recomputation alone is that, whether the pass records its graph or not."""
    x, model = X.clone().requires_grad_(), Checkpointed(reentrant=False, plain=True)
    with OpFlopMode() as mode:
        torch.autograd.grad(Twice.apply(model(Twice.apply(x))).sum(), x, create_graph=create_graph)
    assert sorted(ops(mode, "aten.silu")) == [("Checkpointed", "forward"), ("Checkpointed", "recompute")]
    found = macs(mode)
    assert [found[f"Checkpointed.net.{name}", "backward"] for name in ("first", "second")] == [LINEAR, LINEAR]
    # The last layer's result is not needed again.
    assert {key: count for key, count in found.items() if key[1] == "recompute"} == {
        ("Checkpointed.net.first", "recompute"): LINEAR
    }


def test_recomputations_one_inside_another_and_first_in_their_pass():
    """Neither another pass in between nor being the first work of a pass hides that a forward is recomputed."""

    class Again(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            with torch.no_grad():
                return torch.tanh(x @ w)

        @staticmethod
        def backward(ctx, gradient):
            with torch.enable_grad():
                x, w = (each.detach().requires_grad_() for each in ctx.saved_tensors)
                (first,) = torch.autograd.grad(torch.tanh(x @ w), x, gradient)
            with torch.enable_grad():
                y = torch.tanh(x @ w)
            return first, torch.autograd.grad(y, w, gradient)[0]

    w = torch.ones(4, 4, requires_grad=True)
    with OpFlopMode() as mode:
        y = Again.apply(X.clone().requires_grad_(), w)
        y.backward(torch.ones_like(y))
    assert macs(mode) == {("", "forward"): LINEAR, ("", "recompute"): 2 * LINEAR, ("", "backward"): 2 * LINEAR}


def test_checkpointed_outputs_that_nobody_uses_are_not_recomputed():
    """No gradient, no recomputation."""
    x = X.clone().requires_grad_()
    model = Checkpointed(reentrant=False)
    with OpFlopMode() as mode:
        model(x)
        (x * 2).sum().backward()
    assert {phase for _, phase in macs(mode)} == {"forward"}


def test_an_exception_in_a_backward_leaves_nothing_behind():
    """Work after a failed backward is forward work of its own module."""
    x = X.clone().requires_grad_()
    net = Net()

    def fail(gradient):
        raise RuntimeError("stop")

    with OpFlopMode() as mode:
        y = net(x)
        y.register_hook(fail)
        with pytest.raises(RuntimeError, match="stop"):
            y.sum().backward()
        net(x)
    assert {phase for _, phase in macs(mode)} == {"forward"}
    assert macs(mode)["Net.first", "forward"] == 2 * LINEAR


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputation_has_the_paths_of_its_forward(reentrant):
    """Also for modules created during the forward, and if the root was deleted by then."""

    class Temporary(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return checkpoint(lambda x: nn.Tanh()(self.net(x)) * 2, x, use_reentrant=reentrant)

    net = Net()
    with OpFlopMode() as mode:
        loss = Temporary(net)(X.clone().requires_grad_()).sum()
        gc.collect()
        loss.backward()
    assert {module for module, _ in macs(mode)} == {"Temporary.net.first", "Temporary.net.second"}
    assert sorted(ops(mode, "aten.tanh")) == [("Temporary.Tanh()", "forward"), ("Temporary.Tanh()", "recompute")]


def test_deleted_roots_leave_nothing_but_their_rows():
    """A model created anew in each step is a new root each time; its paths are dropped when it is deleted."""
    with OpFlopMode() as mode:
        for _ in range(20):
            Net()(X).sum().backward()
        gc.collect()
        nn.ReLU()(X)
    roots = mode.module_stack.roots
    assert len(roots._by_root) + len(roots._without_root) <= 2
    assert macs(mode)["Net#20.first", "backward"] == LINEAR


def test_parameters_may_be_swapped_in_a_block():
    """PyTorch refuses to swap tensors that have weak references, so the block has none to parameters."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    x = torch.ones(2, 4)
    with OpFlopMode() as mode:
        for _ in range(2):
            (first(x) + second(x)).sum().backward()
            torch.utils.swap_tensors(first.weight, second.weight)
            torch.utils.swap_tensors(first.weight, second.weight)
    torch.utils.swap_tensors(first.bias, second.bias)
    added = mode.profile.where(op="aten.add_", phase="backward").by("module")
    assert {name: cost.ops for name, cost in added.items()} == {"Linear": 4 * 4 + 4, "Linear#2": 4 * 4 + 4}


def test_a_parameter_that_a_module_replaces_belongs_to_it_too():
    """Also if the identity is one that another parameter had."""
    layer, x = nn.Linear(4, 4, bias=False), torch.ones(2, 4)
    with OpFlopMode() as mode:
        for _ in range(5):
            layer.weight = nn.Parameter(torch.ones(4, 4))
            layer(x).sum().backward()
            layer(x).sum().backward()
    added = mode.profile.where(op="aten.add_", phase="backward").by("module")
    assert {name: cost.ops for name, cost in added.items()} == {"Linear": 5 * 4 * 4}
