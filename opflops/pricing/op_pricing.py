"""How one operator is priced, and the cost of a call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from opflops.errors import FormulaFailedError, TooManyAddressesError, raised_by_signal_handler
from opflops.pricing.accumulators import Accumulator
from opflops.pricing.dtypes import arithmetic_dtype
from opflops.pricing.formula_results import estimated_cost, name_formula, whole_counts
from opflops.pricing.nested_calls import calls_by_component, sum_costs
from opflops.pricing.traffic import BOUND_REASON, address_bounds
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import OpOverload, schema_of
from opflops.torch_internals.tensor_layouts import is_strided_nested, nested_components

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    CallCounts = tuple[int, int, int, int, int, int, torch.dtype | None, str]
    Charge = tuple[Cost | Estimate, int, int, torch.dtype | None]

Verdict = Literal["formula", "zero", "decomposes", "unpriced"]

# A complex multiply-accumulate is four real ones, and a complex add is two real adds. Formulas count a complex multiply
# as three operations, which makes its six real ones (four multiplies, two adds).
_REAL_MACS, _REAL_OPS = 4, 2
_COMPLEX = frozenset(dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype) and dtype.is_complex)


def op_name(overload: Any) -> str:
    """Name an operator as rows do: namespace and packet, without the overload (``aten.add_``)."""
    if isinstance(overload, OpOverload):
        return str(schema_of(overload).name).replace("::", ".")
    return f"{getattr(overload, 'namespace', 'higher_order')}.{overload.name()}"


@dataclass(slots=True, eq=False)
class OpPricing:
    """State how one overload is priced.

    Attributes:
        op: The operator's name in rows.
        verdict: How it is priced.
        recorded: False for operators that only query metadata; they get no row.
        pricer: The function of :func:`opflops.pricing.schema_binding.compile_pricer`; None if nothing can be computed.
        compile_recorder: Compiles the function of :func:`opflops.pricing.fast_path.compile_recorder`; None if the
            operator has no rule.
        call: A function that runs the overload.
        compile_traffic: Compiles a pricer that finds the same bytes and dtype, and no arithmetic; None if none can.
        group_of: Names the process group of a call as rows do, from the arguments; None if the operator has none.
        formula: The formula, if what it returns is checked at each call; else None.
        record: The function that was compiled; None before.
        fast_path: True if the operator has a formula or is a declared zero, and gets a row, as most do.
    """

    op: str
    verdict: Verdict
    recorded: bool = True
    pricer: Callable[..., Charge] | None = None
    compile_recorder: Callable[[], Callable[..., Any]] | None = None
    call: Callable[..., Any] | None = None
    compile_traffic: Callable[[], Callable[..., Charge]] | None = None
    group_of: Callable[[tuple[Any, ...], dict[str, Any]], str] | None = None
    formula: Callable[..., Any] | None = None
    fast_path: bool = field(init=False)
    record: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.fast_path = self.recorded and self.pricer is not None and self.verdict in ("formula", "zero")

    def accumulator(self, context: Any, phase: str) -> Accumulator | None:
        """Return a new accumulator for calls on the fast path, or None if the operator has no rule."""
        if self.record is None:
            if self.compile_recorder is None:
                return None
            self.record = self.compile_recorder()
        return Accumulator(context, phase, self.op, self)

    def charge(self, out: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Cost, torch.dtype | None, str]:
        """Price one call that has run, as :meth:`price_call` does, and return its counts as a cost."""
        *counts, dtype, reason = self.price_call(out, args, kwargs)
        return Cost(*counts), dtype, reason

    def price_call(self, out: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallCounts:
        """Price one call that has run, as a bare tuple, since this runs for every call that is not on the fast path.

        Args:
            out: What the operator returned.
            args: Its positional arguments, as the dispatcher passed them.
            kwargs: Its keyword arguments.

        Returns:
            The fields of a cost in order, in real operations; the dtype that they ran in; why they are an estimate,
            or "".

        Raises:
            FormulaFailedError: The formula raised.
            FormulaError: The formula did not return a :class:`Cost` or an :class:`Estimate`, or one with other counts
                than whole numbers from 0 up.
        """
        if self.pricer is None:
            return 0, 0, 0, 0, 0, 0, arithmetic_dtype(out, args), ""
        reason = ""
        try:
            try:
                answer, read, written, dtype = self.pricer(out, *args, **kwargs)
            except TooManyAddressesError:
                with address_bounds():
                    answer, read, written, dtype = self.pricer(out, *args, **kwargs)
                reason = BOUND_REASON
        except Exception as error:
            if raised_by_signal_handler(error):
                raise
            answer, read, written, dtype = self._charge_components(error, out, args, kwargs)
        if type(answer) is not Cost:
            answer, reason = estimated_cost(self.op, answer, reason, self.formula)
        counts: Sequence[Any] = answer
        if self.formula is not None:
            counts = whole_counts(self.op, answer, self.formula, shapes=_shapes(args))
        macs, ops, transcendentals, own_read, own_written, sent = counts
        if dtype in _COMPLEX:
            macs, ops = _REAL_MACS * macs, _REAL_OPS * ops
        return macs, ops, transcendentals, own_read or read, own_written or written, sent, dtype, reason

    def _charge_components(self, error: Exception, out: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Charge:
        """Price a call on nested tensors, which have no shape, by their components; for other calls the formula failed.

        The bytes are those of the whole call, since components share its dense tensors.

        Raises:
            FormulaFailedError: There is no nested tensor, or the formula raised on a component too.
        """
        calls = calls_by_component((out, args, kwargs))
        cause = error
        if calls is not None and self.pricer is not None and self.compile_traffic is not None:
            try:
                with address_bounds():  # of bytes that are not used
                    cost = sum_costs([self.pricer(result, *given, **named)[0] for result, given, named in calls])
                _, read, written, dtype = self.compile_traffic()(out, *args, **kwargs)
            except Exception as failed:
                if raised_by_signal_handler(failed):
                    raise
                cause = failed
            else:
                return cost, read, written, dtype
        raise FormulaFailedError(
            f"{name_formula(self.op, self.formula)} failed on {_shapes(args)}: {cause!r}."
        ) from cause


def in_units_of_formulas(cost: Cost, dtype: torch.dtype | None) -> Cost:
    """Convert arithmetic from real operations, which rows hold, to those of a dtype, which formulas count."""
    if dtype not in _COMPLEX:
        return cost
    return Cost(cost.macs // _REAL_MACS, cost.ops // _REAL_OPS, cost.transcendentals)


def _shapes(args: Iterable[Any]) -> str:
    """List the shapes of tensor arguments for a message."""
    return ", ".join(_shape(item) for item in args if isinstance(item, torch.Tensor)) or "no tensors"


def _shape(tensor: torch.Tensor) -> str:
    if is_strided_nested(tensor):
        return f"nested [{', '.join(str(tuple(each.shape[1:])) for each in nested_components(tensor))}]"
    return str(tuple(tensor.shape))
