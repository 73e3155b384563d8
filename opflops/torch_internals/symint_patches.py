"""What PyTorch wrote for plain sizes alone, written as what it calls, so that sizes can stay symbolic.

Some composite kernels read sizes as numbers, which decides symbolic ones, and indexing asks whether a slice is a whole
axis. Here they call the same operators in the same order, which a test compares. Part of the one room for private
interfaces of PyTorch; see the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from opflops.torch_internals.shared_context import Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Params = Sequence[Tensor]

_WHOLE = slice(None)


def _install_patches() -> Callable[[], object]:
    replaced: list[tuple[Any, str, Any]] = []

    def put_back() -> None:
        for owner, name, before in reversed(replaced):
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

    for owner, name, make in list(_patches()):
        # An attribute that is inherited or made on demand is not there to be put back.
        before = vars(owner).get(name)
        setattr(owner, name, make(getattr(owner, name)))
        replaced.append((owner, name, before))
    return put_back


symint_patches_active = Shared(_install_patches)
"""Puts these functions in the place of PyTorch's for a while; they pass on calls with plain sizes alone."""


def _patches() -> Iterator[tuple[Any, str, Callable[[Any], Callable[..., Any]]]]:
    yield Tensor, "__getitem__", _indexing
    for name in _RESAMPLING:
        if hasattr(torch._C._nn, name):
            yield torch._C._nn, name, _resampling(name)
    yield torch, "max_pool1d", _max_pool1d
    yield torch._VF, "lstm", _lstm
    for name, step in _STEPS.items():
        yield torch._VF, name, _unrolled(step)


def _is_symbolic(tensor: Tensor) -> bool:
    return any(type(size) is not int for size in tensor.shape)


def _indexing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Index axis by axis where there are no index tensors; what takes an axis whole is no operator."""

    def call(tensor: Tensor, index: Any) -> Any:
        parts = index if isinstance(index, tuple) else (index,)
        simple = all(part is None or part is Ellipsis or type(part) in (int, slice, torch.SymInt) for part in parts)
        whole = _is_symbolic(tensor) and any(_is_whole(part) for part in parts)
        return _indexed(tensor, parts) if simple and (whole or _has_symbols(parts)) else original(tensor, index)

    return call


def _has_symbols(parts: tuple[Any, ...]) -> bool:
    """Tell whether a slice ends at a symbolic size, which PyTorch would compare with that of the axis."""
    bounds = [bound for part in parts if type(part) is slice for bound in (part.start, part.stop)]
    return any(type(bound) is torch.SymInt for bound in bounds)


def _is_whole(part: Any) -> bool:
    return type(part) is slice and part.start in (None, 0) and part.stop is None and part.step in (None, 1)


def _indexed(tensor: Tensor, parts: tuple[Any, ...]) -> Tensor:
    axes = sum(part is not None and part is not Ellipsis for part in parts)
    result, axis = tensor, 0
    for part in parts:
        if part is Ellipsis:
            axis += tensor.dim() - axes
        elif part is None:
            result = result.unsqueeze(axis)
            axis += 1
        elif type(part) is slice:
            if not _is_whole(part):
                step = 1 if part.step is None else part.step
                result = torch.ops.aten.slice(result, axis, part.start, part.stop, step)
            axis += 1
        else:
            result = result.select(axis, part)
    return torch.ops.aten.alias(result) if result is tensor else result


_RESAMPLING = [
    *(f"upsample_{kind}" for kind in ("nearest1d", "nearest2d", "nearest3d", "linear1d")),
    *(f"upsample_{kind}" for kind in ("bilinear2d", "bicubic2d", "trilinear3d")),
    *(f"_upsample_{kind}" for kind in ("nearest_exact1d", "nearest_exact2d", "nearest_exact3d")),
    *(f"_upsample_{kind}_aa" for kind in ("bilinear2d", "bicubic2d")),
]


def _resampling(name: str) -> Callable[[Any], Callable[..., Any]]:
    """Compute the size of what an interpolation makes, as ``aten::upsample_*.vec`` does, and call the rest of it."""
    overload = getattr(torch.ops.aten, name).default
    corners = any(argument.name == "align_corners" for argument in overload._schema.arguments)

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(input: Tensor, output_size: Any, *rest: Any, **named: Any) -> Any:
            symbolic = _is_symbolic(input) or any(type(size) is not int for size in output_size or ())
            if not symbolic or len(rest) != corners + 1 or named:
                return original(input, output_size, *rest, **named)
            *options, scales = rest
            if output_size is None:
                output_size = [_scaled(size, scale) for size, scale in zip(input.shape[2:], scales, strict=True)]
            return overload(input, output_size, *options, *(scales or [None] * len(output_size)))

        return call

    return make


_SIZE_OF_GRADIENT = {
    getattr(torch.ops.aten, f"{kind}_backward").default: 2
    for kind in _RESAMPLING
    if hasattr(torch.ops.aten, f"{kind}_backward")
}
"""Which argument of an interpolation's backward is the size of its result; PyTorch's own kernel wants plain ones."""


def result_of(operator: Any, args: Sequence[Any]) -> Sequence[Any] | None:
    """Tell the shape of what an operator returns that cannot tell it of symbolic sizes; None for any other."""
    place = _SIZE_OF_GRADIENT.get(operator)
    if place is None or not any(type(size) is not int for sizes in args[1 : place + 1] for size in sizes):
        return None
    sizes: Sequence[Any] = args[place]
    return sizes


def _scaled(size: Any, scale: float) -> Any:
    return size * int(scale) if int(scale) == scale else torch.sym_int(size * scale)


def _max_pool1d(original: Callable[..., Any]) -> Callable[..., Any]:
    """Pool along the last of two axes, the other of which has one element."""

    def call(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: Any = False
    ) -> Any:
        if not _is_symbolic(input):
            return original(input, kernel_size, stride, padding, dilation, ceil_mode)
        kernel, step, border, gap = (
            each[0] if isinstance(each, (tuple, list)) else each
            for each in (kernel_size, stride or kernel_size, padding, dilation)
        )
        pooled, _ = torch.ops.aten.max_pool2d_with_indices(
            input.unsqueeze(-2), [1, kernel], [1, step], [0, border], [1, gap], ceil_mode
        )
        return pooled.squeeze(-2)

    return call


def _lstm(original: Callable[..., Any]) -> Callable[..., Any]:
    """Run an LSTM on a CPU layer by layer, each as one operator of oneDNN."""

    def call(input: Tensor, hx: Any, *rest: Any) -> Any:
        packed = isinstance(hx, Tensor)
        fused = input.device.type == "cpu" and input.dtype in (torch.float32, torch.bfloat16, torch.float16)
        if packed or not fused or not _is_symbolic(input) or hx[0].shape[2] != hx[1].shape[2]:
            # oneDNN knows no projections.
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
    last: tuple[list[Tensor], list[Tensor]] = ([], [])
    for layer in range(num_layers):
        outputs = []
        for direction in range(1 + bidirectional):
            index = layer * (1 + bidirectional) + direction
            state = hidden.select(0, index), cells.select(0, index)
            weights = list(params[4 * index : 4 * index + 4] if has_biases else params[2 * index : 2 * index + 2])
            if not has_biases:
                weights += [torch.zeros(weight.shape, dtype=weight.dtype, device=weight.device) for weight in weights]
            out, *states, _ = torch.ops.aten.mkldnn_rnn_layer(
                x, *weights, *state, direction == 1, [], _LSTM, hidden.shape[2], num_layers,
                has_biases, bidirectional, _TIME_FIRST, train,
            )  # fmt: skip
            outputs.append(out)
            for states_so_far, state_now in zip(last, states, strict=True):
                states_so_far.append(state_now)
        x = torch.cat(outputs, -1) if bidirectional else outputs[0]
        if dropout and train and layer < num_layers - 1:
            x = torch.dropout(x, dropout, train)
    return (x.transpose(0, 1) if batch_first else x), torch.stack(last[0]), torch.stack(last[1])


_LSTM = 2
"""oneDNN's number for an LSTM among recurrent layers."""

_TIME_FIRST = False
"""The batch is not the first axis of what a layer gets."""


def _plain_step(activation: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda inputs, recurrent, _: activation(recurrent.add_(inputs))


def _gru_step(inputs: Tensor, recurrent: Tensor, hidden: Tensor) -> Tensor:
    size = hidden.shape[1]
    reset_in, update_in, new_in = inputs.unsafe_split(size, 1)
    reset, update, new = recurrent.unsafe_split(size, 1)
    reset = reset.add_(reset_in).sigmoid_()
    update = update.add_(update_in).sigmoid_()
    new = new_in.add(new.mul_(reset)).tanh_()
    return (hidden - new).mul_(update).add_(new)


_STEPS = {"gru": _gru_step, "rnn_tanh": _plain_step(torch.tanh), "rnn_relu": _plain_step(torch.relu)}


def _unrolled(step: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Any], Callable[..., Any]]:
    """Run the steps of a recurrent layer one after the other; there are as many as the sequence is long."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(input: Tensor, hx: Any, params: Any, *rest: Any) -> Any:
            packed = isinstance(params, Tensor)
            if packed or not _is_symbolic(input):
                return original(input, hx, params, *rest)
            return _steps(step, input, hx, params, *rest)

        return call

    return make


def _steps(
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
    each = 4 if has_biases else 2
    x = input.transpose(0, 1) if batch_first else input
    states, last = hx.unbind(0), []
    for layer in range(num_layers):
        outputs = []
        for direction in range(1 + bidirectional):
            index = layer * (1 + bidirectional) + direction
            weights = params[each * index : each * (index + 1)]
            into, recurrent = weights[0::2], weights[1::2]
            hidden, steps = states[index], []
            inputs = linear(x, *into).unbind(0)
            for one in reversed(inputs) if direction else inputs:
                hidden = step(one, linear(hidden, *recurrent), hidden)
                steps.append(hidden)
            outputs.append(torch.stack(steps[::-1] if direction else steps))
            last.append(hidden)
        x = torch.cat(outputs, -1) if bidirectional else outputs[0]
        if dropout and train and layer < num_layers - 1:
            x = torch.dropout(x, dropout, train)
    return (x.transpose_(0, 1) if batch_first else x), torch.stack(last)
