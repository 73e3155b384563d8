"""Corrections of the results of PyTorch's kernels for fake tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format
from torch._subclasses.fake_tensor import FakeTensor

from opflops.torch_internals.fake_dtype_checks import check_dtypes
from opflops.torch_internals.fake_index_checks import check_indices
from opflops.torch_internals.fake_layouts import LAYOUTS, with_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch._subclasses.fake_tensor import FakeTensorMode

_CUDNN_RNN = torch.ops.aten._cudnn_rnn.default
_CUDNN_RNN_BACKWARD = torch.ops.aten._cudnn_rnn_backward.default

DEVICE_OF_TENSOR = torch.ops.prim.device.default
"""The operator behind ``tensor.device``. Modules ask for the device of each parameter several times."""

COPY = torch.ops.aten.copy_.default
"""What data parallelism in C++ copies a gradient to its bucket by, if there is a hook for that."""

_GROUP_NORM_BACKWARD = torch.ops.aten.native_group_norm_backward.default
_GROUPED_MM = getattr(getattr(torch.ops.aten, "_grouped_mm", None), "default", None)
_MADE_HERE = frozenset({_GROUP_NORM_BACKWARD, _GROUPED_MM, _CUDNN_RNN_BACKWARD})
_RUN_HERE = (FakeTensor, torch.nn.Parameter)
_OTHER_GROUPED_DTYPES = (torch.float32, torch.float16)


def result_without_kernel(mode: FakeTensorMode, func: Any, types: Sequence[type], args: Sequence[Any]) -> Any:
    """Return the result of an operator that has no kernel for fake tensors; None for all others.

    These are the backward of cuDNN's RNN, whose gradients have the shapes of input, hidden state, cell state and
    weights, and grouped matmuls in float32 and float16, which the fake kernel refuses although devices have them. The
    fake kernel for the backward of group norm refuses some layouts of gradients, which that of the CPU does not.
    Classes of arguments other than fake tensors run an operator on tensors of their own.
    """
    if func not in _MADE_HERE or any(not issubclass(each, _RUN_HERE) for each in types):
        return None
    if func is _GROUPED_MM and args[0].dtype in _OTHER_GROUPED_DTYPES and args[0].dtype == args[1].dtype:
        return _grouped_matmul(mode, *args)
    if func is _GROUP_NORM_BACKWARD and args[0].device.type == "cpu":
        return _group_norm_backward(mode, *args)
    if func is not _CUDNN_RNN_BACKWARD:
        return None
    input, weights, _, _, hidden, cell, *_, output_mask = args
    with mode:
        gradients = [
            torch.empty_like(each) if each is not None and required else None
            for each, required in zip((input, hidden, cell), output_mask, strict=False)
        ]
        return (*gradients, [torch.empty_like(each) for each in weights] if output_mask[3] else [])


def _group_norm_backward(
    mode: FakeTensorMode,
    _gradient: Tensor,
    input: Tensor,
    _mean: Tensor,
    _rstd: Tensor,
    weight: Tensor | None,
    *sizes: Any,
) -> tuple[Tensor | None, ...]:
    """Make the gradients that are asked for: that of the input, in its dtype and memory format, and of parameters."""
    _, channels, _, _, output_mask = sizes
    dtype = input.dtype if weight is None else weight.dtype
    with mode:
        made = torch.empty_like(input, memory_format=suggest_memory_format(input)) if output_mask[0] else None
        parameters = (
            torch.empty(channels, dtype=dtype, device=input.device) if wanted else None for wanted in output_mask[1:]
        )
        return (made, *parameters)


def _grouped_matmul(
    mode: FakeTensorMode, left: Tensor, right: Tensor, offsets: Tensor | None = None, *_: Any
) -> Tensor:
    """Make the result of matmuls of groups.

    An operand with two axes is split by the offsets; one with three has a matrix for each group. If both have two, the
    summed axis is split, and there is a result for each group.
    """
    groups: list[Any] = []
    if left.dim() == right.dim():
        groups = list(left.shape[:-2]) if offsets is None else [offsets.shape[0]]
    with mode:
        return torch.empty([*groups, left.shape[-2], right.shape[-1]], dtype=left.dtype, device=left.device)


def corrected_result(mode: FakeTensorMode, func: Any, args: Sequence[Any], out: Any) -> Any:
    """Return the result of an operator as on a device, given the result of its fake kernel.

    Raises:
        IndexError: An index whose value is known is out of range.
        RuntimeError: Operands have dtypes that a real kernel refuses.
    """
    if out is NotImplemented:
        # The class of an argument, such as one of distributed tensors, runs the operator on tensors of its own.
        return out
    check_dtypes(func, args)
    check_indices(func, args, symbolic=mode.shape_env is not None)
    if func in LAYOUTS:
        with mode:
            out = with_layout(func, args, out)
    correct = _CORRECTIONS.get(func)
    # Costs for all sizes do not depend on storage.
    if correct is not None and (mode.shape_env is None or func not in _CORRECTED_STORAGE):
        with mode:
            out = correct(args, out)
    if type(out) is not tuple:
        return out
    return _without_duplicates(mode, _with_weight_buffer(mode, args, out) if func is _CUDNN_RNN else out)


def with_kept_buffer(func: Any, args: Sequence[Any], out: Any) -> Any:
    """Return a result in the storage that the kernels of devices keep for it, if that is larger; else the result.

    They write the losses of the elements to the result, and then the mean or sum to its beginning, so that a number
    has the storage of all. An image that is the sum of windows has the storage of the windows, and a
    copy of a sparse tensor that of its elements.
    """
    correct = _KEPT_BUFFERS.get(func)
    return out if correct is None else correct(args, out)


def _loss_in_buffer(args: Sequence[Any], out: Tensor) -> Tensor:
    input, target, *_ = args
    shape = torch.broadcast_shapes(input.shape, target.shape)
    if out.dim() or not shape:
        return out
    return torch.empty(shape, dtype=out.dtype, device=out.device).resize_(())


def _image_in_windows(args: Sequence[Any], out: Tensor) -> Tensor:
    """Make an image in a tensor like its windows, which the kernel then gives another size."""
    return torch.empty(args[0].shape, dtype=out.dtype, device=out.device).resize_(out.shape)


def _clone_of_sparse(args: Sequence[Any], out: Tensor) -> Tensor:
    """Let a copy of a sparse tensor have as many elements; that of PyTorch's kernel without values has none."""
    original = args[0]
    if out.layout is not torch.sparse_coo or out._nnz() == original._nnz():
        return out
    indices, values = original._indices().clone(), original._values().clone()
    made = torch.sparse_coo_tensor(indices, values, original.shape, check_invariants=False)
    return made._coalesced_(original.is_coalesced())


def _gradient_of_bags(args: Sequence[Any], out: Tensor) -> Tensor:
    """Let a sparse gradient have a row for each index; that of PyTorch's fake kernel has none."""
    gradient, indices = args[:2]
    if out.layout is not torch.sparse_coo or out._nnz():
        return out
    values = gradient.new_empty((indices.numel(), gradient.shape[1]))
    return torch.sparse_coo_tensor(indices.view(1, -1), values, out.shape, check_invariants=False)


def _statistics_in_float32(args: Sequence[Any], out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Make mean and deviation float32 if the input of a normalization is of lower precision than its parameters."""
    input, *parameters = args
    is_mixed = any(isinstance(each, Tensor) and each.dtype is torch.float32 for each in parameters)
    if input.device.type != "cpu" or input.dtype not in _LOW_PRECISION or not is_mixed:
        return out
    result, *statistics = out
    return (result, *(torch.empty_like(each, dtype=torch.float32) for each in statistics))


def _in_format_of_input(input: Tensor, made: Tensor | None) -> Tensor | None:
    """Lay a result out as its input's format says, channels last or contiguous, as kernels do."""
    layout = suggest_memory_format(input)
    if made is None or made.shape != input.shape or made.is_contiguous(memory_format=layout):
        return made
    return torch.empty_like(made, memory_format=layout)


def _batch_norm(args: Sequence[Any], out: tuple[Any, ...]) -> tuple[Any, ...]:
    result, *statistics = _statistics_in_float32(args, out)
    return (_in_format_of_input(args[0], result), *statistics)


def _batch_norm_backward(args: Sequence[Any], out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Make the gradients that are asked for, that of the input in its memory format."""
    gradient, *others = out
    made = (_in_format_of_input(args[1], gradient), *others)
    return tuple(each if wanted else None for each, wanted in zip(made, args[-1], strict=True))


def _all_contiguous(_args: Sequence[Any], out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Lay gradients out as kernels do, which first make their arguments contiguous."""
    return tuple(
        each if each is None or each.is_contiguous() else torch.empty_like(each, memory_format=torch.contiguous_format)
        for each in out
    )


def _gradient_like_input(args: Sequence[Any], out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Make the gradient of a normalization's input have its dtype, whatever that of the parameters is."""
    _, input, *_ = args
    gradient, *others = out
    if gradient is None or gradient.dtype is input.dtype:
        return out
    return (torch.empty_like(gradient, dtype=input.dtype), *others)


def _bags_of_indices(args: Sequence[Any], out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Make the bag of each index, which the CPU needs for no plain sum, and the sizes of the bags.

    The CPU makes one element too many of the former, and of the latter if the last offset is the end.
    """
    names = ("weight", "indices", "offsets", "scale_grad_by_freq", "mode", "sparse", "weights", "last", "padding")
    given = dict(zip(names, args, strict=False))
    weight, indices, offsets, weights = given["weight"], given["indices"], given["offsets"], given.get("weights")
    if weight.device.type != "cpu":
        return out
    result, bags, sizes, *others = out
    if sizes.numel() + 1 == offsets.numel():
        sizes = torch.empty_like(offsets, dtype=sizes.dtype).resize_(sizes.shape)
    is_plain_sum = (
        given.get("mode", 0) == 0
        and weight.dtype in (torch.float32, *_LOW_PRECISION)
        and weight.stride(1) == result.stride(1) == 1
        and (weights is None or weights.stride(0) == 1)
        and given.get("padding", -1) < 0
    )
    made = torch.empty(0 if is_plain_sum else indices.numel() + 1, dtype=bags.dtype, device=bags.device)
    return (result, made if is_plain_sum else made.resize_(indices.numel()), sizes, *others)


def _with_workspace(args: Sequence[Any], out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Add what oneDNN's LSTM keeps for its backward, in float32; the fake kernel makes it empty.

    It is that of the releases in use: gates, and states of all steps and the one before them, of which there are two,
    for the layer and what is below it. Each begins on a page of its own. Rows are whole cache lines, and one more
    where rows would be a whole number of 1,024 bytes apart.
    """
    input, hidden, batch_first = args[0], args[10], args[14]
    if not torch.is_grad_enabled() or input.dtype is not torch.float32:
        return out
    steps, batch, features = input.shape
    if batch_first:
        steps, batch = batch, steps
    states = 2 * (steps + 1) * batch
    elements = [steps * batch * _row(4 * hidden), steps * batch * _row(hidden)]
    elements += 3 * [states * _row(max(features, hidden))] + 2 * [states * hidden]
    size = sum(_rounded_up(each * input.itemsize, _PAGE) for each in elements)
    return (*out[:3], torch.empty(size, dtype=torch.uint8, device=input.device))


def _row(elements: int) -> int:
    """Return how many float32 elements a row takes in oneDNN."""
    row = _rounded_up(elements, 16)
    return row + 16 if row % 256 == 0 else row


def _rounded_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def hides_memory(func: Any, args: Sequence[Any]) -> bool:
    """Return whether an operator keeps a workspace for its backward whose size only its kernel knows."""
    return func is _LSTM and torch.is_grad_enabled() and args[0].dtype is not torch.float32


_PAGE = 4096
_LSTM = torch.ops.aten.mkldnn_rnn_layer.default
_LOW_PRECISION = (torch.bfloat16, torch.float16)
_aten = torch.ops.aten
_LOSSES = (_aten.mse_loss, _aten.smooth_l1_loss, _aten.soft_margin_loss, _aten.binary_cross_entropy)
_KEPT_BUFFERS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((each.default for each in _LOSSES), _loss_in_buffer),
    _aten.col2im.default: _image_in_windows,
    _aten.clone.default: _clone_of_sparse,
}
_CORRECTED_STORAGE: dict[Any, Callable[..., Any]] = {
    **_KEPT_BUFFERS,
    _aten._embedding_bag_backward.default: _gradient_of_bags,
    _LSTM: _with_workspace,
    _aten._embedding_bag.default: _bags_of_indices,
    _aten._embedding_bag_forward_only.default: _bags_of_indices,
}
# The kernel returns the tensor that it waited for, the fake one another. Not every build has it.
_WAIT = getattr(getattr(torch.ops._c10d_functional, "wait_tensor", None), "default", None)
_CORRECTIONS: dict[Any, Callable[..., Any]] = {
    **_CORRECTED_STORAGE,
    _WAIT: lambda args, _out: args[0],
    _aten.native_batch_norm.default: _batch_norm,
    _aten.native_batch_norm_backward.default: _batch_norm_backward,
    _aten.native_layer_norm_backward.default: _all_contiguous,
    _aten.native_layer_norm.default: _statistics_in_float32,
    _aten.native_group_norm.default: _statistics_in_float32,
    _aten.native_group_norm_backward.default: _gradient_like_input,
}


def _with_weight_buffer(mode: FakeTensorMode, args: Sequence[Any], out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Add the packed weights to the results of cuDNN's RNN; its backward reads them.

    The kernel packs the weights if no packed ones are given. The fake kernel returns None then.
    """
    input, weights, *_ = args
    *others, buffer = out
    if buffer is None:
        with mode:
            buffer = torch.empty(sum(each.numel() for each in weights), dtype=input.dtype, device=input.device)
    return (*others, buffer)


def _without_duplicates(mode: FakeTensorMode, out: tuple[Any, ...]) -> tuple[Any, ...]:
    """Replace a tensor that is returned twice, as on a device: autograd copies a gradient that is referenced twice."""
    seen: set[int] = set()
    results = list(out)
    for index, result in enumerate(results):
        if isinstance(result, Tensor) and id(result) in seen:
            with mode:
                results[index] = torch.empty_strided(
                    result.shape, result.stride(), dtype=result.dtype, device=result.device
                )
        seen.add(id(result))
    return tuple(results)
