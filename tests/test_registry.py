"""How operators get their formulas: registration is checked, look-up has an order, caches follow registrations."""

import gc
import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import flop_registry

from opflops import Cost, DuplicateFormulaError, Estimate, FormulaError, OpFlopMode, coverage, formula
from opflops.pricing.registration import declare_zero
from opflops.pricing.registry import Registry, registry
from opflops.pricing.schema_binding import PricingRule
from opflops.pricing.schemas import functional_variant
from opflops.records.cost import is_whole

aten = torch.ops.aten
DENSE = {"causal": "dense"}

torch.library.define("opflops_test::scale", "(Tensor x, Tensor weight, *, float by=2.0) -> Tensor")
torch.library.define("opflops_test::scale_", "(Tensor(a!) x, Tensor weight, *, float by=2.0) -> Tensor(a!)")
torch.library.define(
    "opflops_test::scale.out", "(Tensor x, Tensor weight, *, float by=2.0, Tensor(a!) out) -> Tensor(a!)"
)
torch.library.define("opflops_test::bare", "(Tensor x) -> Tensor")
torch.library.define("opflops_test::keyed", "(Tensor x, int from, Tensor[] others, int n=3) -> (Tensor, Tensor)")
ours = torch.ops.opflops_test


def fresh(function=None, *ops, **options):
    """Return a registry that has one rule and nothing else."""
    own = Registry()
    if ops:
        own.register(PricingRule(function, **options), ops)
    return own


def charge(own, overload, result, /, *args, **kwargs):
    return own.resolve(overload, DENSE).charge(result, args, kwargs)


def test_arguments_reach_the_formula_by_their_schema_names():
    """Positional, keyword and defaulted arguments, and what the operator returned."""
    seen = []

    def price(weight, by, *, out):
        seen.append((weight, by, out))
        return Cost(ops=7)

    own = fresh(price, ours.scale)
    x, weight = torch.zeros(2), torch.zeros(3)
    assert charge(own, ours.scale.default, x, x, weight)[0].ops == 7
    charge(own, ours.scale.default, x, x, weight, by=5.0)
    assert [(by, out) for _, by, out in seen] == [(2.0, x), (5.0, x)]
    assert all(got is weight for got, _, _ in seen)


def test_schema_names_that_python_reserves_do_not_hinder():
    """An operator with an argument called "from" binds as any other."""
    own = fresh(lambda n, others: Cost(ops=n + len(others)), ours.keyed)
    x = torch.zeros(1)
    assert charge(own, ours.keyed.default, (x, x), x, 9, [x, x])[0].ops == 5


def test_an_unknown_parameter_is_refused_with_the_schema():
    """The message names the formula, the parameter, the schema, and what may be asked for."""
    with pytest.raises(FormulaError) as caught:

        @formula(ours.scale)
        def price(x, weigth):
            return Cost()

    for part in ("price(x, weigth)", "'weigth'", "opflops_test::scale(Tensor x, Tensor weight", "by, weight, x"):
        assert part in str(caught.value)
    assert registry.get_rule(ours.scale.default) is None


@pytest.mark.parametrize("price", [lambda *args: Cost(), lambda x, **rest: Cost(), lambda x, /: Cost()])
def test_parameters_without_a_name_are_refused(price):
    """What is not asked for by name cannot be checked against a schema."""
    with pytest.raises(FormulaError, match="by name"):
        fresh(price, ours.bare)


def test_a_parameter_with_a_default_may_be_missing_from_an_overload():
    """One formula serves overloads that differ in their options."""
    own = fresh(lambda x, by=1.0, missing=4: Cost(ops=int(by) * missing), ours.scale, ours.bare)
    x = torch.zeros(1)
    assert charge(own, ours.scale.default, x, x, x, by=3.0)[0].ops == 12
    assert charge(own, ours.bare.default, x, x)[0].ops == 4


def test_every_overload_of_a_packet_is_checked():
    """A formula that fits some overloads of a packet and not others is not registered for any."""
    own = Registry()
    with pytest.raises(FormulaError, match=r"aten::max\.other\(Tensor self"):
        own.register(PricingRule(lambda self, dim: Cost()), [aten.max])
    assert own.get_rule(aten.max.dim) is None


@pytest.mark.parametrize("wrong", [torch.add, "aten.mm", aten, None])
def test_only_operators_take_formulas(wrong):
    """A function of torch, a name or a namespace is no operator."""
    with pytest.raises(FormulaError, match=r"is not (an|the name of an) operator"):
        fresh(lambda: Cost(), wrong)


def test_a_formula_for_nothing_is_refused():
    """A decorator without an operator is a mistake."""
    with pytest.raises(FormulaError, match="at least one operator"):
        formula()(lambda: Cost())


def test_a_duplicate_is_an_error_and_an_override_explicit():
    """The message names both formulas."""
    own = fresh(Cost, ours.bare)

    def second(x):
        return Cost(ops=2)

    with pytest.raises(DuplicateFormulaError, match=r"override=True.*second\(x\)"):
        own.register(PricingRule(second), [ours.bare])
    own.register(PricingRule(second), [ours.bare], override=True)
    assert charge(own, ours.bare.default, torch.zeros(1), torch.zeros(1))[0].ops == 2


def test_the_decorator_returns_the_function():
    """A formula can be called, and used in another."""

    @formula(
        torch.library.custom_op(
            "opflops_test::decorated", lambda x: x, mutates_args=(), schema="(Tensor x) -> Tensor"
        )._opoverload
    )
    def price(x):
        return Cost(ops=11)

    assert price(None) == Cost(ops=11)


@pytest.mark.parametrize(
    ("overload", "variant"),
    [
        (aten.add_.Tensor, aten.add.Tensor),
        (aten.add.out, aten.add.Tensor),
        (aten.max.dim_max, aten.max.dim),
        (aten.max.unary_out, aten.max.default),
        (aten.relu_.default, aten.relu.default),
        (aten._foreach_add_.List, aten._foreach_add.List),
        (aten.nll_loss_backward.grad_input, aten.nll_loss_backward.default),
        (aten.mm.default, None),
        (aten.random_.default, aten.random.default),
    ],
    ids=str,
)
def test_in_place_and_out_variants_have_functional_variants(overload, variant):
    """The variant takes the same arguments; a functional operator has none."""
    assert functional_variant(overload) is variant


def test_a_variant_is_priced_by_the_functional_formula():
    """In-place and out= forms need no registration of their own."""
    own = fresh(lambda x: Cost(ops=x.numel()), ours.scale.default)
    x = torch.zeros(5)
    for overload, kwargs in ((ours.scale_.default, {}), (ours.scale.out, {"out": x})):
        assert own.resolve(overload, DENSE).verdict == "formula"
        assert charge(own, overload, x, x, x, **kwargs)[0].ops == 5


def test_an_exact_formula_comes_before_the_functional_variant():
    """An in-place form may have a price of its own."""
    own = fresh(lambda x: Cost(ops=1), ours.scale.default)
    own.register(PricingRule(lambda x: Cost(ops=2)), [ours.scale_])
    x = torch.zeros(1)
    assert charge(own, ours.scale_.default, x, x, x)[0].ops == 2


def test_look_up_falls_through_to_decomposition_and_then_to_third_parties():
    """Formula > zero > decomposes > torch.utils.flop_counter > unpriced."""
    own = Registry()
    assert own.verdict(aten.mm.default) == "formula"  # torch publishes one
    assert own.verdict(aten.linear.default) == "decomposes"
    assert own.verdict(ours.bare.default) == "unpriced"
    own.register(PricingRule(None), [ours.bare])
    assert own.verdict(ours.bare.default) == "zero"
    own.register(PricingRule(lambda: Cost()), [aten.linear.default])
    assert own.verdict(aten.linear.default) == "formula"


def test_a_third_party_formula_counts_two_flops_for_a_mac():
    """What a library registered with torch.utils.flop_counter is used, also when it came after the first look."""
    cache = Registry().price_cache(DENSE)
    overload = ours.bare.default
    assert cache[overload].verdict == "unpriced"
    flop_registry[ours.bare] = lambda x, out_val=None: 2 * x.numel() * out_val.numel() + 1
    try:
        pricing = cache[overload]
        cost, dtype, _ = pricing.charge(torch.zeros(3), (torch.zeros(5),), {})
    finally:
        del flop_registry[ours.bare]
    assert pricing.verdict == "formula"
    assert (cost.macs, cost.ops, cost.flops) == (15, 1, 31)
    assert (cost.bytes_read, cost.bytes_written, dtype) == (20, 12, torch.float32)


def test_a_formula_of_ours_comes_before_a_third_partys():
    """Torch's own table counts 134,217,728 for this kernel, by a layout that it does not have."""
    q = torch.empty(2, 1024, 16, 64, device="meta")
    args = (q, q, q, None, None, None, 1024, 1024, 0.0, 0)
    overload = aten._efficient_attention_forward.default
    assert 2 * charge(registry, overload, (q,), *args)[0].macs == 8_589_934_592


def test_a_cache_follows_later_registrations():
    """Nothing that was resolved before a registration is used after it, in child registries too."""
    own = fresh(lambda: Cost(ops=1), ours.bare)
    child = Registry(parent=own)
    caches = [own.price_cache(DENSE), child.price_cache(DENSE)]
    x = torch.zeros(1)
    assert [cache[ours.bare.default].charge(x, (x,), {})[0].ops for cache in caches] == [1, 1]
    own.register(PricingRule(lambda: Cost(ops=2)), [ours.bare], override=True)
    assert [cache[ours.bare.default].charge(x, (x,), {})[0].ops for cache in caches] == [2, 2]


def test_caches_that_nobody_uses_are_let_go():
    """A registry does not hold on to the caches of modes that are gone."""
    own = Registry()
    for _ in range(50):
        own.price_cache(DENSE)
    own.price_cache(DENSE)
    assert len(own._caches) <= 2
    for _ in range(50):
        Registry(parent=own).price_cache(DENSE)
    gc.collect()
    Registry(parent=own).price_cache(DENSE)
    assert len(own._caches) <= 3


def test_modes_share_what_was_prepared():
    """Operators are fitted to their formulas once for each way of counting, not once a block."""
    own = fresh(Cost, ours.bare)
    assert own.price_cache(DENSE)[ours.bare.default] is own.price_cache(dict(DENSE))[ours.bare.default]
    assert own.price_cache({"causal": "exact"}) is not own.price_cache(DENSE)


@pytest.mark.parametrize("answer", [None, 12, (1, 2), "many"])
def test_a_formula_that_returns_no_cost_is_an_error(answer):
    """The message names the operator and what came instead."""
    own = fresh(lambda: answer, ours.bare)
    with pytest.raises(FormulaError, match=r"opflops_test\.bare returned"):
        charge(own, ours.bare.default, torch.zeros(1), torch.zeros(1))


def test_a_formula_that_raises_is_told_with_the_shapes():
    """An error in a formula is an error, not a silent zero."""
    own = fresh(lambda x: x.shape[5], ours.bare)
    with pytest.raises(FormulaError, match=r"opflops_test\.bare failed on \(2, 3\): IndexError"):
        charge(own, ours.bare.default, torch.zeros(1), torch.zeros(2, 3))


def test_an_estimate_keeps_its_reason():
    """What cannot be exact says so."""
    own = fresh(lambda: Estimate(Cost(ops=3), "it depends"), ours.bare)
    cost, _, reason = charge(own, ours.bare.default, torch.zeros(1), torch.zeros(1))
    assert (cost.ops, reason) == (3, "it depends")


def test_complex_arithmetic_is_stated_in_real_operations():
    """A complex multiply-accumulate is four real ones, a complex addition two."""
    own = fresh(lambda: Cost(macs=10, ops=10, transcendentals=10), ours.bare)
    for dtype, macs, ops in ((torch.float32, 10, 10), (torch.complex64, 40, 20), (torch.complex128, 40, 20)):
        x = torch.zeros(1, dtype=dtype)
        cost, _, _ = charge(own, ours.bare.default, x, x)
        assert (cost.macs, cost.ops, cost.transcendentals) == (macs, ops, 10)


def test_bytes_come_from_the_schema_unless_the_formula_states_them():
    """Arguments are read, results written; a formula that knows better of either is believed."""
    x = torch.zeros(4)
    ruled = charge(fresh(lambda: Cost(), ours.scale), ours.scale.default, torch.zeros(6), x, x)[0]
    assert (ruled.bytes_read, ruled.bytes_written) == (32, 24)
    stated = charge(fresh(lambda: Cost(bytes_read=5), ours.scale), ours.scale.default, x, x, x)[0]
    assert (stated.bytes_read, stated.bytes_written) == (5, 16)


def test_bytes_of_in_place_and_out_variants():
    """In place reads and writes; an out= argument is written and not read."""
    own = fresh(lambda: Cost(), ours.scale)
    x, weight, out = torch.zeros(4), torch.zeros(2), torch.zeros(4)
    in_place = charge(own, ours.scale_.default, x, x, weight)[0]
    assert (in_place.bytes_read, in_place.bytes_written) == (24, 16)
    into = charge(own, ours.scale.out, out, x, weight, out=out)[0]
    assert (into.bytes_read, into.bytes_written) == (24, 16)


def test_unread_and_picked_arguments():
    """What lends its shape is not read; of what is gathered from, as much as comes out."""
    x, weight, out = torch.zeros(100), torch.zeros(2), torch.zeros(3)
    unread = charge(fresh(lambda: Cost(), ours.scale, unread=("x",)), ours.scale.default, out, x, weight)[0]
    assert unread.bytes_read == 8
    picked = charge(fresh(lambda: Cost(), ours.scale, picked=("x",)), ours.scale.default, out, x, weight)[0]
    assert picked.bytes_read == 8 + 12


def test_the_dtype_is_the_results_or_the_first_floating_arguments():
    """A comparison of floats is work on floats, an integer result of integers work on integers."""
    own = fresh(lambda: Cost(), ours.scale)
    f32, bf16, i64, mask = torch.zeros(1), torch.zeros(1).bfloat16(), torch.zeros(1).long(), torch.zeros(1).bool()

    def ran_in(out, *args):
        return charge(own, ours.scale.default, out, *args)[1]

    assert ran_in(bf16, f32, f32) is torch.bfloat16
    assert ran_in(mask, i64, f32) is torch.float32
    assert ran_in(i64, i64, i64) is torch.int64
    assert ran_in(mask, i64, i64) is torch.bool
    assert ran_in((i64, bf16), i64, i64) is torch.bfloat16
    assert ran_in(3, i64, i64) is torch.int64


def test_the_dtype_may_be_an_arguments():
    """A product of low-precision numbers is work in that precision, whatever it is returned in."""
    own = fresh(lambda: Cost(), ours.scale, dtype_from="weight")
    f32, fp8 = torch.zeros(1), torch.zeros(1).to(torch.float8_e4m3fn)
    assert charge(own, ours.scale.default, f32, f32, fp8)[1] is torch.float8_e4m3fn


def test_the_dtype_may_be_stated_or_computed():
    """An operator that quantizes inside states its dtype; one that does so for some arguments computes it from them."""
    f32, fp8 = torch.zeros(1), torch.zeros(1).to(torch.float8_e4m3fn)
    stated = fresh(lambda: Cost(), ours.scale, dtype_from=torch.quint8)
    assert charge(stated, ours.scale.default, f32, f32, f32)[1] is torch.quint8

    def source(weight):
        return torch.quint8 if weight.dtype is torch.float8_e4m3fn else torch.float32

    computed = fresh(lambda: Cost(), ours.scale, dtype_from=source)
    assert charge(computed, ours.scale.default, f32, f32, fp8)[1] is torch.quint8
    assert charge(computed, ours.scale.default, fp8, fp8, f32)[1] is torch.float32
    with pytest.raises(FormulaError, match="'mass', which is not an argument"):
        fresh(lambda: Cost(), ours.scale, dtype_from=lambda mass: mass.dtype)


def test_coverage_has_a_verdict_for_every_packet():
    """Every operator of aten that the dispatcher knows is listed, and none is unknown."""
    verdicts = coverage("aten")
    assert len(verdicts) > 1000
    assert {name for name, verdict in verdicts.items() if verdict == "unpriced"} == set()
    assert set(verdicts.values()) == {"formula", "zero", "decomposes"}
    assert verdicts["aten.mm"] == "formula"
    assert verdicts["aten.view"] == "zero"
    assert verdicts["aten.matmul"] == "decomposes"


def test_an_operator_that_a_new_pytorch_adds_is_unpriced():
    """Nothing prices it by default: not its tags, nor what it looks like."""
    with torch.library._scoped_library("aten", "FRAGMENT") as library:
        library.define("brand_new_relu(Tensor self) -> Tensor", tags=torch.Tag.pointwise)
        assert coverage("aten")["aten.brand_new_relu"] == "unpriced"


def test_nothing_that_pytorch_itself_loads_is_unpriced():
    """Whatever namespaces there are by now, those of PyTorch have no operator that opflops does not know."""
    assert {name for name, verdict in coverage().items() if verdict == "unpriced"} == set()


def test_coverage_lists_other_namespaces():
    """Operators that a library defined appear under their namespace, and torch's own namespaces by default."""
    assert coverage("opflops_test")["opflops_test.bare"] == "unpriced"
    assert {name.partition(".")[0] for name in coverage()} >= {"aten", "quantized", "prims"}


def test_every_registered_formula_fits_every_overload_that_it_prices():
    """Binding happens for the whole of aten without an error."""
    from opflops.pricing.schemas import overloads_of  # noqa: PLC0415
    from opflops.torch_internals.dispatch import dispatcher_packets  # noqa: PLC0415 - only this test walks the dispatcher

    pricings = [
        registry.resolve(overload, DENSE) for packet in dispatcher_packets("aten") for overload in overloads_of(packet)
    ]
    assert sum(pricing.verdict == "formula" for pricing in pricings) > 500


def test_an_argument_of_the_operator_comes_before_a_convention_of_its_name():
    """An attention kernel with an argument called causal gets that, and others get the mode's option."""
    torch.library.define("opflops_test::attend", "(Tensor x, *, bool causal=False) -> Tensor")
    seen = []

    def price(*, causal):
        seen.append(causal)
        return Cost()

    x = torch.zeros(1)
    charge(fresh(price, ours.attend), ours.attend.default, x, x)
    charge(fresh(price, ours.bare), ours.bare.default, x, x)
    assert seen == [False, "dense"]


def test_out_is_the_argument_of_an_operator_that_returns_nothing():
    """Kernels that fill their result in place are priced by it."""
    torch.library.define("opflops_test::fill_out", "(Tensor(a!) out, Tensor x) -> ()")
    own = fresh(lambda *, out: Cost(ops=out.numel()), ours.fill_out)
    assert charge(own, ours.fill_out.default, None, torch.zeros(7), torch.zeros(3))[0].ops == 7


def test_counts_of_other_libraries_integers_are_whole():
    """A NumPy integer is an integer, and so is a third party's float that has no fraction."""
    import numpy as np  # noqa: PLC0415 - only here

    assert is_whole(np.int64(3))
    flop_registry[ours.bare] = lambda x, out_val=None: 10.0
    try:
        cost, _, _ = Registry().price_cache(DENSE)[ours.bare.default].charge(torch.zeros(1), (torch.zeros(1),), {})
    finally:
        del flop_registry[ours.bare]
    assert (cost.macs, type(cost.macs)) == (5, int)


def test_no_operator_decomposes_only_in_python():
    """Decompositions for tracing compute differently; an operator that has nothing else is not taken apart."""
    for overload in (aten.upsample_nearest2d.default, aten._upsample_nearest_exact2d.default):
        assert Registry().verdict(overload) != "decomposes"


def test_a_name_is_priced_before_its_operator_is_defined():
    """A library may define it later, with overloads and an in-place variant; what was looked up before is not kept."""
    own = Registry()
    own.register(PricingRule(lambda x: Cost(ops=x.numel())), ["opflops_later::scale"])
    assert own.named == {"opflops_later::scale"}
    torch.library.define("opflops_later::scale", "(Tensor x) -> Tensor")
    torch.library.define("opflops_later::scale.by", "(Tensor x, float by) -> Tensor")
    torch.library.define("opflops_later::scale_", "(Tensor(a!) x) -> Tensor(a!)")
    torch.library.define("opflops_later::scaled", "(Tensor x) -> Tensor")
    later, x = torch.ops.opflops_later, torch.zeros(7)
    for overload, args in [(later.scale.default, (x,)), (later.scale.by, (x, 2.0)), (later.scale_.default, (x,))]:
        assert own.verdict(overload) == "formula"
        assert charge(own, overload, x, *args)[0].ops == 7
    assert own.verdict(later.scaled.default) == "unpriced"
    child = Registry(parent=own)
    cache = child.price_cache(DENSE)
    assert cache[later.scale.default].verdict == "formula"
    child.register(PricingRule(None), ["opflops_later::scale"])
    assert cache[later.scale.default].verdict == "zero"


def test_an_overload_comes_before_a_name():
    """What is priced as an operator keeps its price beside a name for the rest of the packet."""
    torch.library.define("opflops_later::both", "(Tensor x) -> Tensor")
    torch.library.define("opflops_later::both.by", "(Tensor x, float by) -> Tensor")
    both, x = torch.ops.opflops_later.both, torch.zeros(1)
    own = fresh(lambda: Cost(ops=1), both.by)
    own.register(PricingRule(lambda: Cost(ops=2)), ["opflops_later::both"])
    assert charge(own, both.by, x, x, 2.0)[0].ops == 1
    assert charge(own, both.default, x, x)[0].ops == 2


def test_a_name_of_an_operator_that_is_defined_is_checked_at_once():
    """Against its schema, and against the rules that it has; one that is defined later is checked then."""
    torch.library.define("opflops_later::known", "(Tensor x) -> Tensor")
    own = Registry()
    with pytest.raises(FormulaError, match="y"):
        own.register(PricingRule(lambda y: Cost(ops=1)), ["opflops_later::known"])
    own.register(PricingRule(lambda x: Cost(ops=1)), [torch.ops.opflops_later.known])
    with pytest.raises(DuplicateFormulaError, match="opflops_later::known"):
        own.register(PricingRule(lambda x: Cost(ops=2)), ["opflops_later::known"])
    own.register(PricingRule(lambda x: Cost(ops=2)), ["opflops_later::known"], override=True)
    x = torch.zeros(1)
    assert charge(own, torch.ops.opflops_later.known.default, x, x)[0].ops == 2
    with pytest.raises(DuplicateFormulaError, match="aten::relu"):
        formula("aten::relu")(lambda self: Cost())


@pytest.mark.parametrize("name", ["scale", "opflops.scale", "opflops::scale.by", "a::b::c", "opflops::", "", "a ::b"])
def test_a_malformed_name_is_refused(name):
    """A name has a namespace and a packet, and no overload; the message shows how one is written."""
    own = Registry()
    with pytest.raises(FormulaError, match="'mylib::swiglu'"):
        own.register(PricingRule(None), [name])
    assert not own.named


def test_a_duplicate_name_is_an_error_and_an_override_explicit():
    """The message names both formulas."""
    own = fresh(None, "opflops_later::twice")

    def second(x):
        return Cost(ops=2)

    with pytest.raises(DuplicateFormulaError, match=r"opflops_later::twice .* a declared zero.*second\(x\)"):
        own.register(PricingRule(second), ["opflops_later::twice"])
    torch.library.define("opflops_later::twice", "(Tensor x) -> Tensor")
    overload, x = torch.ops.opflops_later.twice.default, torch.zeros(1)
    assert own.verdict(overload) == "zero"
    own.register(PricingRule(second), ["opflops_later::twice"], override=True)
    assert charge(own, overload, x, x)[0].ops == 2


def test_a_formula_for_a_name_is_checked_once_its_operator_is_defined():
    """A parameter that the schema lacks is an error as soon as the operator is asked for."""
    own = fresh(lambda x, weigth: Cost(), "opflops_later::misfit")
    torch.library.define("opflops_later::misfit", "(Tensor x, Tensor weight) -> Tensor")
    with pytest.raises(FormulaError, match=r"'weigth'.*opflops_later::misfit\(Tensor x, Tensor weight\)"):
        own.verdict(torch.ops.opflops_later.misfit.default)


def test_coverage_lists_the_namespaces_of_names_once_they_are_loaded():
    """An extension that is not there has nothing to list; once it is there, all of it is listed."""
    declare_zero("opflops_extension::move")
    assert not any(name.startswith("opflops_extension.") for name in coverage())
    torch.library.define("opflops_extension::move", "(Tensor x) -> Tensor")
    torch.library.define("opflops_extension::turn", "(Tensor x) -> Tensor")
    torch.library.impl("opflops_extension::turn", "CompositeImplicitAutograd", lambda x: x.t())
    listed = {name: verdict for name, verdict in coverage().items() if name.startswith("opflops_extension.")}
    assert listed == {"opflops_extension.move": "zero", "opflops_extension.turn": "decomposes"}


RULES_BY_PACKET = """
import torch
from opflops.pricing.registry import registry
from opflops.pricing.schemas import overloads_of

registry.get_rule_by_name("")  # imports the formulas
packets, own = dict(registry._rules_by_packet), dict(registry._rules_by_overload)
assert len(packets) > 500, packets
found = {each: registry.get_rule(each) for packet in packets for each in overloads_of(packet)}
# An overload that had a rule by itself and another by its packet would have the one that came first.
twice = [str(each) for each in own if each in found]
assert not twice, twice
assert dict(registry.rules) == {**found, **own}
assert all(registry.get_rule(each) is rule for each, rule in {**found, **own}.items())
"""


def test_rules_of_the_formulas_are_the_same_before_and_after_their_overloads_are_listed():
    """The first block finds rules by operator; whoever registers a formula lists the rules of all overloads first."""
    subprocess.run([sys.executable, "-c", RULES_BY_PACKET], check=True)


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_an_operator_that_is_defined_again_takes_the_next_formula(where):
    """Whether that happens in a block or after it: PyTorch may go on dispatching the former overload."""

    def kernel(a: torch.Tensor) -> torch.Tensor:
        return a + 1

    def define():
        return torch.library.custom_op(f"opflops_tests::defined_again_{where}", mutates_args=())(kernel)

    operator = define()
    packet = getattr(torch.ops.opflops_tests, f"defined_again_{where}")
    formula(packet)(lambda a: Cost(macs=5))
    with OpFlopMode() as mode:
        operator(torch.ones(3))
        if where == "inside":
            operator = define()
    assert mode.total.macs == 5
    if where == "outside":
        operator = define()
    packet = getattr(torch.ops.opflops_tests, f"defined_again_{where}")
    formula(packet, override=True)(lambda a: Cost(macs=8))
    for _ in range(2):
        with OpFlopMode() as mode:
            operator(torch.ones(3))
        assert mode.total.macs == 8
