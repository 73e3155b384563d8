"""Patches of PyTorch functions that would add guards on symbolic sizes, so that the sizes stay symbolic.

Some composite kernels read sizes as integers, which specializes symbolic ones. The patches call the same operators in
the same order; a test compares them.

No patch is of a method that Python keeps in two slots of a type, such as ``__getitem__`` of tensors: both slots are set
by a patch, and putting the method back leaves one of them set, after which PyTorch takes every tensor for a sequence.
"""

from __future__ import annotations

import builtins
import inspect
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from opflops.torch_internals import (
    symint_composites,
    symint_gradient,
    symint_guards,
    symint_indexing,
    symint_memo,
    symint_recurrent,
)
from opflops.torch_internals.shared_context import patched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def _patches() -> Iterator[tuple[Any, str, Callable[[Any], Callable[..., Any]]]]:
    for name in _RESAMPLING:
        if hasattr(torch._C._nn, name):
            yield torch._C._nn, name, _wrap_resampling(name)
    yield torch, "max_pool1d", _wrap_max_pool1d
    yield builtins, "len", _wrap_len
    for owner, name, composite in _COMPOSITES:
        yield owner, name, _wrap_composite(composite)
    for name, shape_of in _FACTORIES.items():
        yield torch, name, _wrap_factory(shape_of)
    yield torch._VF, "lstm", symint_recurrent.wrap_lstm
    for name, step in symint_recurrent.STEPS.items():
        yield torch._VF, name, symint_recurrent.wrap_recurrent(step)
    for name, cell in symint_recurrent.CELLS.items():
        for owner in (torch, torch._VF):
            yield owner, name, _wrap_composite(cell)
    yield from symint_indexing.patches()
    yield from symint_guards.patches()
    yield from symint_memo.patches()


symint_patches_active = patched(_patches)
"""A context in which the patches are installed. Calls without symbolic sizes go to PyTorch's functions."""


def _is_symbolic(tensor: Tensor) -> bool:
    return any(type(size) is not int for size in tensor.shape)


def _wrap_len(original: Callable[[Any], int]) -> Callable[[Any], Any]:
    """Return the first size of a tensor as it is; Python converts what ``__len__`` returns to an integer."""

    def call(collection: Any, /) -> Any:
        if isinstance(collection, Tensor) and collection.dim() and type(collection.shape[0]) is not int:
            return collection.shape[0]
        return original(collection)

    return call


_COMPOSITES: list[tuple[Any, str, Callable[..., Any]]] = [
    (torch.nn.functional, "one_hot", symint_composites.one_hot),
    (torch.linalg, "multi_dot", symint_composites.multi_dot),
    (torch._VF, "chain_matmul", symint_composites.multi_dot),
    (torch, "vander", symint_composites.vander),
    (torch._VF, "stft", symint_composites.stft),
    (torch.nn.functional, "affine_grid", symint_composites.affine_grid),
    (torch, "affine_grid_generator", symint_composites.affine_grid_generator),
    (torch, "gradient", symint_gradient.gradient),
    *(
        (owner, name, getattr(symint_composites, name))
        for owner in (torch, Tensor)
        for name in ("kron", "unsafe_chunk", "take_along_dim", "cov", "corrcoef")
    ),
]
"""Where Python finds composite operators whose kernels need integer sizes, and what replaces them."""


def _wrap_composite(composite: Callable[..., Any]) -> Callable[[Any], Callable[..., Any]]:
    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if not symint_composites.is_symbolic((*args, *kwargs.values())):
                return original(*args, **kwargs)
            try:
                bound = inspect.signature(composite).bind(*args, **kwargs)
            except TypeError:
                # PyTorch's function explains what is wrong.
                return original(*args, **kwargs)
            result = composite(*bound.args, **bound.kwargs)
            return original(*args, **kwargs) if result is NotImplemented else result

        return call

    return wrap


def _length(position: int, argument: str) -> Callable[..., Any]:
    """Return a function of a factory's arguments that returns the shape of the vector it makes, if it is symbolic."""

    def shape(*args: Any, **kwargs: Any) -> list[Any] | None:
        length = args[position] if len(args) > position else kwargs.get(argument)
        return [length] if type(length) is torch.SymInt else None

    return shape


def _triangle(of: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    def shape(row: Any, col: Any, offset: Any = 0, **_: Any) -> list[Any] | None:
        is_any = any(type(each) is torch.SymInt for each in (row, col, offset))
        return [2, of(row, col, offset)] if is_any else None

    return shape


def _elements_below(rows: Any, columns: Any, offset: Any) -> Any:
    """Count the elements of a matrix on a diagonal and below it: of each row, those up to ``row + offset``."""

    def sum_to(last: Any) -> Any:
        last = torch.sym_max(last, 0)
        return last * (last + 1)

    doubled = sum_to(rows + offset) - sum_to(offset) - sum_to(rows + offset - columns) + sum_to(offset - columns)
    return doubled // 2


ELEMENTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "tril_indices": _elements_below,
    "triu_indices": lambda rows, columns, offset: rows * columns - _elements_below(rows, columns, offset - 1),
}
"""How many elements of a matrix are in a triangle, given its rows, its columns and the triangle's diagonal."""

_FACTORIES: dict[str, Callable[..., Any]] = {
    "linspace": _length(2, "steps"),
    "logspace": _length(2, "steps"),
    **{f"{name}_window": _length(0, "window_length") for name in ("bartlett", "blackman", "hamming", "hann", "kaiser")},
    **{name: _triangle(count) for name, count in ELEMENTS.items()},
}
"""Functions that make a tensor whose sizes must be integers, with what returns its shape if they are symbolic."""

_factory_shape: ContextVar[Any] = ContextVar("factory_shape", default=None)
"""The symbolic shape of the tensor that is being made."""


def _wrap_factory(shape_of: Callable[..., Any]) -> Callable[[Any], Callable[..., Any]]:
    """Call a factory with the sizes of the example, and make the result larger when a fake tensor is made of it."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                shape = shape_of(*args, **kwargs)
            except TypeError:
                # PyTorch's function explains what is wrong.
                shape = None
            if shape is None:
                return original(*args, **kwargs)
            before = _factory_shape.get()
            # An interruption can come at each line, so all are inside.
            try:
                _factory_shape.set(shape)
                result = original(*map(_hint, args), **{name: _hint(value) for name, value in kwargs.items()})
                _factory_shape.set(before)
                return result  # noqa: TRY300
            except BaseException:
                _factory_shape.set(before)
                raise

        return call

    return wrap


def _hint(value: Any) -> Any:
    return value.node.hint if type(value) is torch.SymInt else value


def resized(operator: Any, out: Any) -> Any:
    """Return the result of an operator with the symbolic shape that :func:`_wrap_factory` was called with."""
    shape = _factory_shape.get()
    if shape is None or operator._schema.name.removeprefix("aten::") not in _FACTORIES:
        return out
    return out.new_empty(shape)


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


aten = torch.ops.aten
_ANTIALIASED = {getattr(aten, name).default for name in _RESAMPLING if name.endswith("_aa") and hasattr(aten, name)}

_INPUT_SIZE_ARGUMENT = {
    getattr(torch.ops.aten, f"{name}_backward").default: 2
    for name in _RESAMPLING
    if hasattr(torch.ops.aten, f"{name}_backward")
}
"""The index of the argument that is the shape of an interpolation backward's result."""


def get_result(operator: Any, args: Sequence[Any]) -> Tensor | None:
    """Make the result of an operator whose kernels need integer sizes; None for any other operator."""
    if operator is aten.isin.Tensor_Tensor and any(map(symint_composites.is_symbolic, args[:2])):
        return torch.empty(args[0].shape, dtype=torch.bool, device=args[0].device)
    if operator is aten.affine_grid_generator.default and any(map(symint_composites.is_symbolic, args[:2])):
        batch, _, *space = args[1]
        return torch.empty([batch, *space, len(space)], dtype=args[0].dtype, device=args[0].device)
    if operator in _ANTIALIASED and symint_composites.is_symbolic(args[:2]):
        return torch.empty([*args[0].shape[:2], *args[1]], dtype=args[0].dtype, device=args[0].device)
    if operator is aten.select_backward.default and symint_composites.is_symbolic(args[:2]):
        # Autograd has the index as the integer of the traced sizes; see symint_indexing.
        return torch.empty(args[1], dtype=args[0].dtype, device=args[0].device)
    index = _INPUT_SIZE_ARGUMENT.get(operator)
    if index is None or not symint_composites.is_symbolic(args[1 : index + 1]):
        return None
    return torch.empty(args[index], dtype=args[0].dtype, device=args[0].device)


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
