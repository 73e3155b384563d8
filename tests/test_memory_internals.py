"""What the tracker of memory relies on in PyTorch, and what it uses of its private interfaces."""

import gc
import weakref

import pytest
import torch
from do_nothing_mode import DoNothingMode
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from opflops.torch_internals import engine_call
from opflops.torch_internals.autograd import sequence_nr
from opflops.torch_internals.compiler import compiled_calls
from opflops.torch_internals.module_call import replaced_code
from opflops.torch_internals.optimizers import optimizer_tensors, register_step_hooks, remove_step_hooks
from opflops.torch_internals.saved_tensors import graph_nodes, node_of, saved_tensors
from opflops.torch_internals.storages import all_tensors, component_tensors, storage_bytes, storage_of


class Recorded(DoNothingMode):
    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("fake", [False, True])
def test_a_weak_reference_to_a_storage_lives_as_long_as_the_storage(fake):
    """Though nothing else refers to its Python object: views and autograd keep the storage itself."""
    died = []
    x = torch.ones(4, requires_grad=True)
    with FakeTensorMode(allow_non_fake_inputs=True) if fake else DoNothingMode():
        y = x.exp()
        key = id(storage_of(y))
        reference = weakref.ref(storage_of(y), died.append)
        gc.collect()
        view = y[1:]
        loss = y.sum()
        del y
        assert not died
        assert id(storage_of(view)) == key
        del view
        assert not died
        # The backward pass releases what it needed.
        loss.backward()
        assert len(died) == 1
        assert reference() is None


def test_storages_of_tensors():
    """Sizes are those of the storage; wrappers have none of their own."""
    x = torch.ones(6)
    assert storage_of(x[2:3]) is storage_of(x)
    assert storage_bytes(storage_of(x[2:3])) == 24
    assert storage_bytes(storage_of(torch.ones(1).expand(100))) == 4
    assert storage_bytes(storage_of(torch.nn.parameter.UninitializedParameter())) == 0
    assert component_tensors(torch.nn.parameter.UninitializedParameter()) == []
    sparse = torch.eye(3).to_sparse()
    assert storage_of(sparse) is None
    assert [each.shape for each in component_tensors(sparse)] == [(2, 3), (3,)]


def test_methods_of_subclasses_are_not_called():
    """A subclass may override what a method of a tensor does."""

    class Refuses(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            raise AssertionError(func)

    tensor = torch.ones(3).as_subclass(Refuses)
    assert storage_bytes(storage_of(tensor)) == 12


def test_all_tensors_are_found_by_their_type():
    """A proxy that claims to be a tensor is not asked."""

    class Proxy:
        @property
        def __class__(self):
            raise AssertionError("asked")

    proxy, x, y = Proxy(), torch.ones(3), nn.Parameter(torch.ones(2))
    found = {id(each) for each in all_tensors()}
    assert {id(x), id(y)} <= found
    assert id(proxy) not in found


def test_a_backward_pass_begins_with_one_function():
    """``backward``, ``grad`` and ``torch.autograd.backward`` call it, and its code can be replaced."""
    calls = []

    def replacement(roots, args, kwargs):
        calls.append(roots)
        return engine_call.UNPATCHED_ENGINE_CALL(roots, *args, **kwargs)

    x = torch.ones(2, requires_grad=True)
    code = engine_call.ENGINE_CALL.__code__
    try:
        engine_call.ENGINE_CALL.__code__ = replaced_code(replacement, engine_call.ENGINE_CALL_CODE)
        x.sum().backward()
        (gradient,) = torch.autograd.grad(x.sum(), x)
        torch.autograd.backward([x.sum()])
    finally:
        engine_call.ENGINE_CALL.__code__ = code
    assert torch.equal(gradient, torch.ones(2))
    assert torch.equal(x.grad, 2 * torch.ones(2))
    assert len(calls) == 3
    assert all(isinstance(each, torch.Tensor) for roots in calls for each in roots)


def test_what_a_node_saved_is_read_without_an_operator_and_without_hooks():
    """Hooked or not, released or modified in place."""
    calls = []
    x, w = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    y = x.exp()
    z = y * w
    with torch.autograd.graph.saved_tensors_hooks(lambda t: [t.half()], lambda p: calls.append(p) or p[0].float()):
        hooked = y * w
    with Recorded() as mode:
        assert [storage_of(each) for each in saved_tensors(y.grad_fn)] == [storage_of(y)]
        assert {id(storage_of(each)) for each in saved_tensors(z.grad_fn)} == {id(storage_of(y)), id(storage_of(w))}
        assert [each.dtype for each in saved_tensors(hooked.grad_fn)] == [torch.float16] * 2
    assert mode.ops == []
    assert calls == []
    with torch.no_grad():
        w.add_(1)
    assert {id(storage_of(each)) for each in saved_tensors(z.grad_fn)} == {id(storage_of(y)), id(storage_of(w))}
    node = y.sum().grad_fn.next_functions[0][0]
    y.sum().backward()
    assert [*saved_tensors(node)] == []


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_a_checkpoint_keeps_is_seen(reentrant):
    """Its arguments, while nothing is recomputed."""
    calls = []
    x = torch.ones(3, requires_grad=True) * 2
    y = checkpoint(lambda x: calls.append(1) or x.exp().sin(), x, use_reentrant=reentrant)
    with Recorded() as mode:
        found = {id(storage_of(each)) for node in graph_nodes([y.grad_fn]) for each in saved_tensors(node)}
    assert id(storage_of(x)) in found
    assert mode.ops == []
    assert calls == [1]


def test_nodes_of_a_graph_are_in_order_of_their_creation():
    """Those that accumulate gradients come last, and have no number of their own."""
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    z = (y.exp() + y).sum()
    nodes = graph_nodes([node_of(z)])
    numbers = [sequence_nr(node) for node in nodes]
    assert numbers == sorted(numbers)
    assert len(nodes) == 5
    assert node_of(x) is None
    assert node_of(torch.autograd.graph.get_gradient_edge(y)) is y.grad_fn


def test_hooks_around_steps_are_removed():
    """However often they were registered."""
    seen = []

    def hook(optimizer, _args, _kwargs):
        seen.append(len(optimizer.state))

    register_step_hooks(hook)
    register_step_hooks(hook)
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    optimizer = torch.optim.Adam([parameter])
    optimizer.step()
    assert seen == [0, 0, 1, 1]
    remove_step_hooks(hook)
    optimizer.step()
    assert len(seen) == 4
    parameters, state = optimizer_tensors(optimizer)
    assert [id(each) for each in parameters] == [id(parameter)]
    assert sorted(each.numel() for each in state) == [1, 3, 3]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_calls_of_compiled_code_begin_with_one_function(monkeypatch):
    """Its argument is what compiles; None in functions that the compiler leaves alone."""
    import torch._dynamo  # noqa: PLC0415 - takes seconds

    ((owner, name),) = compiled_calls()
    calls, original = [], getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda compiler: (calls.append(callable(compiler)), original(compiler))[1])
    with torch.compiler.set_stance("force_eager"):
        torch.compile(lambda x: x + 1)(torch.ones(2))
        assert True in calls
        calls.clear()
        torch.compiler.disable(lambda x: x + 1)(torch.ones(2))
        assert True not in calls
