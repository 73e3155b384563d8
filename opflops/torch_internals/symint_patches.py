"""Patches of PyTorch functions that would add guards on symbolic sizes, so that the sizes stay symbolic.

Some composite kernels read sizes as integers, which specializes symbolic ones, and indexing checks whether a slice
takes the whole dimension. The patches call the same operators in the same order; a test compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from opflops.torch_internals.shared_context import SharedContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Params = Sequence[Tensor]


def _install_patches() -> Callable[[], object]:
    installed: list[tuple[Any, str, Any]] = []

    def remove_patches() -> None:
        for owner, name, original in reversed(installed):
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)

    for owner, name, wrap in list(_patches()):
        # None if the attribute is inherited or created on demand; removing the patch deletes ours then.
        original = vars(owner).get(name)
        setattr(owner, name, wrap(getattr(owner, name)))
        installed.append((owner, name, original))
    return remove_patches


symint_patches_active = SharedContext(_install_patches)
"""A context in which the patches are installed. Calls without symbolic sizes go to PyTorch's functions."""


def _patches() -> Iterator[tuple[Any, str, Callable[[Any], Callable[..., Any]]]]:
    yield Tensor, "__getitem__", _wrap_getitem
    for name in _RESAMPLING:
        if hasattr(torch._C._nn, name):
            yield torch._C._nn, name, _wrap_resampling(name)
    yield torch, "max_pool1d", _wrap_max_pool1d
    yield torch._VF, "lstm", _wrap_lstm
    for name, step in _STEPS.items():
        yield torch._VF, name, _wrap_recurrent(step)


def _is_symbolic(tensor: Tensor) -> bool:
    return any(type(size) is not int for size in tensor.shape)


def _wrap_getitem(original: Callable[..., Any]) -> Callable[..., Any]:
    """Index dimension by dimension if there are no index tensors; a slice of a whole dimension calls no operator."""

    def call(tensor: Tensor, index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        basic = all(part is None or part is Ellipsis or type(part) in (int, slice, torch.SymInt) for part in parts)
        whole = _is_symbolic(tensor) and any(_is_whole_slice(part) for part in parts)
        if basic and (whole or _has_symbolic_bound(parts)):
            return _index_basic(tensor, parts)
        return original(tensor, index)

    return call


def _has_symbolic_bound(parts: tuple[Any, ...]) -> bool:
    """Return whether a slice has a symbolic bound, which PyTorch would compare with the size of the dimension."""
    bounds = [bound for part in parts if type(part) is slice for bound in (part.start, part.stop)]
    return any(type(bound) is torch.SymInt for bound in bounds)


def _is_whole_slice(part: Any) -> bool:
    return type(part) is slice and part.start in (None, 0) and part.stop is None and part.step in (None, 1)


def _index_basic(tensor: Tensor, parts: tuple[Any, ...]) -> Tensor:
    indexed_dims = sum(part is not None and part is not Ellipsis for part in parts)
    result, dim = tensor, 0
    for part in parts:
        if part is Ellipsis:
            dim += tensor.dim() - indexed_dims
        elif part is None:
            result = result.unsqueeze(dim)
            dim += 1
        elif type(part) is slice:
            if not _is_whole_slice(part):
                step = 1 if part.step is None else part.step
                result = torch.ops.aten.slice(result, dim, part.start, part.stop, step)
            dim += 1
        else:
            result = result.select(dim, part)
    return torch.ops.aten.alias(result) if result is tensor else result


_RESAMPLING = [
    *(f"upsample_{method}" for method in ("nearest1d", "nearest2d", "nearest3d", "linear1d")),
    *(f"upsample_{method}" for method in ("bilinear2d", "bicubic2d", "trilinear3d")),
    *(f"_upsample_{method}" for method in ("nearest_exact1d", "nearest_exact2d", "nearest_exact3d")),
    *(f"_upsample_{method}_aa" for method in ("bilinear2d", "bicubic2d")),
]


def _wrap_resampling(name: str) -> Callable[[Any], Callable[..., Any]]:
    """Compute the output size of an interpolation as ``aten::upsample_*.vec`` does, then call the inner operator."""
    overload = getattr(torch.ops.aten, name).default
    corners = any(argument.name == "align_corners" for argument in overload._schema.arguments)

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(input: Tensor, output_size: Any, *rest: Any, **named: Any) -> Any:
            symbolic = _is_symbolic(input) or any(type(size) is not int for size in output_size or ())
            if not symbolic or len(rest) != corners + 1 or named:
                return original(input, output_size, *rest, **named)
            *options, scales = rest
            if output_size is None:
                output_size = [_scaled(size, scale) for size, scale in zip(input.shape[2:], scales, strict=True)]
            return overload(input, output_size, *options, *(scales or [None] * len(output_size)))

        return call

    return wrap


_INPUT_SIZE_ARGUMENT = {
    getattr(torch.ops.aten, f"{name}_backward").default: 2
    for name in _RESAMPLING
    if hasattr(torch.ops.aten, f"{name}_backward")
}
"""The index of the argument that is the shape of an interpolation backward's result."""


def get_result_shape(operator: Any, args: Sequence[Any]) -> Sequence[Any] | None:
    """Return the shape of the result of an operator whose kernels need integer sizes; None for any other."""
    index = _INPUT_SIZE_ARGUMENT.get(operator)
    if index is None or not any(type(size) is not int for sizes in args[1 : index + 1] for size in sizes):
        return None
    sizes: Sequence[Any] = args[index]
    return sizes


def _scaled(size: Any, scale: float) -> Any:
    return size * int(scale) if int(scale) == scale else torch.sym_int(size * scale)


def _wrap_max_pool1d(original: Callable[..., Any]) -> Callable[..., Any]:
    """Call max_pool2d with a second dimension of size 1."""

    def call(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: Any = False
    ) -> Any:
        if not _is_symbolic(input):
            return original(input, kernel_size, stride, padding, dilation, ceil_mode)
        kernel, stride, padding, dilation = (
            each[0] if isinstance(each, (tuple, list)) else each
            for each in (kernel_size, stride or kernel_size, padding, dilation)
        )
        pooled, _ = torch.ops.aten.max_pool2d_with_indices(
            input.unsqueeze(-2), [1, kernel], [1, stride], [0, padding], [1, dilation], ceil_mode
        )
        return pooled.squeeze(-2)

    return call


def _wrap_lstm(original: Callable[..., Any]) -> Callable[..., Any]:
    """Run an LSTM on CPU layer by layer, each as one oneDNN operator."""

    def call(input: Tensor, hx: Any, *rest: Any) -> Any:
        packed = isinstance(hx, Tensor)
        fused = input.device.type == "cpu" and input.dtype in (torch.float32, torch.bfloat16, torch.float16)
        if packed or not fused or not _is_symbolic(input) or hx[0].shape[2] != hx[1].shape[2]:
            # oneDNN does not support projections.
            return original(input, hx, *rest)
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
    x = (input.transpose(0, 1) if batch_first else input).contiguous()
    final_states: tuple[list[Tensor], list[Tensor]] = ([], [])
    for layer in range(num_layers):
        outputs = []
        for direction in range(1 + bidirectional):
            index = layer * (1 + bidirectional) + direction
            initial = hidden.select(0, index), cells.select(0, index)
            weights = list(params[4 * index : 4 * index + 4] if has_biases else params[2 * index : 2 * index + 2])
            if not has_biases:
                weights += [torch.zeros(weight.shape, dtype=weight.dtype, device=weight.device) for weight in weights]
            out, *states, _ = torch.ops.aten.mkldnn_rnn_layer(
                x, *weights, *initial, direction == 1, [], _LSTM, hidden.shape[2], num_layers,
                has_biases, bidirectional, _BATCH_FIRST, train,
            )  # fmt: skip
            outputs.append(out)
            for layer_states, state in zip(final_states, states, strict=True):
                layer_states.append(state)
        x = torch.cat(outputs, -1) if bidirectional else outputs[0]
        if dropout and train and layer < num_layers - 1:
            x = torch.dropout(x, dropout, train)
    return (x.transpose(0, 1) if batch_first else x), torch.stack(final_states[0]), torch.stack(final_states[1])


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


_STEPS = {"gru": _gru_step, "rnn_tanh": _rnn_step(torch.tanh), "rnn_relu": _rnn_step(torch.relu)}


def _wrap_recurrent(step: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Any], Callable[..., Any]]:
    """Unroll a recurrent layer into one step for each element of the sequence."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(input: Tensor, hx: Any, params: Any, *rest: Any) -> Any:
            packed = isinstance(params, Tensor)
            if packed or not _is_symbolic(input):
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
