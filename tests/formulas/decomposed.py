"""Calls of aten operators to compare with their reference decompositions: what PyTorch's own sample inputs lead to."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from oracle import copies, has_reference
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from opflops.pricing.registry import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

# The samples of a few operators are many hundreds.
_CALLS_OF_EACH, _SAMPLES_OF_EACH = 25, 40


class Call(NamedTuple):
    """An operator with the arguments of one call."""

    overload: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def named(self) -> SimpleNamespace:
        """Give the arguments by the names of the schema, defaults included."""
        arguments = self.overload._schema.arguments
        values = {argument.name: argument.default_value for argument in arguments}
        values.update(zip((argument.name for argument in arguments), self.args, strict=False))
        return SimpleNamespace(**values | self.kwargs)


class _Record(TorchDispatchMode):
    """Keep the calls of operators that a test wants, before they overwrite their arguments."""

    def __init__(self, wants: Callable[[Any], bool]) -> None:
        super().__init__()
        self.calls: dict[Any, dict[Any, Call]] = {}
        self._wants = wants

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._wants(func):
            calls = self.calls.setdefault(func, {})
            key = _signature((args, sorted(kwargs.items())))
            if len(calls) < _CALLS_OF_EACH and key not in calls and _is_floating_work((args, kwargs)):
                calls[key] = Call(func, tuple(copies(args)), dict(zip(kwargs, copies(kwargs.values()), strict=True)))
        return func(*args, **kwargs)


def _signature(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype
    return tuple(map(_signature, value)) if isinstance(value, (list, tuple)) else repr(value)


def _is_floating_work(arguments: Any) -> bool:
    tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
    return any(tensor.is_floating_point() for tensor in tensors)


def _samples(operators: Collection[str] | None) -> Iterator[tuple[Any, Any]]:
    for info in op_db:
        if operators is not None and info.name not in operators:
            continue
        if torch.float32 in info.supported_dtypes("cpu") and not info.name.startswith("jiterator"):
            samples = info.sample_inputs("cpu", torch.float32, requires_grad=info.supports_autograd)
            for _, sample in zip(range(_SAMPLES_OF_EACH), samples, strict=False):
                yield info, sample


def recorded_calls(*modules: str, operators: Collection[str] | None = None) -> list[Call]:
    """Run PyTorch's sample inputs forward and backward; returns the calls of what some formula files price.

    Only operators with a reference decomposition are kept, and of their calls those that differ in more than values.

    Args:
        *modules: The formula files, by their names below ``opflops.formulas``.
        operators: Whose samples to run, by their names in ``op_db``; by default those of all.
    """

    def wants(overload: Any) -> bool:
        rule = registry.get_rule(overload) if has_reference(overload) else None
        formula = rule and rule.formula
        return formula is not None and formula.__module__.removeprefix("opflops.formulas.") in modules

    record = _Record(wants)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of what PyTorch tests is deprecated
        for info, sample in _samples(operators):
            with record:
                result = info.op(sample.input, *sample.args, **sample.kwargs)
                graded = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.requires_grad]
                if info.supports_autograd and graded:
                    sum(leaf.abs().sum() for leaf in graded).backward()
    return [call for calls in record.calls.values() for call in calls.values()]
