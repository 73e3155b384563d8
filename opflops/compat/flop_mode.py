"""The dispatch mode of a ``FlopCounterMode``: opflops' own, with formulas of FLOPs in place of some of its prices."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch.utils._pytree import tree_leaves

from opflops.compat.module_names import CallChains
from opflops.errors import FormulaError
from opflops.mode import OpFlopMode
from opflops.pricing.dtypes import arithmetic_dtype
from opflops.pricing.op_pricing import OpPricing, op_name
from opflops.pricing.registry import Registry, registry
from opflops.pricing.schema_binding import PricingRule, compile_pricer
from opflops.pricing.schemas import overloads_of
from opflops.pricing.traffic import stored_bytes
from opflops.records.cost import Cost, is_whole
from opflops.records.rows import merge
from opflops.torch_internals.composite_kernels import hidden_by, may_decompose_in_autograd
from opflops.torch_internals.dispatch import HigherOrderOperator, OpOverload, OpOverloadPacket, packet_of
from opflops.torch_internals.triton_kernels import kernel_function, kernel_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opflops.attribution.module_context import ModuleContext
    from opflops.pricing.op_pricing import Charge
    from opflops.profile.profile import Profile

    FlopFormula = Callable[..., Any]


def kernel_name(kernel: Any) -> str:
    """Return the name of a Triton kernel in rows."""
    return f"triton.{kernel_function(kernel).__name__}"


class FlopFormulas(Registry):
    """Price some operators by formulas of FLOPs, which are given the operator's own arguments, and all others as usual.

    FLOPs are kept as ``ops``.

    Args:
        formulas: The formulas by packet, higher-order operator or Triton kernel.

    Attributes:
        flop_formulas: As given.
        failure: What a formula raised last.

    Raises:
        FormulaError: A formula would never apply.
    """

    def __init__(self, formulas: Mapping[Any, FlopFormula]) -> None:
        super().__init__(parent=registry)
        self.failure: Exception | None = None
        self.flop_formulas = dict(formulas)
        self._kernels: dict[str, PricingRule] = {}
        for target, formula in formulas.items():
            if not isinstance(target, (OpOverloadPacket, HigherOrderOperator)):
                name = kernel_name(target).replace(".", "::")
                self._kernels[name] = PricingRule(self._kernel_formula(target, formula))
            elif isinstance(target, OpOverloadPacket):
                _check_applies(target)

    @property
    def row_names(self) -> set[str]:
        """Return the names in rows of what the formulas price."""
        return {row_name(target) for target in self.flop_formulas}

    def resolve(self, overload: Any, mode_options: Mapping[str, Any]) -> OpPricing:
        """Find how an operator is priced: by its formula here, else as usual."""
        is_operator = isinstance(overload, OpOverload)
        formula = self.flop_formulas.get(packet_of(overload) if is_operator else overload)
        if formula is None:
            # Compiled once for all.
            return registry.price_cache(mode_options)[overload]
        if not is_operator:
            return OpPricing(op_name(overload), "formula", pricer=partial(self._charge, formula, _traffic_of_any))
        compile_traffic = partial(compile_pricer, PricingRule(None), overload, mode_options)
        pricer = partial(self._charge, formula, compile_traffic())
        return OpPricing(op_name(overload), "formula", pricer=pricer, compile_traffic=compile_traffic)

    def get_rule_by_name(self, name: str) -> PricingRule | None:
        """Return the rule of a Triton kernel."""
        return self._kernels.get(name) or super().get_rule_by_name(name)

    def added_composites(self) -> set[OpOverload]:
        """Return the operators that decompose and have a formula, here or as usual."""
        packets = [target for target in self.flop_formulas if isinstance(target, OpOverloadPacket)]
        own = {each for packet in packets for each in overloads_of(packet) if may_decompose_in_autograd(each)}
        return super().added_composites() | own

    def _charge(
        self, formula: FlopFormula, traffic: Callable[..., Charge], out: Any, /, *args: Any, **kwargs: Any
    ) -> Charge:
        _, read, written, dtype = traffic(out, *args, **kwargs)
        return self._call(formula, *args, **kwargs, out_val=out), read, written, dtype

    def _call(self, formula: FlopFormula, /, *args: Any, **kwargs: Any) -> Cost:
        try:
            return Cost(ops=_whole(formula, formula(*args, **kwargs)))
        except Exception as error:
            self.failure = error
            raise

    def _kernel_formula(self, kernel: Any, formula: FlopFormula) -> Callable[..., Cost]:
        def price(**arguments: Any) -> Cost:
            return self._call(formula, kwargs=arguments, out_val=None)

        names = kernel_parameters(kernel)
        parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
        vars(price)["__signature__"] = inspect.Signature(parameters)
        return price


def row_name(target: Any) -> str:
    """Name a packet, a higher-order operator or a Triton kernel as rows do."""
    if isinstance(target, OpOverloadPacket):
        return str(target).replace("::", ".")
    return op_name(target) if isinstance(target, HigherOrderOperator) else kernel_name(target)


def _check_applies(packet: OpOverloadPacket) -> None:
    hidden = [hidden_by(each) for each in overloads_of(packet)]
    if hidden and all(hidden):
        raise FormulaError(
            f"A formula for {packet} would never apply: PyTorch runs its kernel for {hidden[0]} before a counter sees "
            "the operator. Give formulas to the operators that this kernel calls."
        )


def _traffic_of_any(out: Any, /, *args: Any, **kwargs: Any) -> Charge:
    given = tree_leaves((args, kwargs))
    return Cost(), stored_bytes(given), stored_bytes(tree_leaves(out)), arithmetic_dtype(out, *given)


def _whole(formula: FlopFormula, flops: Any) -> Any:
    """Return FLOPs as a whole number.

    Raises:
        FormulaError: They are none, or less than 0.
    """
    if isinstance(flops, float) and flops.is_integer():
        flops = int(flops)
    if isinstance(flops, (str, bytes, type(None))) or not is_whole(flops) or (type(flops) is int and flops < 0):
        name = getattr(formula, "__name__", None) or repr(formula)
        raise FormulaError(f"The formula {name} returned {flops!r}. FLOPs are whole numbers from 0; divide with //.")
    return flops


class CountingMode(OpFlopMode):
    """Count as opflops does, except that what a formula of FLOPs raises is raised where the operator runs.

    What a module does is kept apart by all of its callers.

    Args:
        formulas: The formulas.
    """

    module_stack_class = CallChains

    def __init__(self, formulas: FlopFormulas) -> None:
        super().__init__()
        self.formulas = formulas
        if formulas.row_names:
            self.prices = formulas.price_cache({"causal": self.causal})
            self.prices.subscribe(self)

    def report_unpriced(self, op: str, problem: str, advice: str = "") -> None:
        """Raise what a formula raised; else warn about the operator."""
        failure, self.formulas.failure = self.formulas.failure, None
        if failure is not None:
            raise failure
        super().report_unpriced(op, problem, advice)

    def flops_of_modules(self) -> Iterator[tuple[ModuleContext, str, Any]]:
        """Yield modules, each with an operator and its FLOPs: by its formula, or two for each multiply-accumulate."""
        by_formula = self.formulas.row_names
        for accumulator in self.accumulators:
            cost = accumulator.cost()
            flops = 2 * cost.macs
            if accumulator.op in by_formula:
                # Accumulators hold real operations, which are two for each complex one.
                is_complex = accumulator.dtype is not None and accumulator.dtype.is_complex
                flops = cost.ops // 2 if is_complex else cost.ops
            yield accumulator.context, accumulator.op, flops

    def _snapshot(self) -> Profile:
        profile = super()._snapshot()
        # Calls that differ in a caller of a caller have the same row.
        return replace(profile, rows=merge(profile.rows))
