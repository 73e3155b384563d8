"""Register formulas and declared zeros, and list which operators have one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import PricingRule
from opflops.pricing.schemas import overloads_of
from opflops.torch_internals.dispatch import dispatcher_packets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opflops.pricing.op_pricing import Verdict
    from opflops.pricing.registry import Op
    from opflops.pricing.schema_binding import DtypeSource
    from opflops.records.cost import Cost, Estimate

FormulaT = TypeVar("FormulaT", bound="Callable[..., Cost | Estimate]")


def formula(
    *ops: Op,
    override: bool = False,
    unread: Iterable[str] = (),
    picked: Iterable[str] = (),
    dtype_from: DtypeSource | None = None,
) -> Callable[[FormulaT], FormulaT]:
    """Register the decorated function as the formula of operators.

    Name its parameters as in the operator's schema, and list only those that it needs. Keyword-only ``out`` is the
    operator's result; keyword-only ``causal`` is the mode's option, unless the operator has an argument of that name.
    A parameter with a default may be missing from some overloads.

    The function gets real or fake tensors. It may read shapes, dtypes and numbers, and must use integer arithmetic on
    sizes. It also prices the in-place and ``out=`` variants of a functional overload. Bytes read and bytes written
    come from the schema, each unless the returned cost states it.

    An operator that decomposes, such as ``torch.ops.aten.linear``, is counted by its formula in each grad mode, and
    what it runs is not counted again. Its gradients are counted by the operators of the backward pass. Transforms of
    ``torch.func`` may decompose it first; then its operators are counted.

    >>> import torch
    >>> from opflops import Cost, formula, OpFlopMode
    >>> @torch.library.custom_op("docs::swiglu", mutates_args=())
    ... def swiglu(x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    ...     return x * torch.nn.functional.silu(gate)
    >>> @formula(torch.ops.docs.swiglu)
    ... def swiglu_cost(x, *, out):
    ...     return Cost(ops=5 * out.numel(), transcendentals=out.numel())
    >>> with OpFlopMode() as m:
    ...     _ = swiglu(torch.ones(2, 3), torch.ones(2, 3))
    >>> m.total.ops, m.total.transcendentals
    (30, 6)

    Args:
        *ops: Packets (``torch.ops.aten.mm``: all its overloads), single overloads, or names (``"mylib::swiglu"``) of
            operators that a library may define later. ``"triton::kernel_name"`` means a Triton kernel, whose formula
            takes the kernel's arguments by name, constants too; ``out`` is None if the program launches it itself.
        override: Replace a formula that is registered already; without it a second formula is an error.
        unread: Names of arguments whose contents the operator does not read.
        picked: Names of arguments of which it reads only as many elements as it returns.
        dtype_from: What the arithmetic runs in, if that is not the result's dtype: the name of an argument with that
            dtype, the dtype itself, or a function that takes arguments by their names and returns the dtype. For
            example ``torch.quint8`` for an operator that quantizes its input to eight bits and multiplies these.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        FormulaError: A parameter is not in the schema of an overload; the message quotes the schema. Or PyTorch always
            runs the operator as others before a mode sees it.
        DuplicateFormulaError: An overload has a formula already.
    """

    def decorate(function: FormulaT) -> FormulaT:
        rule = PricingRule(function, tuple(unread), tuple(picked), dtype_from)
        registry.register(rule, ops, override=override)
        return function

    return decorate


def declare_zero(
    *ops: Op,
    unread: Iterable[str] = (),
    picked: Iterable[str] = (),
    no_traffic: bool = False,
    recorded: bool = True,
) -> None:
    """Declare that operators do no arithmetic.

    Args:
        *ops: Packets, overloads or names, as for :func:`formula`.
        unread: As for :func:`formula`.
        picked: As for :func:`formula`.
        no_traffic: They move no data either, although their schema does not say that they return views.
        recorded: False for operators that only query metadata; they get no row.

    Raises:
        DuplicateFormulaError: An overload has a formula, or is declared zero, already.
    """
    rule = PricingRule(None, tuple(unread), tuple(picked), no_traffic=no_traffic, recorded=recorded)
    registry.register(rule, ops)


_NAMESPACES = ("aten", "prims", "quantized", "mkldnn", "onednn", "sparse", "c10d", "_c10d_functional")
_VERDICTS_BY_WEIGHT: tuple[Verdict, ...] = ("unpriced", "formula", "zero", "decomposes")


def coverage(*namespaces: str) -> dict[str, str]:
    """List every operator packet that the dispatcher knows, and how it is priced.

    Args:
        *namespaces: The namespaces to list. Default: those of PyTorch itself, and those of extensions that opflops has
            formulas for, if they are loaded.

    Returns:
        A dict from names such as ``"aten.mm"`` to ``"formula"``, ``"zero"`` (declared), ``"decomposes"`` (into
        operators that are listed too) or ``"unpriced"``. If overloads differ, the first of unpriced, formula, zero,
        decomposes.
    """
    verdicts: dict[str, str] = {}
    for namespace in namespaces or dict.fromkeys(
        (*_NAMESPACES, *sorted(name.split("::")[0] for name in registry.named))
    ):
        for packet in dispatcher_packets(namespace):
            of_packet = {registry.verdict(overload) for overload in overloads_of(packet)}
            if of_packet:
                verdicts[f"{namespace}.{packet.__name__}"] = next(
                    verdict for verdict in _VERDICTS_BY_WEIGHT if verdict in of_packet
                )
    return verdicts
