"""Hooks for operators, which state what each call of an operator counts as."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

from opflops.compat.model_calls import CountedCall
from opflops.mode import OpFlopMode
from opflops.pricing.op_pricing import OpPricing, op_name
from opflops.pricing.registry import Registry, registry
from opflops.pricing.schemas import overloads_of
from opflops.records.cost import Cost
from opflops.torch_internals.composite_kernels import may_decompose_in_autograd
from opflops.torch_internals.dispatch import OpOverload, packet_of
from opflops.torch_internals.modules import class_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from opflops.records.rows import Row

    OperatorHook = Callable[[tuple[Any, ...], tuple[Any, ...]], Any]

_UNIT = 2**1074
"""Every floating-point number is a whole multiple of 1 / _UNIT, and costs are whole numbers."""


class HookFormulas(Registry):
    """Price some operators by hooks, and all others as usual.

    What a hook states is kept as ``ops`` in parts of :data:`_UNIT`, and what is below 0 as ``transcendentals``.

    Args:
        hooks: The hooks by packet, which take the positional arguments of a call and a tuple of its results.

    Attributes:
        failure: What a hook raised last, or None.
    """

    def __init__(self, hooks: Mapping[Any, OperatorHook]) -> None:
        super().__init__(parent=registry)
        self.failure: Exception | None = None
        self._hooks = dict(hooks)

    def resolve(self, overload: Any, mode_options: Mapping[str, Any]) -> OpPricing:
        """Find how an operator is priced: by the hook of its packet, else as usual."""
        hook = self._hooks.get(packet_of(overload)) if isinstance(overload, OpOverload) else None
        if hook is None:
            return registry.price_cache(mode_options)[overload]
        return OpPricing(op_name(overload), "formula", pricer=partial(self._charge, hook))

    def added_composites(self) -> set[OpOverload]:
        """Return the operators that decompose and have a hook or a formula."""
        own = {each for packet in self._hooks for each in overloads_of(packet) if may_decompose_in_autograd(each)}
        return super().added_composites() | own

    def _charge(self, hook: OperatorHook, out: Any, /, *args: Any, **_: Any) -> tuple[Cost, int, int, None]:
        # What failed on nested tensors is not tried again on their components.
        if self.failure is None:
            try:
                return _in_units(hook(args, out if isinstance(out, tuple) else (out,))), 0, 0, None
            except Exception as error:  # noqa: BLE001 - raised below
                self.failure = error
        raise self.failure


def _in_units(value: Any) -> Cost:
    # As the sum that ptflops makes of it: neither None nor a text is a number.
    value = 0 + value
    units = int(Fraction(value if isinstance(value, int) else float(value)) * _UNIT)
    # No part of a cost is less than 0.
    return Cost(ops=max(units, 0), transcendentals=max(-units, 0))


def hooked_figure(row: Row) -> float:
    """Return what the hook of an operator stated for the calls of a row."""
    figure = Fraction(row.cost.ops - row.cost.transcendentals, _UNIT)
    return int(figure) if figure.denominator == 1 else float(figure)


class _HookedMode(OpFlopMode):
    """Count as opflops does, except that what a hook raises is raised where the operator runs."""

    def __init__(self, model: nn.Module, formulas: HookFormulas) -> None:
        super().__init__(root=model, threads=True)
        self._formulas = formulas
        self.prices = formulas.price_cache({"causal": self.causal})
        self.prices.subscribe(self)

    def report_unpriced(self, op: str, problem: str, advice: str = "") -> None:
        """Raise what a hook raised; else warn about the operator."""
        self.raise_failure()
        super().report_unpriced(op, problem, advice)

    def raise_failure(self) -> None:
        """Raise what a hook raised, once."""
        failure, self._formulas.failure = self._formulas.failure, None
        if failure is not None:
            raise failure


def count_hooked_call(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], hooks: Mapping[Any, OperatorHook]
) -> CountedCall:
    """Call a model and count it, with the modules that other threads call, by hooks for some operators.

    Raises:
        Exception: Whatever the model or a hook raises.
    """
    # The class of a model may change in its first call.
    root = class_name(model)
    mode = _HookedMode(model, HookFormulas(hooks))
    with mode:
        output = model(*args, **kwargs)
    mode.raise_failure()
    return CountedCall(mode.profile, output, root)
