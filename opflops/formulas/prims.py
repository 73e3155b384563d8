"""PyTorch's primitives, which its reference decompositions end in: each costs the same as its counterpart in aten.

A primitive whose arguments have the names of its counterpart's shares that formula; the others call it. ``import
torch`` defines the namespace.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from opflops.formulas import linalg, pointwise, reduction, special  # noqa: F401 - registered first
from opflops.formulas.sizes import aten
from opflops.pricing.registration import declare_zero, formula
from opflops.pricing.registry import registry
from opflops.pricing.schemas import overloads_of
from opflops.records.cost import Cost, Estimate

if TYPE_CHECKING:
    from torch import Tensor

    from opflops.torch_internals.dispatch import OpOverloadPacket

prims = torch.ops.prims

_SAME_NAME = """
abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or bitwise_xor ceil conj_physical cos
cosh digamma eq erf erfc exp exp2 expm1 floor fmax fmin fmod frexp gcd ge gt hypot igamma igammac le lgamma log log10
log1p log2 lt maximum minimum mul ne neg nextafter pow reciprocal remainder round rsqrt sign signbit sin sinh sqrt sub
tan tanh trunc
"""
_COUNTERPARTS = {name: name for name in _SAME_NAME.split()} | {
    "bessel_i0": "i0",
    "bessel_i0e": "special_i0e",
    "bessel_i1": "special_i1",
    "bessel_i1e": "special_i1e",
    "bessel_j0": "special_bessel_j0",
    "bessel_j1": "special_bessel_j1",
    "erf_inv": "erfinv",
    "erfcx": "special_erfcx",
    "ndtri": "special_ndtri",
    "shift_left": "bitwise_left_shift",
    "shift_right_arithmetic": "bitwise_right_shift",
    "spherical_bessel_j0": "special_spherical_bessel_j0",
    "svd": "_linalg_svd",
    "zeta": "special_zeta",
}


def _share_formula(counterpart: OpOverloadPacket, primitive: OpOverloadPacket) -> None:
    """Register the formula of an operator of aten, which is one for all overloads, for a primitive.

    A wrapper carries this module's name, so that the formula is found here too.
    """
    rule = registry.get_rule(next(overloads_of(counterpart)))
    if rule is None or rule.formula is None:
        raise RuntimeError(f"{counterpart} has no formula to share with {primitive}.")
    shared = rule.formula

    @functools.wraps(shared)
    def wrapper(**arguments: Any) -> Cost | Estimate:
        return shared(**arguments)

    wrapper.__module__ = __name__
    registry.register(replace(rule, formula=wrapper), [primitive])


for _name, _counterpart in _COUNTERPARTS.items():
    _share_formula(getattr(aten, _counterpart), getattr(prims, _name))


@formula(prims.div)
def div(self: Tensor, *, out: Tensor) -> Cost:
    """``x / y``, truncated for integers."""
    return pointwise.div(None if self.is_floating_point() or self.is_complex() else "trunc", out=out)


@formula(prims.cbrt)
def cbrt(self: Tensor) -> Cost:
    """``copysign(abs(x) ** (1 / 3), x)``."""
    return Cost(ops=2, transcendentals=1) * self.numel()


@formula(prims.isfinite)
def isfinite(self: Tensor) -> Cost:
    """``x == x and abs(x) != inf``; integers are finite."""
    return Cost(ops=3 * self.numel() if self.is_floating_point() or self.is_complex() else 0)


@formula(prims.sum, prims.amax, prims.amin, prims.xor_sum)
def reduce_op(inp: Tensor, *, out: Tensor) -> Cost:
    """See :func:`opflops.formulas.reduction.reduce_op`."""
    return reduction.reduce_op(inp, out=out)


@formula(prims.prod)
def prod(inp: Tensor, *, out: Tensor) -> Cost:
    """See :func:`opflops.formulas.reduction.prod`."""
    return reduction.prod(inp, out=out)


@formula(prims.var)
def var(inp: Tensor, *, out: Tensor) -> Cost:
    """See :func:`opflops.formulas.reduction.var`."""
    return reduction.var(inp, out=out)


def _packets(names: str) -> list[OpOverloadPacket]:
    """Look up primitives by their names, separated by spaces."""
    return [getattr(prims, name) for name in names.split()]


# Views; the schemas of the last two do not say so.
declare_zero(
    *_packets("broadcast_in_dim collapse_view conj imag real split_dim squeeze transpose view_of view_of_dtype")
)
declare_zero(*_packets("as_strided resize"), no_traffic=True)
# Memory that is allocated and not written.
declare_zero(*_packets("empty empty_permuted empty_strided"), no_traffic=True)
# Copies: each element is read and written.
declare_zero(
    *_packets(
        "as_strided_scatter cat clone collapse convert_element_type copy_strided device_put item reshape rev where"
    )
)
# A tensor that is overwritten, or only gives its shape, is not read.
declare_zero(prims.copy_to, prims.full_like, unread=("a",))
declare_zero(prims.fill, unread=("self",))
# Factories and random numbers write their result.
declare_zero(*_packets("full iota normal scalar_tensor uniform"))
# Queries of a dtype, and the tokens by which tracing keeps effects in order.
declare_zero(*_packets("_make_token _sink_tokens maximum_value minimum_value"), recorded=False)
