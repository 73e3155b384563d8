"""Operators on tensor subclasses: count what the subclass runs in place of the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.attribution.module_stack import HasModuleStack
from opflops.errors import FormulaFailedError
from opflops.pricing.op_pricing import OpPricing
from opflops.pricing.schemas import returns_new_tensors
from opflops.torch_internals.dispatch import DispatchMode, OpOverload
from opflops.torch_internals.distributed_tensors import are_distributed
from opflops.torch_internals.tracing import untraced

if TYPE_CHECKING:
    from opflops.dispatch.recording_mode import RecordingMode


class _SubclassObserver(HasModuleStack, DispatchMode):
    """Pass operators to the mode that counts, and note whether any came.

    Attributes:
        saw_operator: True once an operator came.
    """

    supports_higher_order_operators = True

    def __init__(self, mode: RecordingMode) -> None:
        super().__init__()
        self.saw_operator = False
        self.module_stack = mode.module_stack
        self._mode = mode

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Pass an operator on."""
        self.saw_operator = True
        return self._mode.__torch_dispatch__(func, types, args, kwargs)


def run_on_subclass(mode: RecordingMode, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Let the tensor subclasses of an operator's arguments run it, and count the operators that they run.

    If they run none, they compute where PyTorch's dispatcher does not see it. Then the operator itself is counted, as
    an estimate. Distributed tensors compute nothing else than what they run on this rank's tensors.

    Returns:
        The result, or NotImplemented if no subclass can run the operator, as the dispatcher expects of a mode.
    """
    if not isinstance(func, OpOverload) or are_distributed(types):
        # Then the dispatcher lets the subclasses run it, under the modes. The method of distributed tensors would call
        # the operator again.
        return NotImplemented
    observer = _SubclassObserver(mode)
    with observer:
        # In the dispatcher's order.
        for cls in types:
            out = mode.timed(cls.__torch_dispatch__)(func, types, args, kwargs)
            if out is not NotImplemented:
                break
        else:
            return NotImplemented
    if not observer.saw_operator:
        _record_outer(mode, func, types, args, kwargs, out)
    if mode.clock is not None:
        mode.clock.forget()
    return out


def _record_outer(
    mode: RecordingMode, func: OpOverload, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
) -> None:
    """Record an operator that no other operator was seen for, unless it does no arithmetic."""
    pricing = mode.prices[func]
    if pricing.verdict == "decomposes":
        # A composite that returns views, such as reshape, does no arithmetic.
        if not returns_new_tensors(func):
            return
        pricing = OpPricing(pricing.op, "unpriced")
    classes = ", ".join(cls.__name__ for cls in types)
    if pricing.verdict == "unpriced":
        mode.report_unpriced(pricing.op, f"is computed by {classes} in its own way")
    elif not pricing.recorded or not _may_do_arithmetic(pricing, out, args, kwargs):
        return
    mode.record(pricing, args, kwargs, out, f"{classes} computes it where PyTorch's dispatcher does not see it")


def _may_do_arithmetic(pricing: OpPricing, out: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether an operator did arithmetic; if its formula cannot tell, it may have."""
    with untraced((out, args, kwargs)) as (given, _):
        try:
            return any(pricing.price_call(*given)[:3])
        except FormulaFailedError:
            return True
