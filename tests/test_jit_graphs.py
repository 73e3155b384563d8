"""The graph of ``torch.jit.trace`` is what opflops reads in it, and is the same under a mode that counts."""

import pytest
import torch
from torch import nn

from opflops import OpFlopMode
from opflops.torch_internals.jit_graphs import TracerWarning, is_running, last_node, trace_call
from opflops.torch_internals.jit_tracing import jit_state

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.no_outer_mode,
]
X = torch.ones(2, 3)


def kinds(call, *tensors):
    _, trace = trace_call(lambda _: call(*tensors), tensors)
    return [operator.kind for operator in trace.operators if not operator.kind.startswith("prim::Constant")]


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x + x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


def test_operators_are_in_the_order_of_the_program_with_the_names_of_the_tracer():
    """Also those whose results nobody uses, and those inside a function with its own derivative, after the function."""

    def call(x):
        x.sigmoid()
        Double.apply(x)
        x.exp_()
        return torch.multiply(x, x), torch.linalg.matmul(x, x.t())

    assert kinds(call, X.clone()) == [
        *("aten::sigmoid", "prim::PythonOp.Double", "aten::add", "aten::exp_"),
        *("aten::mul", "aten::t", "aten::matmul"),
    ]
    assert jit_state() is None


def test_values_have_shapes_and_constants_after_the_trace():
    """Of operands, in lists too, and of results."""
    result, trace = trace_call(lambda _: torch.einsum("ij,kj->ik", X, X).softmax(1), [X])
    assert result.shape == (2, 2)
    einsum = next(operator for operator in trace.operators if operator.kind == "aten::einsum")
    assert einsum.inputs[0].toIValue() == "ij,kj->ik"
    assert [value.type().sizes() for value in einsum.inputs[1].node().inputs()] == [[2, 3], [2, 3]]
    assert einsum.outputs[0].isCompleteTensor()
    assert einsum.outputs[0].type().dtype() is torch.float32


def test_arithmetic_on_sizes_is_told_apart_if_nothing_uses_it():
    """Not what changes a tensor that was given, nor sizes that a result has."""

    def call(x, counter):
        unused = x.shape[0] * 3
        unused += x.shape[1]
        counter.add_(1)
        return x.view(x.shape[0] * x.shape[1]), x.sum().long()

    counter = torch.tensor(3)
    _, trace = trace_call(lambda _: call(X, counter), [X, counter])
    found = {kind: [] for kind in ("aten::mul", "aten::add_", "aten::view")}
    for operator in trace.operators:
        found.get(operator.kind, []).append(operator.of_unused_sizes)
    assert found == {"aten::mul": [True, False], "aten::add_": [True, False], "aten::view": [False]}


def test_what_the_tracer_warns_of():
    """That it does not follow a value."""
    with pytest.warns(TracerWarning, match="float"):
        trace_call(lambda _: float(X.sum()), [X])


def test_an_operator_runs_until_its_node_has_results():
    """The last node is the operator's own while it runs; without any node it is the one of the inputs."""
    seen = []

    class Watched(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            node = last_node(self.graph)
            seen.append((node.kind(), is_running(node), jit_state() is None))
            return func(*args, **(kwargs or {}))

    def call(graph):
        assert (last_node(graph).kind(), is_running(last_node(graph))) == ("prim::Param", False)
        with Watched() as mode:
            mode.graph = graph
            nn.functional.linear(X, X).relu()
        return is_running(last_node(graph))

    assert trace_call(call, [X])[0] is False
    assert {each for each in seen if each[0] != "aten::t"} == {("aten::linear", True, True), ("aten::relu", True, True)}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(2, 3, 2), (1, 2, 5)),
        (nn.Conv2d(2, 3, 3, padding="same"), (1, 2, 5, 5)),
        (nn.ConvTranspose1d(2, 3, 2), (1, 2, 5)),
        (nn.LSTMCell(2, 3), (4, 2)),
        (nn.GRUCell(2, 3), (4, 2)),
        (nn.RNNCell(2, 3), (4, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("inference", [False, True], ids=["gradients", "inference"])
def test_layers_have_the_same_graph_under_a_mode_that_counts(layer, shape, inference):
    """Also those that the tracer records inside, in inference mode, where the mode is given them as they are called."""
    x = torch.ones(shape)

    def call(given):
        with torch.inference_mode(inference):
            return layer(given.clone())

    def counted(given):
        with OpFlopMode() as mode:
            call(given)
        macs.append(mode.total.macs)

    macs = []
    tensors = (x, *layer.parameters())
    plain = kinds(lambda *_: call(x), *tensors)
    assert kinds(lambda *_: counted(x), *tensors) == plain
    with OpFlopMode() as mode:
        call(x)
    assert macs == [mode.total.macs]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_lazy_module_is_initialized_under_a_mode_that_counts():
    """Its parameters have no shapes before; by hand: 2 rows of 3 by 5."""

    def counted(_):
        with OpFlopMode() as mode:
            model(X)
        return mode.total.macs

    model = nn.Sequential(nn.LazyLinear(5), nn.ReLU())
    macs, trace = trace_call(counted, [X, *model.parameters()])
    assert macs == 2 * 3 * 5
    assert "aten::linear" in [operator.kind for operator in trace.operators]
