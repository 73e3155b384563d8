"""How an operator finds its price. The registry knows operators as keys, none by name.

Look-up order: a formula or declared zero for the very overload; the same for the functional twin of an in-place or
``out=`` overload; the operator's own decomposition, counted part by part; a formula that its library published in
``torch.utils.flop_counter.flop_registry``; unpriced.
"""

from __future__ import annotations

import re
import weakref
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from opflops.errors import DuplicateFormulaError, FormulaError
from opflops.pricing.op_pricing import OpPricing, Verdict, op_name
from opflops.pricing.recording import recorder
from opflops.pricing.schema_binding import PricingRule, compile_pricer, describe, match_parameters
from opflops.records.cost import Cost, Estimate
from opflops.torch_internals.dispatch import (
    OpOverload,
    OpOverloadPacket,
    call_of,
    composite_implicit,
    dispatcher_packets,
    known_to_dispatcher,
    packet_of,
    schema_of,
    third_party_formulas,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Formula = Callable[..., Cost | Estimate]
    Op = OpOverload | OpOverloadPacket | str

_QUALIFIED = re.compile(r"\w+::\w+")

FormulaT = TypeVar("FormulaT", bound="Callable[..., Cost | Estimate]")


class Registry:
    """Hold the prices of operators, and find the one that applies.

    Args:
        parent: A registry to fall back on; entries here come before its entries.
        rules: The name of a package that registers prices here when it is imported, which takes a while, and so is
            done when one is first wanted.
    """

    def __init__(self, parent: Registry | None = None, rules: str | None = None) -> None:
        self._rules = rules
        self._rules_by_overload: dict[OpOverload, PricingRule] = {}
        self._by_name: dict[str, PricingRule] = {}
        self._parent = parent
        self._tables: list[weakref.ref[PriceCache]] = []
        self._shared: dict[tuple[tuple[str, Any], ...], PriceCache] = {}

    def _filled(self) -> None:
        # A package that is still being imported, and is registering, has no __all__ yet.
        if self._rules is not None and hasattr(import_module(self._rules), "__all__"):
            self._rules = None

    def register(self, rule: PricingRule, ops: Iterable[Op], *, override: bool = False) -> None:
        """Set how operators are priced, after checking every overload against its schema.

        An operator given by name may be defined later, and is checked when it is first asked for.

        Raises:
            FormulaError: Something in ``ops`` is no operator, or the formula does not fit an overload.
            DuplicateFormulaError: An overload has an entry already and ``override`` is False.
        """
        self._filled()
        ops = list(ops)
        names = [op for op in ops if isinstance(op, str)]
        overloads = [overload for op in ops if not isinstance(op, str) for overload in overloads_of(op)]
        if not overloads and not names:
            raise FormulaError("A formula needs at least one operator, such as torch.ops.aten.mm.")
        taken: list[tuple[Any, PricingRule]] = [
            *(
                (schema_of(each), self._rules_by_overload[each])
                for each in overloads
                if each in self._rules_by_overload
            ),
            *((name, self._by_name[name]) for name in names if name in self._by_name),
        ]
        if taken and not override:
            raise DuplicateFormulaError(
                f"{taken[0][0]} is priced already by {_named(taken[0][1])}; "
                f"pass override=True to replace that with {_named(rule)}."
            )
        for name in names:
            if not _QUALIFIED.fullmatch(name):
                raise FormulaError(f"{name!r} names no operator; a name is written as in 'mylib::swiglu'.")
        if self._rules is None and rule.formula is not None:
            # Of those that come with opflops a test checks that they fit; each is checked again when it is used.
            for overload in overloads:
                match_parameters(rule.formula, overload)
        self._rules_by_overload.update(dict.fromkeys(overloads, rule))
        self._by_name.update(dict.fromkeys(names, rule))
        if self._rules is None:
            # Until then nothing has been looked up.
            for table in self._tables:
                live = table()
                if live is not None:
                    live.clear()

    def rule(self, overload: OpOverload) -> PricingRule | None:
        """Find the entry of an overload, or of its functional twin."""
        self._filled()
        found = self._own(overload)
        if found is None and (twin := functional_variant(overload)) is not None:
            found = self._own(twin)
        if found is None and self._parent is not None:
            found = self._parent.rule(overload)
        return found

    def rule_named(self, name: str) -> PricingRule | None:
        """Find the entry of something that has a name but no schema, such as a kernel."""
        self._filled()
        found = self._by_name.get(name)
        return found if found or self._parent is None else self._parent.rule_named(name)

    def _own(self, overload: OpOverload) -> PricingRule | None:
        return self._rules_by_overload.get(overload) or self._by_name.get(schema_of(overload).name)

    @property
    def rules(self) -> Mapping[OpOverload, PricingRule]:
        """Return how overloads are priced, of those that are not priced by name or as another's twin."""
        self._filled()
        return MappingProxyType(self._rules_by_overload)

    @property
    def named(self) -> frozenset[str]:
        """Return the names of operators that are priced whether or not they are defined."""
        self._filled()
        return frozenset(self._by_name)

    def verdict(self, overload: OpOverload) -> Verdict:
        """Tell how an overload is priced."""
        return self.resolve(overload, {"causal": "dense"}).verdict

    def resolve(self, overload: Any, mode_options: Mapping[str, Any]) -> OpPricing:
        """Find the price of an operator, in the order that this module's first lines give."""
        name = op_name(overload)
        if not isinstance(overload, OpOverload):
            return OpPricing(name, "unpriced")
        rule = self.rule(overload)
        if rule is not None:
            verdict: Verdict = "zero" if rule.formula is None else "formula"
            return OpPricing(
                name,
                verdict,
                rule.recorded,
                compile_pricer(rule, overload, mode_options),
                partial(recorder, rule, overload, mode_options),
                call_of(overload),
            )
        if composite_implicit(overload):
            return OpPricing(name, "decomposes")
        if packet_of(overload) in third_party_formulas():
            return OpPricing(name, "formula", bound=_third_party(overload))
        return OpPricing(name, "unpriced", bound=compile_pricer(PricingRule(None), overload, mode_options))

    def price_cache(self, mode_options: Mapping[str, Any]) -> PriceCache:
        """Return the look-up that modes of the same conventions share; it follows later registrations."""
        # Here, rather than in the middle of the program that is counted.
        self._filled()
        key = tuple(sorted(mode_options.items()))
        if key not in self._shared:
            self._shared[key] = PriceCache(self, mode_options)
            self.subscribe(self._shared[key])
        return self._shared[key]

    def subscribe(self, table: PriceCache) -> None:
        """Clear a table, as long as somebody uses it, whenever something is registered here or further up."""
        self._tables = [known for known in self._tables if known() is not None] + [weakref.ref(table)]
        if self._parent is not None:
            self._parent.subscribe(table)


class PriceCache(dict[Any, OpPricing]):
    """Map each operator to its price, resolving it when it is first asked for.

    An operator that nothing prices is looked up among the third-party formulas each time, since its library may still
    publish one.

    Attributes:
        fast_path: The prices of what runs as it is, by the operator's identity, which is quicker to look up by than the
            operator is. The table itself keeps the operators.
    """

    def __init__(self, registry: Registry, mode_options: Mapping[str, Any]) -> None:
        super().__init__()
        self._registry = registry
        self._mode_options = mode_options
        self._unpriced: dict[Any, OpPricing] = {}
        self.fast_path: dict[int, OpPricing] = {}
        self._subscribers: weakref.WeakSet[Any] = weakref.WeakSet()

    def __missing__(self, overload: Any) -> OpPricing:
        price = self._unpriced.get(overload)
        if price is None or packet_of(overload) in third_party_formulas():
            price = self._registry.resolve(overload, self._mode_options)
            (self._unpriced if price.verdict == "unpriced" else self)[overload] = price
            if price.fast_path:
                self.fast_path[id(overload)] = price
        return price

    def rule_named(self, name: str) -> PricingRule | None:
        """See :meth:`Registry.rule_named`."""
        return self._registry.rule_named(name)

    def subscribe(self, user: Any) -> None:
        """Call an object's ``forget_prices()``, as long as it is there, whenever prices may have changed."""
        self._subscribers.add(user)

    def clear(self) -> None:
        """Forget every price, since something was registered."""
        super().clear()
        self.fast_path.clear()
        self._unpriced.clear()
        for user in list(self._subscribers):
            user.forget_prices()


def _named(rule: PricingRule) -> str:
    return "a declared zero" if rule.formula is None else describe(rule.formula)


def _third_party(overload: OpOverload) -> Callable[..., tuple[Cost, int, int, torch.dtype | None]]:
    """Adapt a formula of ``torch.utils.flop_counter``, which counts two operations for each multiply-accumulate."""
    traffic = compile_pricer(PricingRule(None), overload, {})
    packet = packet_of(overload)

    def charge(out: Any, *args: Any, **kwargs: Any) -> tuple[Cost, int, int, torch.dtype | None]:
        flops = third_party_formulas()[packet](*args, **kwargs, out_val=out)
        if flops == int(flops):
            flops = int(flops)
        _, read, written, dtype = traffic(out, *args, **kwargs)
        return Cost(macs=flops // 2, ops=flops % 2), read, written, dtype

    return charge


def overloads_of(op: Any) -> Iterator[OpOverload]:
    """Expand a packet into the overloads that the dispatcher knows; an overload stands for itself.

    Raises:
        FormulaError: ``op`` is neither.
    """
    if isinstance(op, OpOverload):
        yield op
    elif isinstance(op, OpOverloadPacket):
        for name in op.overloads():
            overload = getattr(op, name)
            if known_to_dispatcher(overload):
                yield overload
    else:
        raise FormulaError(
            f"{op!r} is no operator; a formula is for one such as torch.ops.aten.mm or torch.ops.aten.mm.default."
        )


def _inputs(overload: OpOverload) -> list[tuple[str, str]]:
    return [(argument.name, str(argument.type)) for argument in schema_of(overload).arguments if not argument.is_out]


def _mutates(overload: OpOverload) -> bool:
    return any(argument.alias_info and argument.alias_info.is_write for argument in schema_of(overload).arguments)


def functional_variant(overload: OpOverload) -> OpOverload | None:
    """Find the overload that computes the same as an in-place or ``out=`` one, but into a new tensor.

    The twin takes the same arguments, in the same packet or in the one without the trailing underscore.
    """
    if not _mutates(overload):
        return None
    packet = packet_of(overload)
    namespace, _, name = schema_of(overload).name.partition("::")
    packets = [packet]
    if name.endswith("_"):
        functional = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
        packets += [functional] if functional is not None else []
    for candidate in (found for packet in packets for found in overloads_of(packet)):
        if not _mutates(candidate) and _inputs(candidate) == _inputs(overload):
            return candidate
    return None


registry = Registry(rules="opflops.formulas")
"""The prices that every mode starts from."""


def formula(
    *ops: Op,
    override: bool = False,
    unread: Iterable[str] = (),
    picked: Iterable[str] = (),
    dtype_from: str | None = None,
) -> Callable[[FormulaT], FormulaT]:
    """Register the decorated function as the price of operators.

    Its parameters are names of the operator's schema, as many as it needs, and keyword-only ``out`` for what the
    operator returned. A parameter with a default may be missing from some overloads. It gets real tensors or fake
    ones and may look at shapes, dtypes and numbers, and use integer arithmetic on sizes. An in-place or ``out=``
    overload follows its functional twin. Bytes read and bytes written come from the schema, each unless the returned
    cost states its own. Keyword-only ``causal`` is the mode's option of that name, where the operator has no argument
    called so.

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
            operators that a library may define later; ``"triton::kernel_name"`` for a Triton kernel, whose formula
            takes the kernel's arguments by name.
        override: Replace what is registered; without it a second formula is an error.
        unread: Names of arguments whose contents the operator does not read.
        picked: Names of arguments of which it reads only as many elements as it returns.
        dtype_from: Name of the argument whose dtype the arithmetic runs in, where that is not the result's.

    Returns:
        A decorator that leaves the function as it is.

    Raises:
        FormulaError: A parameter is not in the schema of an overload; the message quotes it.
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
        no_traffic: They move no data either, although their schema does not call them views.
        recorded: False for questions about metadata, which leave no row.

    Raises:
        DuplicateFormulaError: An overload has a price already.
    """
    rule = PricingRule(None, tuple(unread), tuple(picked), no_traffic=no_traffic, recorded=recorded)
    registry.register(rule, ops)


_NAMESPACES = ("aten", "prims", "quantized", "mkldnn", "onednn", "sparse", "c10d", "_c10d_functional")
_MOST_TELLING: tuple[Verdict, ...] = ("unpriced", "formula", "zero", "decomposes")


def coverage(*namespaces: str) -> dict[str, str]:
    """List every operator packet that the dispatcher knows, with how it is priced.

    Args:
        *namespaces: Which namespaces to list; by default those of PyTorch itself, and those of extensions that
            opflops has prices for, where they are loaded.

    Returns:
        Names such as ``"aten.mm"`` with ``"formula"``, ``"zero"`` (declared), ``"decomposes"`` (into operators that
        are listed too) or ``"unpriced"``. Where overloads differ, the first of unpriced, formula, zero, decomposes.
    """
    verdicts: dict[str, str] = {}
    for namespace in namespaces or dict.fromkeys(
        (*_NAMESPACES, *sorted(name.split("::")[0] for name in registry.named))
    ):
        for packet in dispatcher_packets(namespace):
            found = {registry.verdict(overload) for overload in overloads_of(packet)}
            if found:
                verdicts[f"{namespace}.{packet.__name__}"] = next(
                    verdict for verdict in _MOST_TELLING if verdict in found
                )
    return verdicts
