"""Operators of the static runtime, which only TorchScript runs: against those of aten that they stand for."""

import pytest
import torch
from counted import cost_of, operator_name

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry
from opflops.pricing.schemas import overloads_of
from opflops.torch_internals.dispatch import dispatcher_packets

ours = torch.ops.static_runtime
pytestmark = pytest.mark.skipif(not dispatcher_packets("static_runtime"), reason="this build has no static runtime")

x = torch.randn(2, 6)


def charge(overload, out, *args):
    return registry.resolve(overload, {}).charge(out, args, {})[0]


def arithmetic(cost):
    return Cost(cost.macs, cost.ops, cost.transcendentals)


def test_every_operator_has_a_price():
    """Each is a formula's or a declared zero."""
    overloads = [overload for packet in dispatcher_packets("static_runtime") for overload in overloads_of(packet)]
    assert [overload for overload in overloads if registry.get_rule(overload) is None] == []


def test_signed_logarithms():
    """Sign, absolute value and product of twelve elements, and their logarithms."""
    expected = cost_of(lambda: x.sign() * x.abs().log1p())
    assert arithmetic(charge(ours.signed_log1p.default, x, x)) == expected == Cost(ops=36, transcendentals=12)


@pytest.mark.parametrize("bounds", [(-1, 1), (None, 1), (-1, None)])
def test_clamping_and_replacing(bounds):
    """A comparison for each bound that is given, and what replacing takes."""
    price = registry.get_rule(ours.clamp_nan_to_num.default).formula
    expected = cost_of(lambda: x.clamp(*bounds).nan_to_num())
    assert price(input=x, min=bounds[0], max=bounds[1], out=x) == expected
    assert expected.ops > 12


@pytest.mark.parametrize("affine", [False, True])
def test_layer_norm(affine):
    """It costs what ``native_layer_norm`` does."""
    parameters = (torch.rand(6), torch.rand(6)) if affine else (None, None)
    out = torch.native_layer_norm(x, [6], *parameters, 1e-5)
    expected = cost_of(lambda: torch.native_layer_norm(x, [6], *parameters, 1e-5))
    assert arithmetic(charge(ours.layer_norm.default, out, x, [6], *parameters)) == expected


def test_bags():
    """It costs what ``embedding_bag`` does, with a padding index or without."""
    table, indices, offsets = torch.rand(9, 3), torch.tensor([1, 2, 4, 5, 2]), torch.tensor([0, 2])
    for padding in (None, 2):
        given = (table, indices, offsets, False, 1, False, None, False, padding)
        with OpFlopMode(strict=True) as mode:
            out = torch.ops.aten._embedding_bag(*given[:-1], -1 if padding is None else padding)
        assert charge(ours.embedding_bag.padding_idx, out, *given) == mode.total
        assert mode.total.ops > 0
        if padding is None:
            assert charge(ours.embedding_bag.default, out, *given[:-1]) == mode.total


def test_restoring_quantized_tensors():
    """``(q - zero_point) * scale``."""
    assert charge(ours.dequantize_copy.self, x, torch.zeros(2, 6, dtype=torch.uint8)) == Cost(
        ops=24, bytes_read=12, bytes_written=48
    )


COPIES = [
    (ours.expand_dims_copy.default, (x, [0])),
    (ours.flatten_copy.using_ints, (x,)),
    (ours.permute_copy.default, (x, [1, 0])),
    (ours.reshape_copy.default, (x, [12])),
    (ours.to_copy.dtype, (x, torch.float)),
    (ours.to_copy.other, (x, x[0, 0])),
]


@pytest.mark.parametrize(("overload", "args"), COPIES, ids=operator_name)
def test_copies(overload, args):
    """What would be a view is read and written."""
    extra = 4 if overload is ours.to_copy.other else 0
    assert charge(overload, x, *args) == Cost(bytes_read=48 + extra, bytes_written=48)


def test_choices():
    """One of two tensors is handed on: nothing moves."""
    assert charge(ours.select_tensor.default, x, x, x, True) == Cost()
    assert charge(ours.fused_equally_split.default, [x, x], x, 2, 0) == Cost()
