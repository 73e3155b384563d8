"""Private interfaces of PyTorch's tracers and of its compiler behave as opflops expects."""

import importlib
import sys

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import _symbolic_trace as symbolic_trace
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode

from opflops.torch_internals import compiler, dispatch, jit_tracing, tracing
from opflops.torch_internals.symbolic_shapes import RecordingShapeEnv

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning"
)

X = torch.ones(3, 4)


class Quiet(TorchDispatchMode):
    """Run every operator, and call a function after it."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    @classmethod
    def ignore_compile_internals(cls):
        return True

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = jit_tracing.recorded_by_jit(func, func)(*args, **(kwargs or {}))
        self.after(func, args, out)
        return out


def test_tracing_is_recognized_wherever_a_tracer_runs_operators():
    """By make_fx before dispatch too, and while AOTAutograd learns what a program returns, without a proxy mode."""
    from torch._functorch.aot_autograd import aot_export_module  # noqa: PLC0415 - slow to import

    class Module(nn.Module):
        def forward(self, x):
            return (x.sin(),)

    seen = []
    with Quiet(lambda *_: seen.append(tracing.is_being_traced())):
        X.sin()
        before, seen[:] = [*seen], []
        make_fx(torch.sin)(X)
        make_fx(torch.sin, tracing_mode="symbolic", pre_dispatch=True)(X)
        aot_export_module(Module(), (X,), trace_joint=False)
        torch.export.export(Module(), (X,))
    assert before == [False]
    assert len(seen) > 4
    # PyTorch also lifts constants, outside any tracer.
    assert seen.count(True) > 4
    assert not tracing.is_being_traced()


def test_sizes_are_read_behind_the_back_of_a_tracer():
    """A calculation with sizes adds a node to the graph, unless the tracer is paused."""
    seen = []

    def noticed(x):
        seen.append(x.shape[0] * x.shape[1])
        return x.sin() * seen[-1]

    def unnoticed(x):
        with tracing.untraced((x, x.shape[0])) as ((stand_in, rows), reason):
            seen.append((rows * stand_in.numel(), stand_in.device.type, reason))
        return x.sin()

    def operators(function):
        nodes = make_fx(function, tracing_mode="symbolic")(X).graph.nodes
        return [node.name for node in nodes if node.op == "call_function"]

    assert "mul" in operators(noticed)
    assert operators(unnoticed) == ["sin"]
    assert seen[-1] == (3 * 12, "meta", tracing.EXAMPLE_SIZES)


def symbolic(hint=4):
    env = ShapeEnv()
    return FakeTensorMode(shape_env=env).from_tensor(torch.ones(hint, hint + 3), static_shapes=False), env


def test_counts_are_evaluated_at_the_example_without_guards():
    """Expressions too; what has no hint takes the smallest positive value of its range."""
    x, env = symbolic()
    rows, columns = x.shape
    assert tracing.count_at_example(rows * columns + 1) == (29, tracing.EXAMPLE_SIZES)
    assert tracing.count_at_example(7) == (7, "")
    unknown = env.create_unbacked_symint()
    assert tracing.count_at_example(unknown * rows) == (4, tracing.UNKNOWN_SIZES)
    torch._check(unknown >= 5)
    assert tracing.count_at_example(unknown * rows) == (20, tracing.UNKNOWN_SIZES)
    assert env.guards == []


def test_symbols_of_a_dynamic_count_are_left_alone():
    """They are what the user asked for."""
    size = RecordingShapeEnv(lambda: "").size("batch", 4, 2, None)
    count, reason = tracing.count_at_example(size)
    assert (count is size, reason) == (True, "")


def test_a_symbolic_size_is_found_without_a_calculation():
    """An integer size passes, a symbol raises."""
    tracing.check_concrete_sizes(X)
    with pytest.raises(tracing.SymbolicSizeError):
        tracing.check_concrete_sizes(symbolic()[0])


def graph_of(traced):
    return [node.kind() for node in traced.inlined_graph.nodes()]


def test_torch_jit_trace_has_no_state_inside_the_operators_that_it_records():
    """It has one inside a convolution, which is recorded inside, and while a mode handles a manual operator."""
    states = {}
    with Quiet(lambda func, *_: states.setdefault(str(func), jit_tracing.jit_state() is not None)):
        torch.jit.trace(lambda x, w: torch.conv1d(x, w).relu(), (torch.ones(1, 2, 5), torch.ones(3, 2, 2)))
    assert states["aten.convolution.default"]
    assert not states["aten.relu.default"]
    assert jit_tracing.jit_state() is None


@pytest.mark.parametrize("layer", [nn.Conv2d(2, 3, 2), nn.ConvTranspose2d(2, 3, 2)], ids=["plain", "transposed"])
def test_torch_jit_trace_records_a_convolution_under_a_mode(layer):
    """As without one; a mode that does nothing about it makes a constant of the result, which PyTorch refuses."""
    x = torch.ones(1, 2, 5, 5)
    plain = graph_of(torch.jit.trace(layer, x))
    with Quiet(lambda *_: None):
        assert graph_of(torch.jit.trace(layer, x)) == plain


def test_what_is_called_as_torch_jit_trace_begins():
    """Once for each trace, and held until it has ended."""
    module, name = jit_tracing.JIT_TRACE_BEGINNING
    assert sys.modules["torch.jit._trace"] is module
    original, calls = getattr(module, name), []
    try:
        setattr(module, name, lambda *args: calls.append(args) or original(*args))
        torch.jit.trace(torch.sin, X, check_trace=False)
        torch.jit.trace(nn.Linear(4, 2), X, check_trace=False)
        torch.jit._get_trace_graph(nn.Linear(4, 2), X)
    finally:
        setattr(module, name, original)
    assert len(calls) == 3


def test_a_mode_is_given_numbers_for_tensors():
    """Operators of a script refuse them; a tensor is what they would have got."""
    script = torch.jit.trace(lambda x: x * 2 + x.shape[0], X)
    refused = []

    class Converting(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            try:
                return func(*args, **(kwargs or {}))
            except RuntimeError as error:
                given = dispatch.tensors_for_numbers(func, args, kwargs or {}, error)
                refused.append(func)
                return func(*given[0], **given[1])

    with Converting():
        out = script(X)
    assert torch.equal(out, X * 2 + 3)
    assert dispatch.tensors_for_numbers(torch.ops.aten.sin.default, (X,), {}, RuntimeError("other")) is None


def test_the_functions_that_trace_code_are_found():
    """The compiler calls them through these names."""
    importlib.import_module("torch._dynamo.functional_export")

    found = {(module.__name__, name) for module, name in compiler.code_tracers()}
    assert ("torch._dynamo.convert_frame", "_compile") in found
    assert ("torch._dynamo.functional_export", "fullgraph_capture") in found
    assert all(callable(getattr(module, name)) for module, name in compiler.export_functions())
    assert len(compiler.export_functions()) == 2


def test_the_patches_of_fx_are_put_back_for_a_while():
    """Inside, the compiler finds no patches to revert; then they are in place again."""
    call = nn.Module.__call__

    class Module(nn.Module):
        def forward(self, x):
            patched = nn.Module.__call__
            with compiler.fx_patches_reverted():
                seen.append((patched is call, nn.Module.__call__ is call, symbolic_trace.CURRENT_PATCHER))
            seen.append(nn.Module.__call__ is patched)
            return x

    seen = []
    torch.fx.symbolic_trace(Module())
    assert seen == [(False, True, None), True]
    with compiler.fx_patches_reverted():
        assert nn.Module.__call__ is call
