"""Recurrent cells and layers cost the same as their unrolled forms.

Every weight matrix multiplies each batch row of each step once, so the multiply-accumulates are rows times weights, for
any layers, directions, gates and projections. The rest counts per hidden element and step, as in the table of cells.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from opflops.formulas.sizes import aten, numel, present, reduction_ops
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class Cell(NamedTuple):
    """State the cost of a cell type for one hidden element of one step.

    Attributes:
        gates: How many gates it has: rows of the weights per hidden element.
        forward: The arithmetic of the gates after the matmuls and biases.
        backward: Its gradients, from the tensors that the forward saved.
    """

    gates: int
    forward: Cost
    backward: Cost


_SIGMOID, _TANH = Cost(ops=3, transcendentals=1), Cost(transcendentals=1)
_SIGMOID_BACKWARD = _TANH_BACKWARD = Cost(ops=3)

# The activation of x + h.
_RELU = Cell(1, Cost(ops=1) + Cost(ops=1), Cost(ops=1))
_TANH_CELL = Cell(1, Cost(ops=1) + _TANH, _TANH_BACKWARD)
# i, f, o = sigmoid(x + h), g = tanh(x + h); c = f * c + i * g; h = o * tanh(c).
# Backward: do = dh * tanh(c); dc += dh * o through tanh; di, dg, df, dc_before = dc * g, dc * i, dc * c_before, dc * f.
_LSTM = Cell(
    4,
    Cost(ops=4) + 3 * _SIGMOID + _TANH + Cost(ops=3) + Cost(ops=1) + _TANH,
    Cost(ops=7) + 3 * _SIGMOID_BACKWARD + 2 * _TANH_BACKWARD,
)
# r, z = sigmoid(x + h); n = tanh(x + r * h); h = (h - n) * z + n.
# Backward: dz = dh * (h - n); d = dh * z; dn = dh + -d, through tanh; dr = dn * h; dh_gate = dn * r; d joins dh_before.
_GRU = Cell(
    3,
    Cost(ops=2) + 2 * _SIGMOID + Cost(ops=2) + _TANH + Cost(ops=3),
    Cost(ops=7) + 2 * _SIGMOID_BACKWARD + _TANH_BACKWARD,
)
_CELLS = (_RELU, _TANH_CELL, _LSTM, _GRU)
"""The cells by the mode number that oneDNN, cuDNN and MIOpen share."""


def layers(
    rows: int,
    weights: Sequence[Tensor],
    cell: Cell,
    hidden_size: int,
    *,
    directions: int,
    backward: bool,
    weight_gradients: bool = True,
) -> Cost:
    """Cost of a stack of layers.

    Args:
        rows: Steps times batch; a packed input (tokens, features) has its true lengths already.
        weights: Matrices and biases of all layers and directions, in any order.
        cell: The cost of each hidden element.
        hidden_size: Hidden elements of one direction of one layer.
        directions: Layers times directions.
        backward: Count the gradients instead: of input and weight for each matmul, a sum for each bias.
        weight_gradients: Include the gradients of weights and biases.
    """
    matrices = sum(weight.numel() for weight in weights if weight.dim() > 1)
    biases = sum(weight.numel() for weight in weights if weight.dim() == 1)
    elements = rows * hidden_size * directions
    if backward:
        of_weights = Cost(macs=rows * matrices, ops=(rows - 1) * biases) if weight_gradients else Cost()
        return Cost(macs=rows * matrices) + of_weights + cell.backward * elements
    return Cost(macs=rows * matrices, ops=rows * biases) + cell.forward * elements


def _one_layer(
    input: Tensor,
    weights: Sequence[Tensor],
    mode: int,
    hidden_size: int,
    *,
    has_biases: bool,
    backward: bool,
) -> Cost:
    """Cost of one layer in one direction; without biases the last two weights are placeholders."""
    given = weights[: 4 if has_biases else 2]
    return layers(numel(input.shape[:-1]), given, _CELLS[mode], hidden_size, directions=1, backward=backward)


@formula(aten.mkldnn_rnn_layer)
def mkldnn_rnn_layer(
    input: Tensor,
    weight0: Tensor,
    weight1: Tensor,
    weight2: Tensor,
    weight3: Tensor,
    hx_: Tensor,
    cx_: Tensor,
    mode: int,
    hidden_size: int,
    has_biases: bool,
    *,
    out: Sequence[Tensor],
) -> Cost:
    """One layer in one direction, as oneDNN runs it.

    Its last result is a workspace for the backward, whose size only oneDNN knows; its bytes do not count.
    """
    weights = (weight0, weight1, weight2, weight3)
    traffic = Cost(
        bytes_read=stored_bytes([input, *weights, hx_, cx_]),
        bytes_written=stored_bytes(list(out[:3])),
    )
    return traffic + _one_layer(input, weights, mode, hidden_size, has_biases=has_biases, backward=False)


@formula(aten.mkldnn_rnn_layer_backward, unread=("workspace",))
def mkldnn_rnn_layer_backward(
    input: Tensor,
    weight1: Tensor,
    weight2: Tensor,
    weight3: Tensor,
    weight4: Tensor,
    mode: int,
    hidden_size: int,
    has_biases: bool,
) -> Cost:
    """The gradients of one layer in one direction."""
    weights = (weight1, weight2, weight3, weight4)
    return _one_layer(input, weights, mode, hidden_size, has_biases=has_biases, backward=True)


def _dropout_between_layers(elements: int, num_layers: int, dropout: float, *, train: bool, backward: bool) -> Cost:
    """Cost of the dropout after every layer but the last: draw, mask and scale; its gradient is not drawn again."""
    drops = train and 0 < dropout < 1
    return Cost(ops=(2 if backward else 3) * elements * (num_layers - 1)) if drops else Cost()


def layers_of_a_library(
    input: Tensor,
    weight: Sequence[Tensor],
    mode: int,
    hidden_size: int,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    proj_size: int = 0,
    output_mask: Sequence[bool] = (True, True, True, True),
    backward: bool = False,
) -> Cost:
    """All layers in all directions, as cuDNN and MIOpen run them; projections are matrices among the weights.

    The last element of the output mask requests the gradients of the weights; those of the input are always computed.
    """
    ways = 2 if bidirectional else 1
    rows = numel(input.shape[:-1])
    outputs = rows * ways * (proj_size or hidden_size)
    return layers(
        rows,
        weight,
        _CELLS[mode],
        hidden_size,
        directions=num_layers * ways,
        backward=backward,
        weight_gradients=output_mask[3],
    ) + _dropout_between_layers(outputs, num_layers, dropout, train=train, backward=backward)


formula(aten._cudnn_rnn, aten.miopen_rnn)(layers_of_a_library)
formula(aten._cudnn_rnn_backward, aten.miopen_rnn_backward)(partial(layers_of_a_library, backward=True))

# Copies the weights into one buffer.
declare_zero(aten._cudnn_rnn_flatten_weight)


def lstm_on_metal(
    input: Tensor,
    hx: Sequence[Tensor],
    params: Sequence[Tensor],
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    backward: bool = False,
) -> Cost:
    """All layers of an LSTM in all directions, as Metal runs them."""
    ways, hidden_size = 2 if bidirectional else 1, hx[0].shape[-1]
    rows = numel(input.shape[:-1])
    between = _dropout_between_layers(rows * ways * hidden_size, num_layers, dropout, train=train, backward=backward)
    return layers(rows, params, _LSTM, hidden_size, directions=num_layers * ways, backward=backward) + between


formula(aten._lstm_mps)(lstm_on_metal)
formula(aten.lstm_mps_backward)(partial(lstm_on_metal, backward=True))


def _fused_cell(cell: Cell, state: Tensor, *biases: Tensor | None) -> Cost:
    """Cost of the gates of a cell whose matmuls ran before it; every gate gets every bias."""
    return (cell.forward + Cost(ops=cell.gates * present(*biases))) * state.numel()


@formula(aten._thnn_fused_lstm_cell)
def thnn_fused_lstm_cell(cx: Tensor, input_bias: Tensor | None = None, hidden_bias: Tensor | None = None) -> Cost:
    """The gates of an LSTM."""
    return _fused_cell(_LSTM, cx, input_bias, hidden_bias)


@formula(aten._thnn_fused_gru_cell)
def thnn_fused_gru_cell(hx: Tensor, input_bias: Tensor | None = None, hidden_bias: Tensor | None = None) -> Cost:
    """The gates of a GRU."""
    return _fused_cell(_GRU, hx, input_bias, hidden_bias)


def _fused_cell_backward(cell: Cell, state: Tensor, bias_sums: int) -> Cost:
    """Cost of the gradients of the gates; a bias gradient sums every gate over the batch."""
    over_batch = reduction_ops(state.numel(), state.shape[-1])
    return cell.backward * state.numel() + Cost(ops=bias_sums * cell.gates * over_batch)


@formula(aten._thnn_fused_lstm_cell_backward_impl)
def thnn_fused_lstm_cell_backward(cx: Tensor, has_bias: bool) -> Cost:
    """The gradients of an LSTM's gates; both biases share one."""
    return _fused_cell_backward(_LSTM, cx, int(has_bias))


@formula(aten._thnn_fused_gru_cell_backward)
def thnn_fused_gru_cell_backward(grad_hy: Tensor, has_bias: bool) -> Cost:
    """The gradients of a GRU's gates; each bias has its own."""
    return _fused_cell_backward(_GRU, grad_hy, 2 * has_bias)
