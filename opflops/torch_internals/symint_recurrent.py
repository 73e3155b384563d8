"""Recurrent layers in Python, for symbolic sizes; see :mod:`opflops.torch_internals.symint_composites`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from opflops.torch_internals.symint_composites import is_symbolic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Params = Sequence[Tensor]


def wrap_lstm(original: Callable[..., Any]) -> Callable[..., Any]:
    """Run an LSTM on CPU layer by layer, each as one oneDNN operator; without oneDNN, step by step."""

    def call(input: Tensor, hx: Any, *rest: Any) -> Any:
        packed = isinstance(hx, Tensor)
        if packed or input.device.type not in ("cpu", "meta") or not is_symbolic(input):
            return original(input, hx, *rest)
        # oneDNN does not support projections.
        fused = input.device.type == "cpu" and input.dtype in (torch.float32, torch.bfloat16, torch.float16)
        if not fused or hx[0].shape[2] != hx[1].shape[2]:
            return _run_lstm_steps(input, hx, *rest)
        return _fused_lstm(input, hx, *rest)

    return call


def _fused_lstm(
    input: Tensor,
    hx: Params,
    params: Params,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    hidden, cells = hx

    def run(x: Tensor, index: int, reverse: bool) -> tuple[Tensor, Params]:
        weights = list(params[4 * index : 4 * index + 4] if has_biases else params[2 * index : 2 * index + 2])
        if not has_biases:
            weights += [torch.zeros(weight.shape, dtype=weight.dtype, device=weight.device) for weight in weights]
        out, *states, _ = torch.ops.aten.mkldnn_rnn_layer(
            x, *weights, hidden.select(0, index), cells.select(0, index), reverse, [], _LSTM, hidden.shape[2],
            num_layers, has_biases, bidirectional, _BATCH_FIRST, train,
        )  # fmt: skip
        return out, states

    x = (input.transpose(0, 1) if batch_first else input).contiguous()
    x, *states = _run_layers(run, x, num_layers, bidirectional, dropout if train else 0)
    return (x.transpose(0, 1) if batch_first else x), states[0], states[1]


def _run_lstm_steps(
    input: Tensor,
    hx: Params,
    params: Params,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    projects = hx[0].shape[2] != hx[1].shape[2]
    params_per_layer = (4 if has_biases else 2) + projects
    initial = list(zip(hx[0].unbind(0), hx[1].unbind(0), strict=True))

    def run(x: Tensor, index: int, reverse: bool) -> tuple[Tensor, Params]:
        weights = list(params[params_per_layer * index : params_per_layer * (index + 1)])
        projection = weights.pop() if projects else None
        (hidden, cell), steps = initial[index], []
        inputs = linear(x, *weights[0::2]).unbind(0)
        for step_input in reversed(inputs) if reverse else inputs:
            gates = linear(hidden, *weights[1::2]).add_(step_input)
            taken, kept, new, shown = gates.unsafe_split(cell.shape[1], 1)
            taken, kept, new, shown = taken.sigmoid_(), kept.sigmoid_(), new.tanh_(), shown.sigmoid_()
            cell = (kept * cell).add_(taken * new)
            hidden = shown * cell.tanh()
            if projection is not None:
                hidden = linear(hidden, projection)
            steps.append(hidden)
        return torch.stack(steps[::-1] if reverse else steps), (hidden, cell)

    x = input.transpose(0, 1) if batch_first else input
    x, *states = _run_layers(run, x, num_layers, bidirectional, dropout if train else 0)
    return (x.transpose_(0, 1) if batch_first else x), states[0], states[1]


def _run_layers(
    run: Callable[[Tensor, int, bool], tuple[Tensor, Params]],
    x: Tensor,
    num_layers: int,
    bidirectional: bool,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run each direction of each layer; return the outputs of the last layer, and the stacked final states of all.

    Args:
        run: Runs one direction of one layer, given the layer's input, the index of its weights, and whether it runs
            backward; returns its outputs and its two final states.
        x: The input, with the steps first.
        num_layers: The number of layers.
        bidirectional: Whether each has two directions.
        dropout: The probability of dropout between layers.
    """
    final_states: tuple[list[Tensor], list[Tensor]] = ([], [])
    for layer in range(num_layers):
        outputs = []
        for direction in range(1 + bidirectional):
            out, states = run(x, layer * (1 + bidirectional) + direction, direction == 1)
            outputs.append(out)
            for layer_states, state in zip(final_states, states, strict=True):
                layer_states.append(state)
        x = torch.cat(outputs, -1) if bidirectional else outputs[0]
        if dropout and layer < num_layers - 1:
            x = torch.dropout(x, dropout, train=True)
    return x, torch.stack(final_states[0]), torch.stack(final_states[1])


_LSTM = 2
"""oneDNN's number for the LSTM among its kinds of RNN."""

_BATCH_FIRST = False
"""The layers get the time dimension first."""


def _rnn_step(activation: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda inputs, recurrent, _: activation(recurrent.add_(inputs))


def _gru_step(inputs: Tensor, recurrent: Tensor, hidden: Tensor) -> Tensor:
    size = hidden.shape[1]
    reset_in, update_in, new_in = inputs.unsafe_split(size, 1)
    reset, update, new = recurrent.unsafe_split(size, 1)
    reset = reset.add_(reset_in).sigmoid_()
    update = update.add_(update_in).sigmoid_()
    new = new_in.add(new.mul_(reset)).tanh_()
    return (hidden - new).mul_(update).add_(new)


STEPS = {"gru": _gru_step, "rnn_tanh": _rnn_step(torch.tanh), "rnn_relu": _rnn_step(torch.relu)}


def _lstm_cell(
    input: Tensor, hx: Params, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Any:
    if input.device.type not in ("cpu", "meta"):
        # Others have a fused kernel.
        return NotImplemented
    hidden, cell = hx
    gates = linear(hidden, w_hh, b_hh).add_(linear(input, w_ih, b_ih))
    taken, kept, new, shown = gates.unsafe_split(cell.shape[1], 1)
    taken, kept, new, shown = taken.sigmoid_(), kept.sigmoid_(), new.tanh_(), shown.sigmoid_()
    cell = (kept * cell).add_(taken * new)
    return shown * cell.tanh(), cell


def _gru_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Any:
    if input.device.type not in ("cpu", "meta"):
        return NotImplemented
    return _gru_step(linear(input, w_ih, b_ih), linear(hx, w_hh, b_hh), hx)


CELLS: dict[str, Callable[..., Any]] = {"lstm_cell": _lstm_cell, "gru_cell": _gru_cell}
"""The cells that split their gates by the size of an axis, by the names of PyTorch's functions."""


def wrap_recurrent(step: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Any], Callable[..., Any]]:
    """Unroll a recurrent layer into one step for each element of the sequence."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(input: Tensor, hx: Any, params: Any, *rest: Any) -> Any:
            packed = isinstance(params, Tensor)
            if packed or not is_symbolic(input):
                return original(input, hx, params, *rest)
            return _run_steps(step, input, hx, params, *rest)

        return call

    return wrap


def _run_steps(
    step: Callable[[Tensor, Tensor, Tensor], Tensor],
    input: Tensor,
    hx: Tensor,
    params: Params,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor]:
    params_per_layer = 4 if has_biases else 2
    x = input.transpose(0, 1) if batch_first else input
    states, final_states = hx.unbind(0), []
    for layer in range(num_layers):
        outputs = []
        for direction in range(1 + bidirectional):
            index = layer * (1 + bidirectional) + direction
            weights = params[params_per_layer * index : params_per_layer * (index + 1)]
            input_weights, recurrent_weights = weights[0::2], weights[1::2]
            hidden, steps = states[index], []
            inputs = linear(x, *input_weights).unbind(0)
            for step_input in reversed(inputs) if direction else inputs:
                hidden = step(step_input, linear(hidden, *recurrent_weights), hidden)
                steps.append(hidden)
            outputs.append(torch.stack(steps[::-1] if direction else steps))
            final_states.append(hidden)
        x = torch.cat(outputs, -1) if bidirectional else outputs[0]
        if dropout and train and layer < num_layers - 1:
            x = torch.dropout(x, dropout, train)
    return (x.transpose_(0, 1) if batch_first else x), torch.stack(final_states)
