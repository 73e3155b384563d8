"""What the registry answers about an operator: how it is priced, and the price of a call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from opflops.errors import FormulaError, FormulaFailedError
from opflops.pricing.accumulators import Accumulator
from opflops.pricing.schema_binding import arithmetic_dtype
from opflops.records.cost import Cost, Estimate, is_whole
from opflops.torch_internals.dispatch import OpOverload, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    CallCounts = tuple[int, int, int, int, int, torch.dtype | None, str]

Verdict = Literal["formula", "zero", "decomposes", "unpriced"]

# A complex multiply-accumulate is four real ones; a complex add is two real adds. A complex multiply is three complex
# adds' worth (four products, two adds): formulas count it as three operations.
_REAL_MACS, _REAL_OPS = 4, 2
_COMPLEX = frozenset(kind for kind in vars(torch).values() if isinstance(kind, torch.dtype) and kind.is_complex)


def op_name(overload: Any) -> str:
    """Name an operator as rows do: namespace and packet, without the overload (``aten.add_``)."""
    if isinstance(overload, OpOverload):
        return str(schema_of(overload).name).replace("::", ".")
    return f"{getattr(overload, 'namespace', 'higher_order')}.{overload.name()}"


@dataclass(slots=True, eq=False)
class OpPricing:
    """Hold what the registry found for one overload.

    Attributes:
        op: The operator's name in rows.
        verdict: How it is priced.
        recorded: False for questions about metadata, which leave no row.
        bound: The prepared function of :func:`opflops.pricing.schema_binding.compile_pricer`.
        prepare: Makes the prepared function of :func:`opflops.pricing.recording.recorder`, where there can be one.
        call: Runs the overload.
        fast_path: True for an operator that runs as it is and leaves a row, as most do.
    """

    op: str
    verdict: Verdict
    recorded: bool = True
    bound: Callable[..., tuple[Cost | Estimate, int, int, torch.dtype | None]] | None = None
    prepare: Callable[[], Callable[..., Any]] | None = None
    call: Callable[..., Any] | None = None
    fast_path: bool = field(init=False)
    _record: Callable[..., Any] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.fast_path = self.recorded and self.bound is not None and self.verdict in ("formula", "zero")

    def accumulator(self, context: Any, phase: str) -> Accumulator | None:
        """Begin to add up calls in the quickest way, where there is one."""
        if self.prepare is None:
            return None
        if self._record is None:
            self._record = self.prepare()
        accumulator = Accumulator(context, self.op, phase)
        accumulator.price, accumulator.call, accumulator.record = self, self.call, self._record
        return accumulator

    def charge(self, out: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Cost, torch.dtype | None, str]:
        """Price one call that has run; see :meth:`price_call`, whose counts it answers with as a cost."""
        *counts, dtype, reason = self.price_call(out, args, kwargs)
        return Cost(*counts), dtype, reason

    def price_call(self, out: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallCounts:
        """Price one call that has run, as bare counts, since this is done for every operator.

        Args:
            out: What the operator returned.
            args: Its positional arguments, as the dispatcher passed them.
            kwargs: Its keyword arguments.

        Returns:
            The fields of a cost in order, in real operations; the dtype that they ran in; why it is an estimate, or "".

        Raises:
            FormulaFailedError: The formula raised.
            FormulaError: It did not answer with a :class:`Cost`.
        """
        if self.bound is None:
            return 0, 0, 0, 0, 0, arithmetic_dtype(out, args), ""
        try:
            answer, read, written, dtype = self.bound(out, *args, **kwargs)
        except Exception as error:
            raise FormulaFailedError(f"The formula of {self.op} failed on {_shapes(args)}: {error!r}.") from error
        reason = ""
        if type(answer) is not Cost:
            if type(answer) is Estimate:
                answer, reason = answer
            if type(answer) is not Cost:
                raise FormulaError(f"The formula of {self.op} returned {answer!r}; it must return an opflops.Cost.")
        macs, ops, transcendentals, own_read, own_written = answer
        if dtype in _COMPLEX:
            macs, ops = _REAL_MACS * macs, _REAL_OPS * ops
        return macs, ops, transcendentals, own_read or read, own_written or written, dtype, reason


def check_whole(op: str, counts: Sequence[Any]) -> None:
    """Refuse fractions, which a formula gets by dividing with ``/``.

    Raises:
        FormulaError: A count is not a whole number.
    """
    for name, value in zip(Cost._fields, counts, strict=False):
        if not is_whole(value):
            raise FormulaError(
                f"The formula of {op} returned {value!r} as {name}; costs are whole numbers, so divide with //."
            )


def _shapes(args: Iterable[Any]) -> str:
    """List the shapes of tensor arguments for a message."""
    return ", ".join(str(tuple(item.shape)) for item in args if isinstance(item, torch.Tensor)) or "no tensors"
