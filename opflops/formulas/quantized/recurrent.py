"""Recurrent cells and layers with 8-bit weights: their unrolled form, on an input and a state quantized by range.

Only the matmuls are on integers; gates and states are floating point. The row is of the dtype of the products, as that
of any layer. Half-precision weights are multiplied in the input's dtype. The biases are those packed with the weights.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from opflops.formulas.quantized.layers import DYNAMIC, SCALE_BACK, quantize_by_range, register
from opflops.formulas.recurrent import layers_of_a_library
from opflops.formulas.sizes import aten, available_packets, numel
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost
from opflops.torch_internals.dispatch import modes_disabled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# These put weights and biases into one object.
declare_zero(
    *available_packets("quantized", "make_quantized_cell_params", "make_quantized_cell_params_dynamic"), no_traffic=True
)

# The mode numbers of recurrent.layers_of_a_library.
_RELU, _TANH, _LSTM, _GRU = range(4)


class _Parameters(NamedTuple):
    """Hold the weights of one direction of one layer.

    Attributes:
        weights: The weights of the input and of the state.
        biases: Their biases, if any.
        integers: True if the weights have 8 bits.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    integers: bool


def _unpack(*packed: Any) -> _Parameters:
    """Unpack the linear layers that hold the weights of a cell."""
    with modes_disabled():
        parts = [torch.ops.quantized.linear_unpack(each) for each in packed]
    weights = [weight for weight, _ in parts]
    biases = [bias for _, bias in parts if bias is not None]
    return _Parameters(weights, biases, weights[0].is_quantized)


def _parameters(cell: Any) -> _Parameters:
    """Unpack an object of cell parameters by its state: a type, tensors, numbers, and packed linear layers."""
    with modes_disabled():
        (_, tensors, _, _, packed), _ = cell.__getstate__()
    if packed:
        return _unpack(*packed)
    return _Parameters(tensors[:2], tensors[2:4], integers=True)


def _quantized(steps: int, inputs: int, states: int, results: int) -> Cost:
    """Quantize all inputs by one range, and each step's states by a range of their own; scale both matmuls back."""
    return quantize_by_range(inputs) + quantize_by_range(states, steps) + SCALE_BACK * (2 * results)


def _unrolled(
    mode: int,
    input: Tensor,
    steps: int,
    states: Sequence[Tensor],
    cells: Sequence[_Parameters],
    *,
    num_layers: int = 1,
    dropout: float = 0,
    train: bool = False,
    bidirectional: bool = False,
) -> Cost:
    """Cost of all layers in all directions; the cells are listed layer by layer."""
    tensors = [tensor for cell in cells for tensor in (*cell.weights, *cell.biases)]
    hidden_size, rows = cells[0].weights[1].shape[1], numel(input.shape[:-1])
    floating = layers_of_a_library(input, tensors, mode, hidden_size, num_layers, dropout, train, bidirectional)
    cost = floating + Cost(bytes_read=stored_bytes([input, *states, *tensors]))
    for of_input, of_state in (cell.weights for cell in cells if cell.integers):
        results, features = of_input.shape
        cost += _quantized(steps, rows * features, rows * of_state.shape[1], rows * results)
    return cost


def recurrent_layers(
    hx: Any,
    params: Sequence[Any],
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    input: Any = None,
    batch_first: bool = False,
    data: Any = None,
    batch_sizes: Any = None,
    mode: int = _LSTM,
) -> Cost:
    """A padded input, or packed data with true lengths; the overloads with tensors as parameters always raise."""
    return _unrolled(
        mode,
        data if input is None else input,
        batch_sizes.numel() if input is None else input.shape[1 if batch_first else 0],
        [hx] if isinstance(hx, torch.Tensor) else hx,
        [_parameters(cell) for cell in params],
        num_layers=num_layers,
        dropout=dropout,
        train=train,
        bidirectional=bidirectional,
    )


def _multiplied_in(cells: Sequence[_Parameters], input: Tensor) -> torch.dtype:
    return DYNAMIC if any(cell.integers for cell in cells) else input.dtype


def layers_multiply_in(params: Sequence[Any], input: Any = None, data: Any = None) -> torch.dtype:
    """Return the dtype of the products of recurrent layers."""
    return _multiplied_in([_parameters(cell) for cell in params], data if input is None else input)


formula(aten.quantized_lstm, dtype_from=layers_multiply_in)(recurrent_layers)
formula(aten.quantized_gru, dtype_from=layers_multiply_in)(partial(recurrent_layers, mode=_GRU))


def recurrent_cell(input: Tensor, hx: Any, w_ih: Any, w_hh: Any, mode: int = _LSTM) -> Cost:
    """One step; the biases passed beside the packed weights are not read."""
    states = [hx] if isinstance(hx, torch.Tensor) else hx
    return _unrolled(mode, input, 1, states, [_unpack(w_ih, w_hh)])


def cell_multiplies_in(input: Tensor, w_ih: Any, w_hh: Any) -> torch.dtype:
    """Return the dtype of the products of a cell."""
    return _multiplied_in([_unpack(w_ih, w_hh)], input)


for _name, _mode in (("lstm", _LSTM), ("gru", _GRU), ("rnn_relu", _RELU), ("rnn_tanh", _TANH)):
    register(f"quantized_{_name}_cell_dynamic", partial(recurrent_cell, mode=_mode), cell_multiplies_in)
