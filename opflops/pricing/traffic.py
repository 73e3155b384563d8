"""Memory traffic of an operator taken alone, by one rule for all operators, from the arguments in its schema.

Each distinct element of each tensor argument is read once, and each output is written once. A view moves nothing. A
broadcast axis is read once, and so is what overlapping windows share. A tensor that is changed in place is read and
written. An ``out=`` argument is only written. The few operators that read less than their arguments declare it at
registration (``unread``, ``picked``).
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from opflops.errors import TooManyAddressesError, raised_by_signal_handler
from opflops.pricing.schemas import holds_tensors, is_single_tensor, names_in_schema, python_name
from opflops.records.addresses import address_bound, distinct_addresses
from opflops.torch_internals.dispatch import modes_disabled, schema_of
from opflops.torch_internals.size_arithmetic import distinct_elements
from opflops.torch_internals.tensor_layouts import sparse_coo_parts
from opflops.torch_internals.tracing import check_concrete_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opflops.pricing.schema_binding import PricingRule
    from opflops.torch_internals.dispatch import OpOverload


class TrafficTerm(NamedTuple):
    """Name an argument or a result whose bytes are read or written.

    Its ``str`` is a Python expression for those bytes.

    Attributes:
        name: The argument or result.
        single: True if, by the schema, it is one tensor or None.
        picked: True if only as many of its elements are read as the operator returns.
    """

    name: str
    single: bool
    picked: bool = False

    def __str__(self) -> str:
        return f"_picked_bytes({self.name}, _out)" if self.picked else f"_stored_bytes({self.name})"


def traffic_terms(rule: PricingRule, overload: OpOverload) -> tuple[list[TrafficTerm], list[TrafficTerm]]:
    """List what an operator reads and what it writes."""
    schema = schema_of(overload)
    view = any(returned.alias_info and not returned.alias_info.is_write for returned in schema.returns)
    if view or rule.no_traffic:
        return [], []
    unread, picked = names_in_schema(rule.unread, overload), names_in_schema(rule.picked, overload)
    read, written = [], []
    for argument in schema.arguments:
        if not holds_tensors(argument):
            continue
        name, single = python_name(argument.name), is_single_tensor(argument)
        if argument.alias_info and argument.alias_info.is_write:
            written.append(TrafficTerm(name, single=single))
        if argument.is_out or argument.name in unread:
            continue
        read.append(TrafficTerm(name, single=single, picked=argument.name in picked))
    new = [index for index, returned in enumerate(schema.returns) if not returned.alias_info]
    if len(new) == len(schema.returns):
        written.append(TrafficTerm("_out", single=len(new) == 1 and is_single_tensor(schema.returns[0])))
    else:
        written.extend(TrafficTerm(f"_out[{index}]", single=is_single_tensor(schema.returns[index])) for index in new)
    return read, written


# A sparse tensor is stored as several dense ones.


def _compressed_rows(tensor: Tensor) -> tuple[Tensor, ...]:
    with modes_disabled():
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()


def _compressed_columns(tensor: Tensor) -> tuple[Tensor, ...]:
    with modes_disabled():
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()


_SPARSE_PARTS: dict[torch.layout, Callable[[Tensor], tuple[Tensor, ...]]] = {
    torch.sparse_coo: sparse_coo_parts,
    torch.sparse_csr: _compressed_rows,
    torch.sparse_bsr: _compressed_rows,
    torch.sparse_csc: _compressed_columns,
    torch.sparse_bsc: _compressed_columns,
}


_STRIDED = torch.strided
EXACT_TENSOR_TYPES = frozenset({Tensor, torch.nn.Parameter})
"""The tensor classes whose ``nbytes`` and strides can be trusted; a subclass may override them."""


def stored_bytes(value: Any) -> int:
    """Return the bytes of a tensor's distinct stored elements, or of all tensors in a list; 0 for other values."""
    # Of symbolic sizes nothing else tells without a guard.
    if type(value) in EXACT_TENSOR_TYPES and value.layout is _STRIDED and not value._has_symbolic_sizes_strides:  # noqa: SLF001
        # The usual case. nbytes takes one call, but cannot be symbolic.
        size: int = value.nbytes if value.is_contiguous() else scattered_bytes(value)
        return size
    if isinstance(value, Tensor):
        layout = value.layout  # a property in Python, if the tensor is a fake one
        if layout in _SPARSE_PARTS:
            return sum(stored_bytes(part) for part in _SPARSE_PARTS[layout](value))
        # Asking whether a tensor of symbolic sizes is contiguous could add a guard.
        elements = value.numel()
        dense = layout is not _STRIDED or (type(elements) is int and value.is_contiguous())
        return (elements if dense else _distinct_elements(value)) * value.itemsize
    if isinstance(value, (list, tuple)):
        return sum([stored_bytes(item) for item in value])
    return 0


def concrete_bytes(value: Any) -> int:
    """As :func:`stored_bytes`, for tensors whose sizes are integers.

    Raises:
        SymbolicSizeError: A size is a symbol.
    """
    if type(value) in EXACT_TENSOR_TYPES and value.layout is _STRIDED:
        size: int = value.nbytes if value.is_contiguous() else scattered_bytes(value)
        return size
    if isinstance(value, (list, tuple)):
        return sum([concrete_bytes(item) for item in value])
    if isinstance(value, Tensor):
        check_concrete_sizes(value)
    return stored_bytes(value)


def concrete_picked_bytes(source: Any, out: Any) -> int:
    """As :func:`picked_bytes`, for tensors whose sizes are integers; raises as :func:`concrete_bytes` does."""
    for value in (source, out):
        if isinstance(value, Tensor):
            check_concrete_sizes(value)
    return picked_bytes(source, out)


def picked_bytes(source: Any, out: Any) -> int:
    """Return the bytes that a gather reads of its source: one element for each element of the result."""
    return out.numel() * source.itemsize if isinstance(out, Tensor) else stored_bytes(source)


def first_elements(out: Any) -> Any:
    """Return the elements of a result, or of the first of several; 0 if that is no tensor."""
    first = out[0] if isinstance(out, (list, tuple)) and out else out
    if not isinstance(first, Tensor):
        return 0
    if first.layout is torch.jagged:
        with modes_disabled():
            return first.values().numel()
    return first.numel()


def scattered_bytes(tensor: Tensor) -> int:
    """Return the bytes of the distinct stored elements of a non-contiguous tensor whose sizes are integers.

    Raises:
        TooManyAddressesError: The elements overlap in too many places to count them; see :func:`address_bounds`.
    """
    if tensor.layout is not _STRIDED:
        return stored_bytes(tensor)
    try:
        strides = tensor.stride()
    except RuntimeError as error:
        if raised_by_signal_handler(error):
            raise
        # A nested tensor has no strides.
        return tensor.numel() * tensor.itemsize
    shape = tensor.shape
    if strides == (1, shape[0]):
        # A transposed matrix, such as the weight that a linear layer passes to mm.
        size: int = tensor.nbytes
        return size
    if _bounded.active:
        return _distinct_elements(tensor) * tensor.itemsize
    return distinct_addresses(shape, strides) * tensor.itemsize


def _distinct_elements(tensor: Tensor) -> int:
    """Count the elements of a strided tensor that lie at different addresses."""
    count = tensor.numel()
    if tensor.is_nested or (type(count) is int and count == 0):
        return count
    sizes, strides = tensor.shape, tensor.stride()
    concrete = all(type(size) is int for size in (*sizes, *strides))
    try:
        return distinct_addresses(sizes, strides) if concrete else distinct_elements(sizes, strides)
    except TooManyAddressesError:
        if not _bounded.active:
            raise
        return address_bound(sizes, strides) if concrete else distinct_elements(sizes, strides, bound=True)


class _Bounded(threading.local):
    active = False


_bounded = _Bounded()
BOUND_REASON = "bytes are an upper bound, since elements overlap in too many places to count the distinct ones"


@contextmanager
def address_bounds() -> Iterator[None]:
    """Return an upper bound, in this thread, where the distinct elements are too many to count.

    Without it, :class:`opflops.errors.TooManyAddressesError` is raised. Say :data:`BOUND_REASON` of such a count.
    """
    # An interruption can come at each line, so all are inside.
    try:
        _bounded.active = True
        yield
        _bounded.active = False
    except BaseException:
        _bounded.active = False
        raise
