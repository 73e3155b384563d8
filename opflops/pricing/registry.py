"""How an operator finds its formula. The registry knows operators as keys only, none by name.

The look-up order is:

1. a formula or a declared zero for this overload;
2. the same for the functional variant of an in-place or ``out=`` overload;
3. the operator's own decomposition, whose operators are counted one by one;
4. a formula that the operator's library published in ``torch.utils.flop_counter.flop_registry``;
5. none: the operator is unpriced.
"""

from __future__ import annotations

import re
import sys
import weakref
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from opflops.errors import DuplicateFormulaError, FormulaError
from opflops.pricing.fast_path import compile_recorder
from opflops.pricing.op_pricing import OpPricing, Verdict, op_name
from opflops.pricing.price_cache import PriceCache
from opflops.pricing.schema_binding import (
    PricingRule,
    check_rule,
    compile_group_reader,
    compile_pricer,
    describe,
    is_trusted,
)
from opflops.pricing.schemas import functional_variant, mutating_variants, overloads_of
from opflops.records.cost import Cost
from opflops.records.garbage_collection import with_gc_disabled
from opflops.torch_internals.composite_kernels import hidden_by, may_decompose_in_autograd
from opflops.torch_internals.dispatch import (
    COMPLETE_NAMESPACES,
    OpOverload,
    OpOverloadPacket,
    call_of,
    composite_implicit,
    current_overload,
    dispatcher_packets,
    packet_named,
    packet_of,
    schema_of,
    third_party_formulas,
)
from opflops.wording import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import torch

    Op = OpOverload | OpOverloadPacket | str

_QUALIFIED = re.compile(r"\w+::\w+")
# The name of an operator, perhaps with an overload, as others than a formula's registration take it.
_WITH_OVERLOAD = re.compile(r"(\w+)(?:::|\.)(\w+)(?:\.(\w+))?")


class Registry:
    """Hold the pricing rules of operators, and find the one that applies.

    Args:
        parent: A registry to fall back on; rules here come before its rules.
        rules_package: The name of a package that registers rules here when it is imported. It is imported at the first
            look-up or registration, since that takes a while.
    """

    def __init__(self, parent: Registry | None = None, rules_package: str | None = None) -> None:
        self._rules_package = rules_package
        self._rules_by_overload: dict[OpOverload, PricingRule] = {}
        self._rules_by_name: dict[str, PricingRule] = {}
        # Those of the package. To list the overloads of all its operators takes most of the time to register them.
        self._rules_by_packet: dict[OpOverloadPacket, PricingRule] = {}
        self._package_rules: dict[OpOverload, PricingRule] = {}
        # What others than the package gave a rule: operators that decompose, and names, of which some may.
        self._composites: set[OpOverload] = set()
        self._added_names: dict[str, None] = {}
        self._parent = parent
        self._caches: list[weakref.ref[PriceCache]] = []
        self._shared_caches: dict[tuple[tuple[str, Any], ...], PriceCache] = {}

    def _import_rules(self) -> None:
        # A package whose import is still going on, and which is registering, has no __all__ yet.
        if self._rules_package is None:
            return
        try:
            # Thousands of objects that stay would have the collector visit all objects of PyTorch.
            package = with_gc_disabled(import_module)(self._rules_package)
        except BaseException:
            # For example Ctrl-C. Only the package has registered anything yet; let it register again at the next use.
            self._rules_by_overload.clear()
            self._rules_by_name.clear()
            self._rules_by_packet.clear()
            for name in [each for each in sys.modules if f"{each}.".startswith(f"{self._rules_package}.")]:
                del sys.modules[name]
            raise
        if hasattr(package, "__all__"):
            self._rules_package = None

    def _list_package_overloads(self) -> None:
        """Give each overload of the package's operators its rule."""
        self._import_rules()
        if not self._rules_by_packet:
            return
        for packet, rule in self._rules_by_packet.items():
            for overload in overloads_of(packet):
                self._rules_by_overload.setdefault(overload, rule)
        self._package_rules = dict(self._rules_by_overload)
        self._rules_by_packet = {}

    def _register_of_package(self, rule: PricingRule, ops: Iterable[Op]) -> None:
        """Note a rule of the package. Tests check that its rules fit; each is checked again when it is compiled.

        Raises:
            DuplicateFormulaError: One of the operators has a rule already.
        """
        for op in ops:
            rules: dict[Any, PricingRule] = self._rules_by_name if isinstance(op, str) else self._rules_by_overload
            if isinstance(op, OpOverloadPacket):
                rules = self._rules_by_packet
            if op in rules:
                raise DuplicateFormulaError(f"{op} is already priced by {_describe_rule(rules[op])}.")
            rules[op] = rule

    def register(self, rule: PricingRule, ops: Iterable[Op], *, override: bool = False) -> None:
        """Set how operators are priced, after checking every overload against its schema.

        An operator given by name may be defined later. It is checked when it is first looked up then, else now.

        Raises:
            FormulaError: Something in ``ops`` is not an operator, or the formula does not fit an overload.
            DuplicateFormulaError: An overload has a rule already and ``override`` is False.
        """
        self._import_rules()
        if self._rules_package is not None:
            self._register_of_package(rule, ops)
            return
        self._list_package_overloads()
        ops = [self._packet_if_priced(op) for op in ops]
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
            *((name, self._rules_by_name[name]) for name in names if name in self._rules_by_name),
        ]
        if taken and not override:
            raise DuplicateFormulaError(
                f"{taken[0][0]} is already priced by {_describe_rule(taken[0][1])}. "
                f"Pass override=True to replace that with {_describe_rule(rule)}."
            )
        for name in names:
            _check_name(name)
        for overload in [*overloads, *self._unpriced_overloads(names)]:
            _check_applies(rule, overload)
        self._rules_by_overload.update(dict.fromkeys(overloads, rule))
        self._rules_by_name.update(dict.fromkeys(names, rule))
        self._note_composites(overloads, rule)
        self._added_names.update(dict.fromkeys(names))
        for reference in self._caches:
            cache = reference()
            if cache is not None:
                cache.clear()

    def _packet_if_priced(self, op: Op) -> Op:
        """Return an operator in place of its name if its overloads have rules: one for the name would never be used."""
        if not isinstance(op, str) or not _QUALIFIED.fullmatch(op) or not _is_defined(op):
            return op
        return op if list(self._unpriced_overloads([op])) else packet_named(op) or op

    def _unpriced_overloads(self, names: Iterable[Any]) -> Iterator[OpOverload]:
        """Iterate over the overloads of operators that are defined by now, and have no rule of their own here."""
        for name in names:
            packet = packet_named(name)
            yield from (each for each in overloads_of(packet) if each not in self._rules_by_overload) if packet else ()

    def get_rule(self, overload: OpOverload) -> PricingRule | None:
        """Return the rule of an overload, or of its functional variant, or None."""
        self._import_rules()
        rule = self._get_own_rule(overload)
        if rule is None and (variant := functional_variant(overload)) is not None:
            rule = self._get_own_rule(variant)
        if rule is None and self._parent is not None:
            rule = self._parent.get_rule(overload)
        return rule

    def get_rule_by_name(self, name: str) -> PricingRule | None:
        """Return the rule of something that has a name but no schema, such as a Triton kernel, or None."""
        self._import_rules()
        rule = self._rules_by_name.get(name)
        return rule if rule or self._parent is None else self._parent.get_rule_by_name(name)

    def added_names(self) -> list[str]:
        """Return the names that others than the package of rules gave a rule, and that no operator has by now."""
        names = [] if self._parent is None else self._parent.added_names()
        return [*names, *(name for name in self._added_names if not _is_defined(name))]

    def _get_own_rule(self, overload: OpOverload) -> PricingRule | None:
        rule = self._rules_by_overload.get(overload)
        if rule is None and (packet := packet_of(overload)) is not None:
            rule = self._rules_by_packet.get(packet)
        return rule or self._rules_by_name.get(schema_of(overload).name)

    @property
    def rules(self) -> Mapping[OpOverload, PricingRule]:
        """Return the rules registered by overload; not those by name, nor the overloads that follow a variant."""
        self._list_package_overloads()
        return MappingProxyType(self._rules_by_overload)

    @property
    def named(self) -> frozenset[str]:
        """Return the names of the operators registered by name, whether they are defined or not."""
        self._import_rules()
        return frozenset(self._rules_by_name)

    def added(self) -> list[OpOverload]:
        """Return the operators, of those that are defined, that others than the package of rules gave a formula."""
        self._list_package_overloads()
        named = [packet for packet in map(packet_named, self._added_names) if packet is not None]
        found = [each for packet in named for each in overloads_of(packet)]
        found += [each for each, rule in self._rules_by_overload.items() if rule is not self._package_rules.get(each)]
        return [each for each in found if (rule := self._get_own_rule(each)) is not None and rule.formula is not None]

    def added_composites(self) -> set[OpOverload]:
        """Return the operators that decompose, and that others than the package of rules gave a rule.

        Autograd decomposes them before a mode sees them, unless it is kept from that.
        """
        found = set(self._composites)
        for each in self._composites:
            # A library may have defined an operator again, which is another overload of the same name then.
            if current_overload(each) is not each:
                found.discard(each)
        if self._parent is not None:
            found |= self._parent.added_composites()
        for name in self._added_names:
            packet = packet_named(name)
            if packet is not None:
                found.update(each for each in overloads_of(packet) if may_decompose_in_autograd(each))
        return found

    def _note_composites(self, overloads: Iterable[OpOverload], rule: PricingRule) -> None:
        """Note which overloads decompose, and those in place or with ``out=`` that follow them.

        What gets the package's own rule again is none of them.
        """
        for overload in overloads:
            of_package = rule is self._package_rules.get(overload)
            change = self._composites.difference_update if of_package else self._composites.update
            change(filter(may_decompose_in_autograd, [overload]))
            change(mutating_variants(overload, may_decompose_in_autograd))

    def verdict(self, overload: OpOverload) -> Verdict:
        """Return how an overload is priced."""
        return self.resolve(overload, {"causal": "dense"}).verdict

    def resolve(self, overload: Any, mode_options: Mapping[str, Any]) -> OpPricing:
        """Find how an operator is priced, in the order given at the top of this module."""
        name = op_name(overload)
        if not isinstance(overload, OpOverload):
            return OpPricing(name, "unpriced")
        rule = self.get_rule(overload)
        if rule is not None:
            verdict: Verdict = "zero" if rule.formula is None else "formula"
            return OpPricing(
                name,
                verdict,
                rule.recorded,
                compile_pricer(rule, overload, mode_options),
                None if rule.group else partial(compile_recorder, rule, overload, mode_options),
                call_of(overload),
                partial(compile_pricer, replace(rule, formula=None), overload, mode_options),
                compile_group_reader(rule, overload),
                None if is_trusted(rule.formula) else rule.formula,
            )
        compile_traffic = partial(compile_pricer, PricingRule(None), overload, mode_options)
        if composite_implicit(overload):
            return OpPricing(name, "decomposes", compile_traffic=compile_traffic)
        if packet_of(overload) in third_party_formulas():
            pricer = _adapt_third_party_formula(overload)
            formula = third_party_formulas()[packet_of(overload)]
            return OpPricing(name, "formula", pricer=pricer, compile_traffic=compile_traffic, formula=formula)
        return OpPricing(name, "unpriced", pricer=compile_pricer(PricingRule(None), overload, mode_options))

    def price_cache(self, mode_options: Mapping[str, Any]) -> PriceCache:
        """Return the cache that all modes of the same options share; later registrations clear it."""
        # Import the formulas here rather than in the middle of the program that is counted.
        self._import_rules()
        key = tuple(sorted(mode_options.items()))
        if key not in self._shared_caches:
            self._shared_caches[key] = PriceCache(self, mode_options)
            self.subscribe(self._shared_caches[key])
        return self._shared_caches[key]

    def subscribe(self, cache: PriceCache) -> None:
        """Clear a cache, as long as it lives, whenever something is registered here or in a parent."""
        self._caches = [each for each in self._caches if each() is not None] + [weakref.ref(cache)]
        if self._parent is not None:
            self._parent.subscribe(cache)


def _check_name(name: str) -> None:
    """Refuse what cannot be the name of an operator, now or later.

    Raises:
        FormulaError: It cannot.
    """
    if not _QUALIFIED.fullmatch(name):
        found = _WITH_OVERLOAD.fullmatch(name)
        if found and found[3]:
            _check_name(f"{found[1]}::{found[2]}")
        meant = f" For all overloads of the operator, write '{found[1]}::{found[2]}'." if found else ""
        if found and found[3] and hasattr(packet_named(f"{found[1]}::{found[2]}"), found[3]):
            meant += f" For one of them, pass torch.ops.{found[1]}.{found[2]}.{found[3]}."
        raise FormulaError(f"{name!r} is not the name of an operator. Write it as in 'mylib::swiglu'.{meant}")
    namespace = name.partition("::")[0]
    if namespace in COMPLETE_NAMESPACES and not _is_defined(name):
        known = [f"{namespace}::{packet.__name__}" for packet in dispatcher_packets(namespace)]
        raise FormulaError(f"{unknown('operator', name, known)} PyTorch defines all of {namespace} itself.")


def _is_defined(name: str) -> bool:
    """Tell whether there is an operator of a name by now; packets also stand for functions of TorchScript."""
    packet = packet_named(name)
    return packet is not None and any(True for _ in overloads_of(packet))


def _check_applies(rule: PricingRule, overload: OpOverload) -> None:
    check_rule(rule, overload)
    key = hidden_by(overload) if rule.formula is not None else None
    if key is not None:
        raise FormulaError(
            f"A formula for {overload.name()} would never apply: PyTorch runs its kernel for {key} before OpFlopMode "
            "sees the operator. Give formulas to the operators that this kernel calls, or register the kernel for "
            "CompositeImplicitAutograd."
        )


def _describe_rule(rule: PricingRule) -> str:
    return "a declared zero" if rule.formula is None else describe(rule.formula)


def _adapt_third_party_formula(overload: OpOverload) -> Callable[..., tuple[Cost, int, int, torch.dtype | None]]:
    """Adapt a formula of ``torch.utils.flop_counter``, which counts two operations for each multiply-accumulate."""
    zero_pricer = compile_pricer(PricingRule(None), overload, {})
    packet = packet_of(overload)

    def pricer(out: Any, *args: Any, **kwargs: Any) -> tuple[Cost, int, int, torch.dtype | None]:
        flops = third_party_formulas()[packet](*args, **kwargs, out_val=out)
        if flops == int(flops):
            flops = int(flops)
        _, read, written, dtype = zero_pricer(out, *args, **kwargs)
        return Cost(macs=flops // 2, ops=flops % 2), read, written, dtype

    return pricer


registry = Registry(rules_package="opflops.formulas")
"""The pricing rules that every mode starts from."""
