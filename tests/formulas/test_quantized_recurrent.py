"""Recurrent cells and layers of 8 bits: their floating-point references, and the quantization around them."""

import pytest
import torch
from counted import cost_of
from torch.ao.nn.quantized import dynamic

from opflops import Cost, OpFlopMode

quantized = torch.ops.quantized

pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.quantize_per_tensor, torch.quantize_per_channel:UserWarning",
    "ignore:.*deprecated:DeprecationWarning",
    "ignore:.*will be deprecated:UserWarning",
)

FEATURES, HIDDEN, BATCH, STEPS = 3, 4, 2, 5
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}


def by_range(elements):
    """Two folds, five operations for scale and zero point, and five for each element."""
    return 2 * (elements - 1) + 5 + 5 * elements


def row_of(function, op):
    with OpFlopMode(strict=True) as mode:
        function()
    (row,) = [row for row in mode.profile.rows if row.op == op]
    return row


def work(row):
    return Cost(row.cost.macs, row.cost.ops, row.cost.transcendentals)


CELLS = [
    ("LSTMCell", "quantized_lstm_cell_dynamic", {}, 4),
    ("GRUCell", "quantized_gru_cell_dynamic", {}, 3),
    ("RNNCell", "quantized_rnn_tanh_cell_dynamic", {}, 1),
    ("RNNCell", "quantized_rnn_relu_cell_dynamic", {"nonlinearity": "relu"}, 1),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kind", "op", "options", "gates"), CELLS)
def test_cells(kind, op, options, gates, bias):
    """Input and state are quantized by their ranges, both products scaled back; the rest is the cell's own."""
    floating = getattr(torch.nn, kind)(FEATURES, HIDDEN, bias=bias, **options)
    cell = getattr(dynamic, kind)(FEATURES, HIDDEN, bias=bias, **options)
    x, h = torch.randn(BATCH, FEATURES), torch.randn(BATCH, HIDDEN)
    state = (h, h) if kind == "LSTMCell" else h
    extra = by_range(BATCH * FEATURES) + by_range(BATCH * HIDDEN) + 2 * BATCH * gates * HIDDEN
    row = row_of(lambda: cell(x, state), f"quantized.{op}")
    assert work(row) == cost_of(floating, x, state) + Cost(ops=extra)
    assert (row.dtype, row.estimate) == ("quint8", "")
    # Weights in bytes, everything else in singles.
    weights = gates * HIDDEN * (FEATURES + HIDDEN)
    states = 2 if kind == "LSTMCell" else 1
    read = 4 * (BATCH * FEATURES + states * BATCH * HIDDEN)
    assert row.cost.bytes_read == read + weights + 4 * 2 * gates * HIDDEN * bias


def test_cells_of_half_precision():
    """Weights that are stored in half precision change nothing in the arithmetic."""
    cell = dynamic.LSTMCell(FEATURES, HIDDEN, dtype=torch.float16)
    x, h = torch.randn(BATCH, FEATURES), torch.randn(BATCH, HIDDEN)
    row = row_of(lambda: cell(x, (h, h)), "quantized.quantized_lstm_cell_dynamic")
    assert work(row) == cost_of(torch.nn.LSTMCell(FEATURES, HIDDEN), x, (h, h))
    assert (row.dtype, row.estimate) == ("float32", "")


def layer_extra(kind, layers, ways):
    """Price the quantization of a whole input by one range and of each step's state by its own."""
    extra, features = 0, FEATURES
    for _ in range(layers):
        once = by_range(STEPS * BATCH * features) + STEPS * by_range(BATCH * HIDDEN)
        extra += ways * (once + 2 * STEPS * BATCH * GATES[kind] * HIDDEN)
        features = ways * HIDDEN
    return Cost(ops=extra)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("layers", "ways"), [(1, 1), (2, 2)])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_layers(kind, layers, ways, batch_first):
    """A stack in one or both directions costs what it costs in floating point, and its quantization."""
    options = {"num_layers": layers, "bidirectional": ways == 2, "batch_first": batch_first}
    floating = getattr(torch.nn, kind)(FEATURES, HIDDEN, **options)
    layer = getattr(dynamic, kind)(FEATURES, HIDDEN, **options)
    x = torch.randn(*((BATCH, STEPS) if batch_first else (STEPS, BATCH)), FEATURES)
    row = row_of(lambda: layer(x), f"aten.quantized_{kind.lower()}")
    expected = cost_of(floating, x)
    assert work(row) == expected + layer_extra(kind, layers, ways)
    assert (row.dtype, row.estimate) == ("quint8", "")


def test_dropout_between_layers():
    """In training the results of the first layer are drawn, masked and scaled."""
    layer = dynamic.LSTM(FEATURES, HIDDEN, num_layers=2, dropout=0.5)
    x = torch.randn(STEPS, BATCH, FEATURES)
    wet = row_of(lambda: layer.train()(x), "aten.quantized_lstm")
    dry = row_of(lambda: layer.eval()(x), "aten.quantized_lstm")
    assert wet.cost.ops - dry.cost.ops == 3 * STEPS * BATCH * HIDDEN


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_packed_layers(kind):
    """Sequences of three and one steps are four rows: quantized together, their states in three steps."""
    layer, floating = getattr(dynamic, kind)(FEATURES, HIDDEN), getattr(torch.nn, kind)(FEATURES, HIDDEN)
    x = torch.nn.utils.rnn.pack_padded_sequence(torch.randn(3, 2, FEATURES), torch.tensor([3, 1]))
    row = row_of(lambda: layer(x), f"aten.quantized_{kind.lower()}")
    # The first step has two states, the others one; their ranges are three.
    states = 2 * (4 * HIDDEN - 3) + 3 * 5 + 5 * 4 * HIDDEN
    extra = by_range(4 * FEATURES) + states + 2 * 4 * GATES[kind] * HIDDEN
    assert work(row) == cost_of(floating, torch.randn(4, 1, FEATURES)) + Cost(ops=extra)


def test_layers_of_half_precision():
    """Weights that are stored in half precision change nothing in the arithmetic."""
    layer = dynamic.LSTM(FEATURES, HIDDEN, dtype=torch.float16)
    x = torch.randn(STEPS, BATCH, FEATURES)
    row = row_of(lambda: layer(x), "aten.quantized_lstm")
    assert work(row) == cost_of(torch.nn.LSTM(FEATURES, HIDDEN), x)
    assert (row.dtype, row.estimate) == ("float32", "")


def test_layers_of_older_models():
    """Weights that are quantized beforehand cost what packed ones do, and putting them into one object is nothing."""
    weights = [torch.randn(16, FEATURES), torch.randn(16, HIDDEN), torch.randn(16), torch.randn(16)]
    x, h = torch.randn(STEPS, BATCH, FEATURES), torch.zeros(1, BATCH, HIDDEN)
    with OpFlopMode(strict=True) as mode:
        cell = quantized.make_quantized_cell_params(*weights)
        torch.ops.aten.quantized_lstm(x, [h, h], [cell], True, 1, 0.0, False, False, False)
    made, ran = (
        next(row for row in mode.profile.rows if row.op == op)
        for op in ("quantized.make_quantized_cell_params", "aten.quantized_lstm")
    )
    assert (made.cost, ran.dtype) == (Cost(), "quint8")
    assert work(ran) == cost_of(torch.nn.LSTM(FEATURES, HIDDEN), x) + layer_extra("LSTM", 1, 1)
    read = 4 * (STEPS * BATCH * FEATURES + 2 * BATCH * HIDDEN) + 16 * (FEATURES + HIDDEN) + 4 * 32
    assert ran.cost.bytes_read == read
