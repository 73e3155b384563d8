"""Recurrent cells and layers: against loops over single numbers, and fused against unrolled."""

import math
from itertools import chain

import pytest
import torch
from counted import cost_of
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry

aten = torch.ops.aten

INPUT, HIDDEN, STEPS, BATCH = 3, 4, 5, 2

# PyTorch warns once in a process that it takes these apart, which is what is counted here.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")


class Counts:
    """Compute with single numbers and count what is done."""

    def __init__(self):
        self.macs = self.ops = self.functions = 0

    @property
    def cost(self):
        return Cost(self.macs, self.ops, self.functions)

    def add(self, left, right):
        self.ops += 1
        return left + right

    def subtract(self, left, right):
        self.ops += 1
        return left - right

    def multiply(self, left, right):
        self.ops += 1
        return left * right

    def negate(self, value):
        self.ops += 1
        return -value

    def relu(self, value):
        self.ops += 1
        return max(value, 0.0)

    def tanh(self, value):
        self.functions += 1
        return math.tanh(value)

    def sigmoid(self, value):
        """Take a negation, an exponential, an addition and a division."""
        self.ops += 3
        self.functions += 1
        return 1 / (1 + math.exp(-value))

    def relu_gradient(self, grad, result):
        self.ops += 1
        return grad if result > 0 else 0.0

    def tanh_gradient(self, grad, result):
        return self.multiply(grad, self.subtract(1, self.multiply(result, result)))

    def sigmoid_gradient(self, grad, result):
        return self.multiply(self.multiply(grad, self.subtract(1, result)), result)

    def linear(self, matrix, vector, bias=None):
        self.macs += len(matrix) * len(vector)
        results = [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]
        return results if bias is None else [self.add(*pair) for pair in zip(results, bias, strict=True)]


# One step of one hidden element: from what comes of the input (x) and of the state (h), gate by gate.


def rnn_tanh_gates(counts, x, h, _state):
    return (counts.tanh(counts.add(x[0], h[0])),)


def rnn_relu_gates(counts, x, h, _state):
    return (counts.relu(counts.add(x[0], h[0])),)


def lstm_gates(counts, x, h, state):
    i, f, o = (counts.sigmoid(counts.add(x[at], h[at])) for at in (0, 1, 3))
    g = counts.tanh(counts.add(x[2], h[2]))
    cell = counts.add(counts.multiply(f, state), counts.multiply(i, g))
    return counts.multiply(o, counts.tanh(cell)), cell


def gru_gates(counts, x, h, state):
    r, z = (counts.sigmoid(counts.add(x[at], h[at])) for at in (0, 1))
    n = counts.tanh(counts.add(x[2], counts.multiply(r, h[2])))
    return (counts.add(counts.multiply(counts.subtract(state, n), z), n),)


# The gradients of one step of one hidden element with respect to x, h and the state, from what the forward kept.


def rnn_tanh_gradients(counts, x, h, _state, grad, _grad_cell):
    grad_gate = counts.tanh_gradient(grad, math.tanh(x[0] + h[0]))
    return [grad_gate], [grad_gate], 0.0


def rnn_relu_gradients(counts, x, h, _state, grad, _grad_cell):
    grad_gate = counts.relu_gradient(grad, max(x[0] + h[0], 0))
    return [grad_gate], [grad_gate], 0.0


def logistic(value):
    return 1 / (1 + math.exp(-value))


def lstm_gradients(counts, x, h, state, grad, grad_cell):
    i, f, o = (logistic(x[at] + h[at]) for at in (0, 1, 3))
    g = math.tanh(x[2] + h[2])
    tanh_of_cell = math.tanh(f * state + i * g)
    grad_o = counts.multiply(grad, tanh_of_cell)
    grad_cell = counts.add(grad_cell, counts.tanh_gradient(counts.multiply(grad, o), tanh_of_cell))
    gates = [
        counts.sigmoid_gradient(counts.multiply(grad_cell, g), i),
        counts.sigmoid_gradient(counts.multiply(grad_cell, state), f),
        counts.tanh_gradient(counts.multiply(grad_cell, i), g),
        counts.sigmoid_gradient(grad_o, o),
    ]
    return gates, gates, counts.multiply(grad_cell, f)


def gru_gradients(counts, x, h, state, grad, _grad_cell):
    r, z = (logistic(x[at] + h[at]) for at in (0, 1))
    n = math.tanh(x[2] + r * h[2])
    kept_difference = state - n
    grad_z = counts.sigmoid_gradient(counts.multiply(grad, kept_difference), z)
    grad_state = counts.multiply(grad, z)
    grad_n = counts.tanh_gradient(counts.add(grad, counts.negate(grad_state)), n)
    grad_r = counts.sigmoid_gradient(counts.multiply(grad_n, h[2]), r)
    gates = [grad_r, grad_z]
    # The state also gets gradients through the gates, and they are added to this one.
    counts.ops += 1
    return [*gates, grad_n], [*gates, counts.multiply(grad_n, r)], grad_state


GATES = {"RNN_RELU": rnn_relu_gates, "RNN_TANH": rnn_tanh_gates, "LSTM": lstm_gates, "GRU": gru_gates}
GRADIENTS = {
    "RNN_RELU": rnn_relu_gradients,
    "RNN_TANH": rnn_tanh_gradients,
    "LSTM": lstm_gradients,
    "GRU": gru_gradients,
}
WIDTHS = {"RNN_RELU": 1, "RNN_TANH": 1, "LSTM": 4, "GRU": 3}
MODES = {"RNN_RELU": 0, "RNN_TANH": 1, "LSTM": 2, "GRU": 3}
"""The numbers of kinds of cells in cuDNN's header."""

LAYERS = {
    "RNN_RELU": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "RNN_TANH": nn.RNN,
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
}


def step(counts, kind, x, h, cell, weights):
    """Take one step of a layer for one element of the batch; returns the output and the new cell state."""
    matrix_x, matrix_h, *rest = weights
    bias_x, bias_h = rest[:2] if len(rest) > 1 else (None, None)
    from_x, from_h = counts.linear(matrix_x, x, bias_x), counts.linear(matrix_h, h, bias_h)
    state = cell if kind == "LSTM" else h
    hidden = len(cell)
    new = [GATES[kind](counts, from_x[unit::hidden], from_h[unit::hidden], state[unit]) for unit in range(hidden)]
    output = [unit[0] for unit in new]
    projection = rest[-1] if len(rest) % 2 else None
    return output if projection is None else counts.linear(projection, output), [unit[-1] for unit in new]


def loop(module, sequence):
    """Run a module on one sequence, number by number; returns the outputs and the cost."""
    kind = module.mode
    counts = Counts()
    ways = 2 if module.bidirectional else 1
    every = [[weight.tolist() for weight in weights] for weights in module.all_weights]
    for layer in range(module.num_layers):
        directions = []
        for way in range(ways):
            weights = every[layer * ways + way]
            h, cell = [0.0] * len(weights[1][0]), [0.0] * module.hidden_size
            outputs = []
            for x in reversed(sequence) if way else sequence:
                h, cell = step(counts, kind, x, h, cell, weights)
                outputs.append(h)
            directions.append(outputs[::-1] if way else outputs)
        sequence = [list(chain(*parts)) for parts in zip(*directions, strict=True)]
    return sequence, counts.cost


def loop_cost(module, *lengths):
    """Return what some sequences cost in the loop."""
    return sum((loop(module, torch.randn(length, module.input_size).tolist())[1] for length in lengths), Cost())


MODULES = {
    f"{kind} {options}": (kind, options)
    for kind in LAYERS
    for options in (
        {},
        {"bias": False},
        {"bidirectional": True},
        {"num_layers": 3, "bidirectional": True},
        {"num_layers": 2, "bias": False},
        {"batch_first": True},
    )
} | {
    f"LSTM {options}": ("LSTM", options)
    for options in (
        {"proj_size": 2},
        {"proj_size": 2, "num_layers": 2, "bidirectional": True},
        {"proj_size": 2, "bias": False},
    )
}


def build(kind, options, dtype=torch.float32):
    module = LAYERS[kind](INPUT, HIDDEN, dtype=dtype, **options)
    return module, torch.randn(BATCH, STEPS, INPUT, dtype=dtype)


def arranged(module, rows):
    return rows if module.batch_first else rows.transpose(0, 1)


@pytest.mark.parametrize(("kind", "options"), MODULES.values(), ids=MODULES)
def test_loops_compute_the_module(kind, options):
    """The loops that count give the results of the module, so they are the right algorithm."""
    module, rows = build(kind, options, torch.float64)
    results = torch.tensor([loop(module, row.tolist())[0] for row in rows], dtype=torch.float64)
    torch.testing.assert_close(arranged(module, results), module(arranged(module, rows))[0])


@pytest.mark.parametrize(("kind", "options"), MODULES.values(), ids=MODULES)
def test_modules_cost_what_the_loops_do(kind, options):
    """A module costs the loops, as one operator a layer (LSTM) or taken apart, in every grad mode."""
    module, rows = build(kind, options)
    expected = loop_cost(module, *[STEPS] * BATCH)
    for grad_mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with grad_mode():
            assert cost_of(module, arranged(module, rows)) == expected


def test_lstm_runs_as_one_operator_a_layer():
    """On CPU the comparison above is of the fused layer: only with projections is an LSTM taken apart."""
    module, rows = build("LSTM", {"num_layers": 2})
    with OpFlopMode(strict=True) as mode:
        module(rows)
    (row,) = (row for row in mode.profile.rows if row.cost.flops)
    assert (row.op, row.calls) == ("aten.mkldnn_rnn_layer", 2)


def test_known_figure():
    """LSTM(10, 20) on 5 steps of a batch of 3: 15 rows x 4 gates x 20 x (10 + 20) = 36,000 multiply-accumulates."""
    assert cost_of(nn.LSTM(10, 20), torch.randn(5, 3, 10)).macs == 36_000


@pytest.mark.parametrize("kind", LAYERS)
def test_meta_tensors_cost_what_real_ones_do(kind):
    """Shapes alone are enough, where an LSTM too is taken apart."""
    module, rows = build(kind, {"num_layers": 2, "bidirectional": True})
    real = cost_of(module, rows)
    assert cost_of(module.to("meta"), rows.to("meta")) == real


@pytest.mark.parametrize(
    ("cell_type", "layer_type"), [(nn.LSTMCell, nn.LSTM), (nn.GRUCell, nn.GRU), (nn.RNNCell, nn.RNN)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_unrolled_cells_cost_what_the_layer_does(cell_type, layer_type, bias):
    """A loop of cells costs what one layer does."""
    cell, layer = cell_type(INPUT, HIDDEN, bias=bias), layer_type(INPUT, HIDDEN, bias=bias)
    rows = torch.randn(STEPS, BATCH, INPUT)

    def unrolled():
        state = None
        for row in rows:
            state = cell(row, state)

    assert cost_of(unrolled) == cost_of(layer, rows)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_sequences_count_by_their_true_lengths(kind, bidirectional):
    """Sequences of 5, 3 and 1 steps cost the loops of those lengths, not of a square of 3 x 5."""
    module, _ = build(kind, {"bidirectional": bidirectional})
    packed = pack_padded_sequence(torch.randn(5, 3, INPUT), [5, 3, 1])
    assert cost_of(module, packed) == loop_cost(module, 5, 3, 1)


# Operators that do not run here are priced on arguments that have their shapes.


def price(overload, **given):
    """Price a call without running it; what is not given is nothing, no, or zero."""
    nothing = {"bool": False, "float": 0.0, "int": 0, "SymInt": 0, "List[int]": [], "List[bool]": [True] * 4}
    arguments = overload._schema.arguments
    given = {name: value for name, value in given.items() if name in {argument.name for argument in arguments}}
    args = tuple(given.get(argument.name, nothing.get(str(argument.type))) for argument in arguments)
    cost, _, reason = registry.resolve(overload, {"causal": "dense"}).charge(None, args, {})
    assert not reason
    return Cost(cost.macs, cost.ops, cost.transcendentals)


LIBRARIES = {
    "cuDNN": (aten._cudnn_rnn.default, aten._cudnn_rnn_backward.default),
    "MIOpen": (aten.miopen_rnn.default, aten.miopen_rnn_backward.default),
    "Metal": (aten._lstm_mps.default, aten.lstm_mps_backward.default),
}


def library_arguments(module, rows):
    """Spell a module as the libraries take it."""
    weights = [weight for weights in module.all_weights for weight in weights]
    return {
        "input": rows,
        "weight": weights,
        "params": weights,
        "mode": MODES[module.mode],
        "hidden_size": module.hidden_size,
        "proj_size": module.proj_size,
        "num_layers": module.num_layers,
        "bidirectional": module.bidirectional,
        "batch_first": module.batch_first,
        "hx": torch.empty(module.num_layers, BATCH, HIDDEN),
    }


def call_of(library, module, rows):
    """Return the arguments of a library's call; Metal takes a list of states."""
    arguments = library_arguments(module, rows)
    if library == "Metal":
        arguments["hx"] = [arguments["hx"]] * 2
    return arguments


LIBRARY_CASES = [
    pytest.param(library, kind, options, id=f"{library} {name}")
    for library in LIBRARIES
    for name, (kind, options) in MODULES.items()
    if library == "cuDNN" or "proj_size" not in options
    if library != "Metal" or kind == "LSTM"
]


@pytest.mark.parametrize(("library", "kind", "options"), LIBRARY_CASES)
def test_libraries_cost_what_the_loops_do(library, kind, options):
    """All layers and directions at once cost the loops."""
    module, rows = build(kind, options)
    forward, _ = LIBRARIES[library]
    found = price(forward, **call_of(library, module, arranged(module, rows)))
    assert found == loop_cost(module, *[STEPS] * BATCH)


def gate_gradients_cost(kind):
    """Return what the gradients of one hidden element of one step cost in the loops."""
    counts = Counts()
    width = WIDTHS[kind]
    GRADIENTS[kind](counts, [0.1] * width, [0.2] * width, 0.3, 0.4, 0.5)
    return counts.cost


@pytest.mark.parametrize("kind", GATES)
def test_gate_gradients_are_those_of_the_gates(kind):
    """The gradients that count are those that autograd finds."""
    # Not zero, where relu has a corner, and of both signs.
    for sign in (1, -1):
        x, h = (
            torch.linspace(low, high, WIDTHS[kind], dtype=torch.float64) * sign for low, high in ((0.3, 1), (0.2, 2))
        )
        state = torch.tensor(0.7, dtype=torch.float64)
        inputs = [tensor.clone().requires_grad_() for tensor in (x, h, state)]
        grads = [torch.tensor(grad, dtype=torch.float64) for grad in (0.4, 0.5)]
        outputs = torch_gates(kind, *inputs)
        expected = torch.autograd.grad(outputs, inputs, grads[: len(outputs)], materialize_grads=True)
        found = GRADIENTS[kind](Counts(), x.tolist(), h.tolist(), 0.7, 0.4, 0.5)
        for one, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(torch.tensor(one, dtype=torch.float64), wanted)


def torch_gates(kind, x, h, state):
    """Compute one hidden element with differentiable tensors."""
    if kind == "RNN_RELU":
        return ((x + h).relu()[0],)
    if kind == "RNN_TANH":
        return ((x + h).tanh()[0],)
    if kind == "LSTM":
        i, f, o = ((x + h)[at].sigmoid() for at in (0, 1, 3))
        cell = f * state + i * (x + h)[2].tanh()
        return o * cell.tanh(), cell
    r, z = ((x + h)[at].sigmoid() for at in (0, 1))
    n = (x[2] + r * h[2]).tanh()
    return ((1 - z) * n + z * state,)


def backward_cost(module, rows, *, weights=True):
    """Work out a backward: two for each product, the gradients of each element, the sum over rows of each bias."""
    forward = loop_cost(module, *[STEPS] * BATCH)
    elements = BATCH * STEPS * HIDDEN * module.num_layers * (2 if module.bidirectional else 1)
    sums = sum((rows - 1) * weight.numel() for group in module.all_weights for weight in group if weight.dim() == 1)
    products = Cost(macs=forward.macs)
    return products * (1 + weights) + elements * gate_gradients_cost(module.mode) + Cost(ops=sums * weights)


@pytest.mark.parametrize(("library", "kind", "options"), LIBRARY_CASES)
def test_library_backward_is_two_products_for_one(library, kind, options):
    """A backward takes twice the products, the gradients of the gates, and the sums of bias gradients."""
    module, rows = build(kind, options)
    _, backward = LIBRARIES[library]
    found = price(backward, **call_of(library, module, arranged(module, rows)))
    assert found == backward_cost(module, BATCH * STEPS)


@pytest.mark.parametrize("library", ["cuDNN", "MIOpen"])
def test_library_backward_leaves_out_the_gradients_of_frozen_weights(library):
    """Without gradients of weights, it is one product for one, and no sums of bias gradients."""
    module, rows = build("LSTM", {"num_layers": 2})
    _, backward = LIBRARIES[library]
    arguments = call_of(library, module, arranged(module, rows))
    found = price(backward, **arguments, output_mask=[True, True, True, False])
    assert found == backward_cost(module, BATCH * STEPS, weights=False)
    assert price(backward, **arguments, output_mask=[False, False, False, True]) == backward_cost(module, BATCH * STEPS)


DROPOUT = [
    # 10 rows x 2 directions x 4 outputs (2 with a projection) x 2 layers that another follows = 160 (80)
    ("cuDNN", {}, 160),
    ("cuDNN", {"proj_size": 2}, 80),
    ("MIOpen", {}, 160),
    ("Metal", {}, 160),
]


@pytest.mark.parametrize(("library", "options", "dropped"), DROPOUT)
def test_dropout_between_layers_counts_in_training(library, options, dropped):
    """Each output but the last layer's is drawn, masked, scaled, and its gradient masked, scaled; none if all drops."""
    module, rows = build("LSTM", {"num_layers": 3, "bidirectional": True, **options})
    arguments = call_of(library, module, arranged(module, rows))
    for overload, operations in zip(LIBRARIES[library], (3, 2), strict=True):
        without = price(overload, **arguments, train=True)
        training = price(overload, **arguments, train=True, dropout=0.5)
        assert training - without == Cost(ops=operations * dropped)
        assert price(overload, **arguments, train=False, dropout=0.5) == without
        assert price(overload, **arguments, train=True, dropout=1.0) == without


def test_cudnn_counts_packed_sequences_by_their_true_lengths():
    """Packed rows are 5 + 3 + 1 = 9, whatever the longest."""
    module, _ = build("GRU", {})
    arguments = library_arguments(module, torch.empty(9, INPUT)) | {"batch_sizes": [3, 2, 2, 1, 1]}
    assert price(aten._cudnn_rnn.default, **arguments) == loop_cost(module, 5, 3, 1)


def test_flattening_weights_takes_no_arithmetic():
    """The copy of the weights into the one buffer that cuDNN wants is movement."""
    assert registry.verdict(aten._cudnn_rnn_flatten_weight.default) == "zero"


def test_onednn_backward_is_two_products_for_one():
    """LSTM(10, 20), 15 rows: 72,000 multiply-accumulates; 300 elements of 22 operations, 160 sums of 15 numbers."""
    rows = torch.randn(5, 3, 10, requires_grad=True)
    module = nn.LSTM(10, 20)
    output, _ = module(rows)
    with OpFlopMode(strict=True) as mode:
        output.backward(torch.ones_like(output))
    cost = mode.profile.by("op")["aten.mkldnn_rnn_layer_backward"]
    assert (cost.macs, cost.ops, cost.transcendentals) == (72_000, 6_600 + 2_240, 0)


def test_onednn_backward_without_biases_sums_none():
    """LSTM(10, 20) without biases: the placeholders that stand for them are not summed."""
    module = nn.LSTM(10, 20, bias=False)
    output, _ = module(torch.randn(5, 3, 10))
    with OpFlopMode(strict=True) as mode:
        output.backward(torch.ones_like(output))
    cost = mode.profile.by("op")["aten.mkldnn_rnn_layer_backward"]
    assert (cost.macs, cost.ops) == (72_000, 6_600)


@pytest.mark.parametrize(("layer_type", "states"), [(nn.LSTM, 2), (nn.GRU, 1), (nn.RNN, 1)])
def test_backward_takes_twice_the_products_of_the_forward(layer_type, states):
    """Where input and state want gradients, each product of the forward has two in the backward, fused or not."""
    module = layer_type(INPUT, HIDDEN, num_layers=2)
    rows = torch.randn(STEPS, BATCH, INPUT, requires_grad=True)
    state = [torch.randn(2, BATCH, HIDDEN, requires_grad=True) for _ in range(states)]
    with OpFlopMode(strict=True) as mode:
        output, _ = module(rows, tuple(state) if states > 1 else state[0])
        output.sum().backward()
    phases = mode.profile.by("phase")
    assert phases["backward"].macs == 2 * phases["forward"].macs > 0


# The fused cells, whose products are done before.

CELLS = {
    "LSTM": (aten._thnn_fused_lstm_cell.default, aten._thnn_fused_lstm_cell_backward_impl.default),
    "GRU": (aten._thnn_fused_gru_cell.default, aten._thnn_fused_gru_cell_backward.default),
}


def cell_arguments(kind):
    state = torch.empty(BATCH, HIDDEN)
    gates = torch.empty(BATCH, WIDTHS[kind] * HIDDEN)
    return {"input_gates": gates, "hidden_gates": gates, "cx": state, "cy": state, "hx": state, "grad_hy": state}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", [True, False])
def test_fused_cells_cost_the_gates_of_the_loops(kind, bias):
    """A fused cell is a step of the loops without its products."""
    module, _ = build(kind, {"bias": bias})
    expected = loop_cost(module, *[1] * BATCH)
    biases = torch.empty(WIDTHS[kind] * HIDDEN) if bias else None
    forward, _ = CELLS[kind]
    found = price(forward, **cell_arguments(kind), input_bias=biases, hidden_bias=biases)
    assert found == Cost(0, expected.ops, expected.transcendentals)


# Over a batch of 2, each gate's bias gradient is 1 addition for each of 4 elements; a GRU has 2 such biases.
BIAS_SUMS = {"LSTM": 4 * 4, "GRU": 3 * 4 * 2}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("has_bias", [True, False])
def test_fused_cell_backward_costs_the_gradients_of_the_loops(kind, has_bias):
    """A fused cell's backward is the gradients of its gates, and the sums of bias gradients over the batch."""
    _, backward = CELLS[kind]
    found = price(backward, **cell_arguments(kind), has_bias=has_bias)
    gates = gate_gradients_cost(kind) * (BATCH * HIDDEN)
    assert found == gates + Cost(ops=BIAS_SUMS[kind] if has_bias else 0)
