"""Changes of formulas and of operators; see :mod:`model_changes`, where they are added.

Each operator belongs to a library that ends with its program, and what a program registers is forgotten then.
"""

import gc
import warnings
from contextlib import ExitStack

import torch
from model_changes import Net, change
from torch import nn
from torch.utils.flop_counter import flop_registry

from opflops import Cost, formula
from opflops.pricing.registration import declare_zero
from opflops.pricing.registry import registry

aten = torch.ops.aten


def forget_registrations(stack):
    """Forget what is registered from now on when a stack of contexts ends, also where a mode keeps prices of it."""
    registry._list_package_overloads()
    kept = {name: type(value)(value) for name, value in vars(registry).items() if name in _REGISTERED}

    def restore():
        vars(registry).update(kept)
        for reference in registry._caches:
            if (cache := reference()) is not None:
                cache.clear()

    stack.callback(restore)
    return stack


_REGISTERED = ("_rules_by_overload", "_rules_by_name", "_composites", "_added_names")


def fixed(ops):
    return lambda *, out: Cost(ops=ops)


def define(state, name, schema="(Tensor x) -> Tensor", **kernels):
    """Define an operator, and let the model call it last."""
    library = state.stack.enter_context(torch.library._scoped_library("stale", "FRAGMENT"))
    library.define(f"{name}{schema}")
    for key, kernel in (kernels or {"CPU": torch.clone}).items():
        library.impl(name, kernel, key)
    state.model.requires_grad_(False).plain.append(lambda x: getattr(torch.ops.stale, name)(x))
    forget_registrations(state.stack)
    return library


@change
def formula_of_an_unpriced_operator(state):
    define(state, "unpriced")
    yield
    formula(torch.ops.stale.unpriced)(fixed(100))


@change
def formula_replaced(state):
    define(state, "replaced")
    formula(torch.ops.stale.replaced)(fixed(10))
    yield
    formula(torch.ops.stale.replaced, override=True)(fixed(100))


@change
def formula_by_name(state):
    define(state, "named")
    yield
    formula("stale::named")(fixed(100))


@change
def formula_by_overload(state):
    define(state, "overload")
    yield
    formula(torch.ops.stale.overload.default)(fixed(100))


@change
def formula_after_a_name(state):
    define(state, "both")
    formula("stale::both")(fixed(10))
    yield
    formula(torch.ops.stale.both, override=True)(fixed(100))


@change
def formula_of_the_functional_variant(state):
    library = define(state, "variant_", "(Tensor(a!) x) -> Tensor(a!)", CPU=lambda x: x)
    library.define("variant(Tensor x) -> Tensor")
    yield
    formula(torch.ops.stale.variant)(fixed(100))


@change
def declared_zero(state):
    define(state, "zero")
    yield
    declare_zero(torch.ops.stale.zero)


@change
def declared_zero_after_a_formula(state):
    forget_registrations(state.stack)
    yield
    formula(aten.gelu, override=True)(lambda: Cost())


@change
def other_traffic(state):
    define(state, "traffic")
    formula(torch.ops.stale.traffic)(fixed(10))
    yield
    formula(torch.ops.stale.traffic, override=True, unread=["x"], dtype_from=torch.float64)(fixed(10))


@change
def formula_of_aten(state):
    forget_registrations(state.stack)
    yield
    formula(aten.addmm, override=True)(fixed(1000))


@change
def formula_of_aten_restored(state):
    forget_registrations(state.stack)
    rule = registry.get_rule(aten.gelu.default)
    formula(aten.gelu, override=True)(fixed(1000))
    yield
    registry.register(rule, [aten.gelu], override=True)


@change
def formula_of_a_gradient(state):
    forget_registrations(state.stack)
    yield
    formula(aten.gelu_backward, override=True)(fixed(1000))


@change
def formula_of_a_composite(state):
    forget_registrations(state.stack)
    yield
    formula(aten.linear, override=True)(fixed(1000))


@change
def formula_of_a_composite_replaced(state):
    forget_registrations(state.stack)
    formula(aten.linear, override=True)(fixed(1000))
    yield
    formula(aten.linear, override=True)(fixed(10))


@change
def unregistered(state):
    # The public interface has no function for this; tests and mutations do it so.
    define(state, "unregistered")
    registered = forget_registrations(ExitStack())
    formula(aten.linear, override=True)(fixed(1000))
    formula(torch.ops.stale.unregistered)(fixed(1000))
    yield
    registered.close()


@change(of_blocks=True)
def formula_of_the_mode(state):
    yield
    state.options["formulas"] = {aten.addmm: fixed(1000)}


@change(of_blocks=True)
def no_formula_of_the_mode(state):
    state.options["formulas"] = {aten.addmm: fixed(1000), aten.linear: fixed(10)}
    yield
    state.options.clear()


@change
def formula_below_one_of_the_mode(state):
    forget_registrations(state.stack)
    state.options["formulas"] = {aten.addmm: fixed(1000)}
    yield
    formula(aten.gelu, override=True)(fixed(1000))


@change(of_blocks=True)
def other_convention(state):
    state.model, state.args = Net([_Attention()]), (torch.ones(4, 8),)
    yield
    state.options["causal"] = "exact"


class _Attention(nn.Module):
    def forward(self, x):
        x = x.reshape(1, 1, *x.shape)
        return nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)


@change
def custom_operator_defined_again(state):
    forget_registrations(state.stack)
    state.model.requires_grad_(False).plain.append(lambda x: torch.ops.stale.again(x))
    formula("stale::again")(fixed(10))
    _custom(state, lambda x: x.clone())
    yield
    _custom(state, lambda x: x.reshape(2, -1).clone())


def _custom(state, function):
    def again(x: torch.Tensor) -> torch.Tensor:
        return function(x)

    state.made = torch.library.custom_op("stale::again", mutates_args=())(again)
    state.stack.callback(state.made._lib._destroy)


@change
def operator_defined_again_with_another_formula(state):
    library = define(state, "anew")
    formula(torch.ops.stale.anew)(fixed(10))
    yield
    library._destroy()
    for name in [each for each in vars(torch.ops.stale) if each == "anew"]:
        delattr(torch.ops.stale, name)
    gc.collect()
    define(state, "anew", "(Tensor other, int n=2) -> Tensor", CPU=lambda other, n=2: other.repeat(n, 1))
    state.model.plain.pop()
    formula(torch.ops.stale.anew)(lambda n: Cost(ops=n))


@change
def operator_that_decomposes_from_now_on(state):
    library = define(state, "later", Meta=torch.empty_like)
    state.model.to("meta")
    state.args = (torch.ones(4, 8, device="meta"),)
    yield
    library.impl("later", lambda x: x * x + 1, "CompositeImplicitAutograd")


@change
def unpriced_operator_that_decomposes_from_now_on(state):
    library = define(state, "decomposing", CompositeExplicitAutograd=torch.clone)
    yield
    library._destroy()
    define(state, "decomposing", CompositeImplicitAutograd=lambda x: x * x + 1)
    state.model.plain.pop()


@change
def operator_that_no_longer_decomposes(state):
    library = define(state, "composite", CompositeImplicitAutograd=lambda x: x * x + 1)
    state.around.append(torch.inference_mode)
    yield
    library._destroy()
    define(state, "composite")
    state.model.plain.pop()


@change(of_blocks=True)
def autograd_kernel_replaced(state):
    library = define(state, "autograd", Autograd=lambda x: x * 4 / 2, CPU=lambda x: x * 2)
    formula(torch.ops.stale.autograd)(fixed(10))
    yield

    def dispatch_again(x):
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.stale.autograd(x * 4)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        library.impl("autograd", dispatch_again, "Autograd", allow_override=True)


@change
def formula_published(state):
    define(state, "published")
    yield
    state.stack.callback(flop_registry.pop, torch.ops.stale.published)
    flop_registry[torch.ops.stale.published] = lambda x, **_: 100


@change
def formula_published_again(state):
    define(state, "twice")
    flop_registry[torch.ops.stale.twice] = lambda x, **_: 10
    state.stack.callback(flop_registry.pop, torch.ops.stale.twice)
    yield
    flop_registry[torch.ops.stale.twice] = lambda x, **_: 100


@change
def formula_no_longer_published(state):
    define(state, "withdrawn")
    flop_registry[torch.ops.stale.withdrawn] = lambda x, **_: 10
    yield
    del flop_registry[torch.ops.stale.withdrawn]
