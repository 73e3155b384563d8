"""A second opinion: what PyTorch's own reference decomposition of an operator computes, counted without opflops.

The decomposition runs under a dispatch mode of its own, which takes it apart down to the operators that the tables
below price by hand. ``excess`` is what opflops counts beyond that; a test names every excess and says why it is there.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch._refs  # the references enter themselves into the table of decompositions
from torch import Tensor
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode

from opflops.pricing.registry import registry

if TYPE_CHECKING:
    from collections.abc import Iterable

aten = torch.ops.aten


class Work(NamedTuple):
    """Operations and transcendental functions."""

    ops: int
    transcendentals: int = 0


# One operation for each element that comes out.
_OPERATION = """
prims.abs prims.add prims.bitwise_and prims.bitwise_not prims.bitwise_or prims.bitwise_xor prims.ceil prims.div
prims.eq prims.floor prims.fmax prims.fmin prims.ge prims.gt prims.le prims.lt prims.maximum prims.minimum prims.mul
prims.ne prims.neg prims.reciprocal prims.round prims.shift_left prims.shift_right_arithmetic prims.sign prims.signbit
prims.sub prims.trunc
"""

# One transcendental function for each element that comes out.
_TRANSCENDENTAL = """
prims.acos prims.acosh prims.asin prims.asinh prims.atan prims.atan2 prims.atanh prims.cos prims.cosh prims.digamma
prims.erf prims.erf_inv prims.erfc prims.exp prims.exp2 prims.expm1 prims.lgamma prims.log prims.log10 prims.log1p
prims.log2 prims.pow prims.rsqrt prims.sin prims.sinh prims.sqrt prims.tan prims.tanh
"""

# One operation for each element that goes in, but for the first of each result; more for a variance.
_FOLD = "prims.sum prims.prod prims.amax prims.amin prims.var"

# What only moves, makes, selects or converts, or draws random numbers.
_FREE = """
prims.broadcast_in_dim prims.cat prims.collapse_view prims.convert_element_type prims.copy_to prims.empty_strided
prims.iota prims.scalar_tensor prims.split_dim prims.squeeze prims.transpose prims.view_of prims.where aten._to_copy
aten.alias aten.as_strided aten.clone aten.copy_ aten.empty aten.empty_like aten.full aten.full_like aten.gather
aten.new_empty aten.new_full aten.new_zeros aten.rand_like aten.scalar_tensor aten.scatter aten.view aten.zeros_like
"""

# A remainder is x - y * f(x / y), as torch documents it.
_OPERATIONS = dict.fromkeys(_OPERATION.split(), 1) | {"prims.fmod": 4, "prims.remainder": 4}
_TRANSCENDENTALS, _FOLDS = set(_TRANSCENDENTAL.split()), set(_FOLD.split())
_BOUNDS = ("aten.clamp", "aten.clamp_min", "aten.clamp_max")


def _work(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Work:
    """Price one of the operators that the tables know."""
    elements, results = args[0].numel() if name in _FOLDS else 0, out.numel()
    if name in _OPERATIONS:
        work = Work(_OPERATIONS[name] * results)
    elif name in _TRANSCENDENTALS:
        work = Work(0, results)
    elif name == "prims.hypot":
        work = Work(3 * results, results)
    elif name in _BOUNDS:
        # Its own decomposition also asks of each element whether it is NaN.
        work = Work(results * sum(bound is not None for bound in [*args[1:], *kwargs.values()]))
    elif name == "prims.var":
        # A mean (n - 1 adds, a division); then n differences, n squares, n - 1 adds and a division for each result.
        work = Work((elements - results) + results + 2 * elements + (elements - results) + results)
    elif name in _FOLDS:
        work = Work(max(elements - results, 0))
    else:
        work = Work(0)
    return work


_PRICED = set(_FREE.split()) | set(_OPERATIONS) | _TRANSCENDENTALS | _FOLDS | {*_BOUNDS, "prims.hypot"}


def _is_floating(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    return [value for value in values if isinstance(value, Tensor)]


class _Reference(TorchDispatchMode):
    """Add up the work of a decomposition.

    Index arithmetic inside a floating-point operator, and logic that joins comparisons, are not its arithmetic.
    """

    def __init__(self, *, floating: bool) -> None:
        super().__init__()
        self.ops = self.transcendentals = 0
        self._floating = floating

    def _counts(self, tensors: list[Tensor]) -> bool:
        if self._floating:
            return any(map(_is_floating, tensors))
        return any(tensor.dtype is not torch.bool for tensor in tensors)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(func._overloadpacket)
        if name not in _PRICED:
            with self:
                return _reference_of(func)(*args, **kwargs)
        out = func(*args, **kwargs)
        work = _work(name, args, kwargs, out)
        if self._counts(_tensors([*args, *kwargs.values()])):
            self.ops += work.ops
            self.transcendentals += work.transcendentals
        return out


def _reference_of(overload: Any) -> Any:
    if overload in decomposition_table:
        return decomposition_table[overload]
    if torch._C._dispatch_has_kernel_for_dispatch_key(overload.name(), "CompositeImplicitAutograd"):
        return overload.decompose
    raise NotImplementedError(f"The oracle has no price for {overload}, and PyTorch no decomposition.")


def has_reference(overload: Any) -> bool:
    """Tell whether PyTorch gives the operator a decomposition to compare with."""
    return overload in decomposition_table


def reference(overload: Any, *args: Any, **kwargs: Any) -> tuple[Work, Any]:
    """Run an operator's reference decomposition; returns the work that it takes and the result."""
    tensors = _tensors([*args, *kwargs.values()])
    with _Reference(floating=any(map(_is_floating, tensors))) as mode:
        out = _reference_of(overload)(*args, **kwargs)
    return Work(mode.ops, mode.transcendentals), out


def copies(values: Iterable[Any], device: str = "cpu") -> list[Any]:
    """Copy the tensors among some arguments, so that a call may overwrite them."""
    return [value.clone().to(device) if isinstance(value, Tensor) else value for value in values]


def priced(overload: Any, *args: Any, device: str = "cpu", **kwargs: Any) -> tuple[Any, Any]:
    """Run an operator on copies of its arguments; returns what opflops charges for the call, and the result."""
    args = tuple(copies(args, device))
    kwargs = dict(zip(kwargs, copies(kwargs.values(), device), strict=True))
    price = registry.resolve(overload, {"causal": "dense"})
    assert price.verdict in ("formula", "zero")
    out = overload(*args, **kwargs)
    return price.charge(out, args, kwargs)[0], out


def excess(overload: Any, *args: Any, device: str = "cpu", compare: bool = True, **kwargs: Any) -> Work:
    """Tell what opflops counts beyond the reference decomposition, which must compute the same as the operator.

    Args:
        overload: The operator.
        *args: Its arguments.
        device: Where both run; "meta" for an operator that has no CPU kernel.
        compare: Whether to compare results: not those of a random operator, nor of one that only runs on meta.
        **kwargs: Its keyword arguments.
    """
    cost, out = priced(overload, *args, device=device, **kwargs)
    keywords = dict(zip(kwargs, copies(kwargs.values(), device), strict=True))
    work, expected = reference(overload, *copies(args, device), **keywords)
    if compare and device == "cpu":
        torch.testing.assert_close(_flat(out), _flat(expected), equal_nan=True)
    assert cost.macs == 0
    return Work(cost.ops - work.ops, cost.transcendentals - work.transcendentals)


def _flat(out: Any) -> list[Tensor]:
    """List the results that hold anything; an operator may answer with an empty buffer where its reference has one."""
    found = out if isinstance(out, (tuple, list)) else [out]
    return [tensor for tensor in found if tensor is not None and tensor.numel()]


def overloads_priced_by(*modules: str) -> list[Any]:
    """List the overloads that the formula files of these names register, without in-place and ``out=`` ones."""
    return [
        overload
        for overload, rule in registry.rules.items()
        if rule.formula is not None
        and rule.formula.__module__.removeprefix("opflops.formulas.") in modules
        and not any(each.alias_info and each.alias_info.is_write for each in overload._schema.arguments)
    ]


# Values under which no factor of a definition is 1, so that each of its operations is there to be counted.
_SCALARS = {"alpha": 7, "beta": 2, "decimals": 1, "input_scale": 5, "max": 0.9, "p": 0.5, "scale": 3, "threshold": 20}
_OTHERS = {"str": "none", "Optional[str]": "floor", "bool": True, "Optional[bool]": True}


def sample(overload: Any, shape: tuple[int, ...] = (2, 3)) -> tuple[list[Any], dict[str, Any]]:
    """Make arguments for an element-wise operator from its schema; ``shape`` is that of its result."""
    name = overload._schema.name.removeprefix("aten::")
    whole = name.startswith(("bitwise", "__"))

    def value(argument: Any) -> Any:
        kind = str(argument.type)
        if "Tensor" in kind:
            size = (*shape[:-1], 2 * shape[-1]) if name.startswith("glu") and argument.name == "self" else shape
            if whole:
                return torch.randint(1, 5, size)
            drawn = torch.rand(size) * 0.5 + 0.25
            return drawn > 0.5 if argument.name == "mask" else drawn
        if argument.name == "dim":
            return -1
        return _OTHERS.get(kind, 2 if whole else _SCALARS.get(argument.name, 0.5))

    # The references of add and sub take alpha by name alone.
    by_name = {"alpha"} if name in ("add", "sub", "rsub") else set()
    positional, named = [], {}
    for each in overload._schema.arguments:
        if each.kwarg_only or each.name in by_name:
            named[each.name] = value(each)
        else:
            positional.append(value(each))
    return positional, named


class Number:
    """A number that counts what is done with it, for definitions written out as scalar loops."""

    __slots__ = ("counts", "value")

    def __init__(self, value: float, counts: list[int]) -> None:
        self.value = value
        self.counts = counts

    def _operation(self, value: float) -> Number:
        self.counts[0] += 1
        return Number(value, self.counts)

    def _function(self, value: float) -> Number:
        self.counts[1] += 1
        return Number(value, self.counts)

    def __add__(self, other: Number | float) -> Number:
        return self._operation(self.value + _value(other))

    def __sub__(self, other: Number | float) -> Number:
        return self._operation(self.value - _value(other))

    def __rsub__(self, other: float) -> Number:
        return self._operation(other - self.value)

    def __mul__(self, other: Number | float) -> Number:
        return self._operation(self.value * _value(other))

    def __truediv__(self, other: Number | float) -> Number:
        return self._operation(self.value / _value(other))

    def __neg__(self) -> Number:
        return self._operation(-self.value)

    def __abs__(self) -> Number:
        return self._operation(abs(self.value))

    def larger(self, other: Number | float) -> Number:
        return self._operation(max(self.value, _value(other)))

    def smaller(self, other: Number | float) -> Number:
        return self._operation(min(self.value, _value(other)))

    def is_below(self, other: float) -> bool:
        self.counts[0] += 1
        return self.value < other

    def is_not(self, other: float) -> Number:
        return self._operation(float(self.value != other))

    def exp(self) -> Number:
        return self._function(math.exp(self.value))

    def log1p(self) -> Number:
        return self._function(math.log1p(self.value))

    def log(self) -> Number:
        return self._function(math.log(self.value))

    def power(self, exponent: float) -> Number:
        return self._function(self.value**exponent)

    def root(self) -> Number:
        return self._function(math.sqrt(self.value))

    def inverse_root(self) -> Number:
        return self._function(1 / math.sqrt(self.value))


def _value(number: Number | float) -> float:
    return number.value if isinstance(number, Number) else number


def total(numbers: list[Number]) -> Number:
    """Add numbers up, beginning with the first."""
    return functools.reduce(lambda sum_so_far, number: sum_so_far + number, numbers)


def numbers_of(tensor: Tensor, counts: list[int]) -> Any:
    """Turn a tensor into nested lists of counting numbers."""
    if tensor.dim() == 0:
        return Number(tensor.item(), counts)
    return [numbers_of(part, counts) for part in tensor]


def by_hand(definition: Any, *tensors: Tensor | None, **options: Any) -> tuple[Work, Tensor]:
    """Run a definition on counting numbers; returns the work that it took and the result as a tensor.

    The result is a number or nested lists of them; what holds several results is flattened.
    """
    counts = [0, 0]
    arguments = [None if tensor is None else numbers_of(tensor.double(), counts) for tensor in tensors]
    result = definition(*arguments, **options)
    return Work(*counts), torch.tensor(_plain(result), dtype=torch.float64)


def _plain(result: Any) -> Any:
    return [_plain(item) for item in result] if isinstance(result, list) else _value(result)
