"""Register formulas and declared zeros, and list which operators have one."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from opflops.errors import ArgumentError, FormulaError
from opflops.pricing.registry import registry
from opflops.pricing.schema_binding import PricingRule
from opflops.pricing.schemas import overloads_of
from opflops.records.arguments import check_flag, check_text, describe, explain_arguments
from opflops.records.display import Verdicts
from opflops.torch_internals.dispatch import OpOverload, OpOverloadPacket, dispatcher_packets, operator_namespaces
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from opflops.pricing.op_pricing import Verdict
    from opflops.pricing.registry import Op
    from opflops.pricing.schema_binding import DtypeSource
    from opflops.records.cost import Cost, Estimate

FormulaT = TypeVar("FormulaT", bound="Callable[..., Cost | Estimate]")


def _check_operators(ops: tuple[Any, ...]) -> None:
    """Check that a formula is for operators, and that it is not registered as its own operator.

    Raises:
        FormulaError: Something is not an operator.
    """
    for op in ops:
        if isinstance(op, (OpOverload, OpOverloadPacket, str)):
            continue
        if inspect.isfunction(op) or inspect.isbuiltin(op):
            raise FormulaError(
                f"formula() needs the operators that a formula is for, but it was given the function {op.__name__}. "
                "Write @formula(torch.ops.aten.mm) or @formula('mylib::swiglu') above the formula."
            )
        raise FormulaError(
            f"formula() needs operators, such as torch.ops.aten.mm or 'mylib::swiglu', not {describe(op)}."
        )


@explain_arguments()
def formula(
    *ops: Op,
    override: bool = False,
    unread: Iterable[str] = (),
    picked: Iterable[str] = (),
    dtype_from: DtypeSource | None = None,
    group: str = "",
) -> Callable[[FormulaT], FormulaT]:
    """Register the decorated function as the formula of operators.

    Name its parameters as in the operator's schema, and list only those that it needs. Keyword-only ``out`` is the
    operator's result; keyword-only ``causal`` is the mode's option, unless the operator has an argument of that name.
    A parameter with a default may be missing from some overloads.

    The function gets real or fake tensors. It may read shapes, dtypes and numbers, and must use integer arithmetic
    on sizes: a cost with a count that is no whole number, or is less than 0, is an error at the call. It also
    prices the in-place and ``out=`` variants of a functional overload. Bytes read and bytes written come from the
    schema, each unless the returned cost states it.

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
            operators that a library may define later; those of ``aten`` are all defined. ``"triton::kernel_name"``
            means a Triton kernel, whose formula takes the kernel's arguments by name, constants too; ``out`` is None if
            the program launches it itself.
        override: Replace a formula that is registered already; without it a second formula is an error.
        unread: Names of arguments whose contents the operator does not read.
        picked: Names of arguments of which it reads only as many elements as it returns.
        dtype_from: What the arithmetic runs in, if that is not the result's dtype: the name of an argument with that
            dtype, the dtype itself, or a function that takes arguments by their names and returns the dtype. For
            example ``torch.quint8`` for an operator that quantizes its input to eight bits and multiplies these.
        group: The name of the argument that holds the process group, or its name, of a collective. Rows name that
            group. The returned cost states the bytes that this rank sends to it, as ``Cost(sent=...)``.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        FormulaError: A parameter is not in the schema of an overload; the message quotes the schema. Or PyTorch always
            runs the operator as others before a mode sees it, or a name is none that an operator can have.
        DuplicateFormulaError: An overload has a formula already.
    """
    _check_operators(ops)
    unread, picked = _names("unread", unread), _names("picked", picked)
    check_flag("override", override)
    check_text("group", group, "group='group_name'")
    if not (dtype_from is None or isinstance(dtype_from, (str, torch.dtype)) or inspect.isroutine(dtype_from)):
        raise ArgumentError(
            "dtype_from must be the name of an argument, a dtype, or a function that returns one, not "
            f"{describe(dtype_from)}."
        )

    def decorate(function: FormulaT) -> FormulaT:
        if not callable(function) or isinstance(function, (type, OpOverload, OpOverloadPacket)):
            raise FormulaError(
                f"A formula is a function that returns a Cost, not {describe(function)}. Write it below "
                "@formula(torch.ops.aten.mm), with parameters named as in the operator's schema."
            )
        rule = PricingRule(function, unread, picked, dtype_from, group=group)
        registry.register(rule, ops, override=override)
        return function

    return decorate


def _names(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that an argument lists.

    Raises:
        ArgumentError: It is text, or not a collection of texts.
    """
    if isinstance(names, str) or not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise ArgumentError(f"{argument} must be a list of names, as in {argument}=['weight'], not {describe(names)}.")
    return tuple(names)


def declare_zero(
    *ops: Op,
    unread: Iterable[str] = (),
    picked: Iterable[str] = (),
    no_traffic: bool = False,
    recorded: bool = True,
    group: str = "",
) -> None:
    """Declare that operators do no arithmetic.

    Args:
        *ops: Packets, overloads or names, as for :func:`formula`.
        unread: As for :func:`formula`.
        picked: As for :func:`formula`.
        no_traffic: They move no data either, although their schema does not say that they return views.
        recorded: False for operators that only query metadata; they get no row.
        group: As for :func:`formula`.

    Raises:
        DuplicateFormulaError: An overload has a formula, or is declared zero, already.
    """
    rule = PricingRule(None, tuple(unread), tuple(picked), no_traffic=no_traffic, recorded=recorded, group=group)
    registry.register(rule, ops)


def _check_namespace(given: object) -> None:
    """Check that operators have a namespace.

    Raises:
        ArgumentError: They do not, or it is no text.
    """
    if not isinstance(given, str):
        raise ArgumentError(f"coverage() needs names of namespaces, such as 'aten', not {describe(given)}.")
    namespace, separator, _ = given.replace("::", ".").partition(".")
    if separator:
        raise ArgumentError(
            f"coverage() takes namespaces, not operators. For {given!r} write coverage({namespace!r})[...]; "
            f"opflops coverage {given} on the command line shows its formula."
        )
    known = {*_NAMESPACES, *operator_namespaces(), *(name.split("::")[0] for name in registry.named)}
    if given not in known:
        raise ArgumentError(
            f"coverage() got {given!r}. {unknown('namespace', given, sorted(known))} coverage() lists all."
        )


_NAMESPACES = ("aten", "prims", "quantized", "mkldnn", "onednn", "sparse", "c10d", "_c10d_functional")
_VERDICTS_BY_WEIGHT: tuple[Verdict, ...] = ("unpriced", "formula", "zero", "decomposes")


def coverage(*namespaces: str) -> Verdicts:
    """List every operator packet that the dispatcher knows, and how it is priced.

    Args:
        *namespaces: The namespaces to list. Default: those of PyTorch itself, and those of extensions that opflops has
            formulas for, if they are loaded.

    Raises:
        ArgumentError: No operator has one of the namespaces.

    Returns:
        A dict from names such as ``"aten.mm"`` to ``"formula"``, ``"zero"`` (declared), ``"decomposes"`` (into
        operators that are listed too) or ``"unpriced"``. If overloads differ, the first of unpriced, formula, zero,
        decomposes.
    """
    for given in namespaces:
        _check_namespace(given)
    return Verdicts(verdicts_of(*namespaces))


def verdicts_of(*namespaces: str) -> dict[str, str]:
    """Do what :func:`coverage` does; there may be no operators of a namespace."""
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
