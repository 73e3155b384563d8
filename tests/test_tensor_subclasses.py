"""Tensor subclasses: counted as the operators that they run inside ``__torch_dispatch__``."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from opflops import Cost, OpFlopMode, UnpricedOpError, UnpricedOpWarning, count

aten = torch.ops.aten
TOKENS, WIDTH, OUT = 5, 12, 7
X = torch.linspace(-1, 1, TOKENS * WIDTH).view(TOKENS, WIDTH)


class Int8Weight(torch.Tensor):
    """A matrix of integers behind one scale. Its products run in int8."""

    @staticmethod
    def __new__(cls, values):
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=torch.float32)

    def __init__(self, values):
        self.values = values

    def __tensor_flatten__(self):
        return ["values"], None

    @classmethod
    def __tensor_unflatten__(cls, inner, context, size, stride):
        return cls(inner["values"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is aten.mm.default:
            left, weight = args
            return torch._int_mm((left * 9).round().to(torch.int8), weight.values) / 9
        if func in (aten.t.default, aten.detach.default):
            return cls(func(args[0].values))
        return NotImplemented


WEIGHT = Int8Weight((torch.arange(WIDTH * OUT) % 17 - 8).to(torch.int8).view(WIDTH, OUT))
# Multiplying and rounding the input, dividing the result.
FLOAT_OPS, INT8_MACS = 2 * TOKENS * WIDTH + TOKENS * OUT, TOKENS * WIDTH * OUT


class Unwrapping(torch.Tensor):
    """A tensor that runs each operator on the one inside it, and wraps the results."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, dtype=inner.dtype, requires_grad=inner.requires_grad
        )

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        args, kwargs = tree_map(lambda each: each.inner if isinstance(each, cls) else each, (args, kwargs or {}))
        out = cls.run(func, args, kwargs)
        return tree_map(lambda each: cls(each) if isinstance(each, torch.Tensor) else each, out)

    @staticmethod
    def run(func, args, kwargs):
        return func(*args, **kwargs)


class Twice(Unwrapping):
    """A tensor that runs each operator twice."""

    @staticmethod
    def run(func, args, kwargs):
        func(*args, **kwargs)
        return func(*args, **kwargs)


class Hidden(Unwrapping):
    """A tensor that runs operators where no dispatch mode sees them."""

    @staticmethod
    def run(func, args, kwargs):
        with torch._C._DisableTorchDispatch():
            return func(*args, **kwargs)


def work(profile):
    """Return macs, ops and transcendentals by operator and dtype."""
    sums = {}
    for row in profile.rows:
        sums[row.op, row.dtype] = sums.get((row.op, row.dtype), Cost()) + row.cost
    return {key: tuple(cost)[:3] for key, cost in sums.items() if any(tuple(cost)[:3])}


INT8_PRODUCT = {
    ("aten.mul", "float32"): (0, TOKENS * WIDTH, 0),
    ("aten.round", "float32"): (0, TOKENS * WIDTH, 0),
    ("aten._int_mm", "int8"): (INT8_MACS, 0, 0),
    ("aten.div", "float32"): (0, TOKENS * OUT, 0),
}


@pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_subclass_is_counted_as_the_operators_that_it_runs(grad_mode):
    """In each grad mode, in the dtypes that they run in, and without a row for the operator that it was given."""
    with grad_mode(), OpFlopMode() as mode:
        out = torch.mm(X, WEIGHT)
    assert work(mode.profile) == INT8_PRODUCT
    assert "aten.mm" not in {row.op for row in mode.profile.rows}
    assert mode.total.flops == FLOAT_OPS
    assert torch.equal(out, torch.mm(X, WEIGHT))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(WEIGHT, requires_grad=False)

    def forward(self, x):
        return torch.mm(x, self.weight)


def test_what_a_subclass_runs_belongs_to_the_module():
    """In a run and in a count on tensors without values alike."""
    model = nn.Sequential(nn.ReLU(), Layer())
    with OpFlopMode() as mode:
        model(X)
    assert {row.module for row in mode.profile.rows if row.op != "aten.relu"} == {"Sequential.1"}
    counted = count(model, X)
    assert work(counted) == work(mode.profile) == {**INT8_PRODUCT, ("aten.relu", "float32"): (0, TOKENS * WIDTH, 0)}


def test_a_subclass_is_counted_in_every_call():
    """Also when the same operator ran on plain tensors in the same module before."""
    plain = torch.ones(WIDTH, OUT)
    with OpFlopMode() as mode:
        for _ in range(3):
            X @ plain
            X @ WEIGHT
            torch.mm(X, WEIGHT)
    assert work(mode.profile) == {
        ("aten.mm", "float32"): (3 * INT8_MACS, 0, 0),
        **{key: tuple(6 * number for number in cost) for key, cost in INT8_PRODUCT.items()},
    }


def test_a_subclass_is_counted_as_often_as_it_runs_an_operator():
    """In the backward pass too, and through subclasses inside subclasses."""
    inner = torch.ones(WIDTH, OUT)
    for weight, times in ((Unwrapping(inner), 1), (Twice(inner), 2), (Unwrapping(Twice(inner)), 2)):
        with OpFlopMode() as mode:
            torch.mm(X, weight)
        assert work(mode.profile) == {("aten.mm", "float32"): (times * INT8_MACS, 0, 0)}
    x = X.clone().requires_grad_()
    with OpFlopMode() as mode:
        torch.mm(x, Twice(inner)).sum().backward()
    assert mode.profile.where(op="aten.mm").by("phase") == {
        "forward": mode.profile.where(op="aten.mm", phase="forward").total,
        "backward": mode.profile.where(op="aten.mm", phase="backward").total,
    }
    assert mode.profile.where(phase="forward").total.macs == mode.profile.where(phase="backward").total.macs
    assert mode.profile.where(phase="backward").total.macs == 2 * INT8_MACS


def test_every_mode_sees_what_a_subclass_runs():
    """Nested counting modes see the same. A mode of the program sees the same too, or what runs in its place."""

    class Log(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.seen.append((func, types))
            return NotImplemented if types else func(*args, **(kwargs or {}))

    with Log() as alone:
        torch.mm(X, WEIGHT)
    with Log() as outer, OpFlopMode() as first, OpFlopMode(timing=True) as second, Log() as inner:
        torch.mm(X, WEIGHT)
    assert work(first.profile) == work(second.profile) == INT8_PRODUCT
    assert inner.seen == alone.seen
    assert {func for func, types in outer.seen if not types} == {func for func, _ in outer.seen}
    assert aten._int_mm.default in {func for func, _ in outer.seen}


def test_work_that_a_subclass_hides_is_an_estimate():
    """The operator that it was given is counted, and the report says so; operators without arithmetic leave no row."""
    hidden = Hidden(torch.ones(WIDTH, OUT))
    with OpFlopMode() as mode:
        torch.mm(X, hidden.detach())
    (row,) = mode.profile.rows
    assert (row.op, row.cost.macs) == ("aten.mm", INT8_MACS)
    assert "Hidden computes it" in row.estimate
    assert "Hidden computes it" in str(mode)


def test_a_formula_that_fails_on_a_subclass_that_hides_its_work_is_reported():
    """The operator runs, and is listed as unpriced with what the formula raised."""

    def broken(self):
        raise ValueError("no luck")

    with pytest.warns(UnpricedOpWarning, match="no luck"), OpFlopMode(formulas={aten.exp: broken}) as mode:
        out = torch.exp(Hidden(X))
    assert mode.profile.unpriced == {"aten.exp": 1}
    assert torch.equal(out.inner, torch.exp(X))


def test_an_operator_without_a_formula_that_a_subclass_hides_is_unpriced():
    """It is named, and strict mode refuses it."""
    with torch.library._scoped_library("subclasstest", "DEF") as library:
        library.define("double(Tensor x) -> Tensor")
        library.impl("double", lambda x: x.clone(), "CompositeExplicitAutograd")
        with pytest.warns(UnpricedOpWarning, match="subclasstest.double"), OpFlopMode() as mode:
            torch.ops.subclasstest.double(Hidden(X))
        assert mode.profile.unpriced == {"subclasstest.double": 1}
        with pytest.raises(UnpricedOpError, match="is computed by Hidden"), OpFlopMode(strict=True):
            torch.ops.subclasstest.double(Hidden(X))


def test_a_composite_operator_that_a_subclass_runs_itself():
    """Inference mode hands a subclass the composite operator, as it does without a mode."""

    class Fused(Unwrapping):
        given = ()

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            cls.given += (func,)
            return super().__torch_dispatch__(func, types, args, kwargs)

    weight = Fused(torch.ones(OUT, WIDTH))
    with torch.inference_mode():
        nn.functional.linear(X, weight)
        without, Fused.given = Fused.given, ()
        with OpFlopMode() as mode:
            nn.functional.linear(X, weight)
    assert Fused.given == without
    assert mode.total.macs == INT8_MACS


def test_an_operator_that_a_subclass_refuses_raises_as_without_a_mode():
    """The error is the dispatcher's own."""
    with pytest.raises(TypeError, match="Multiple dispatch failed"):
        torch.exp(WEIGHT)
    with pytest.raises(TypeError, match="Multiple dispatch failed"), OpFlopMode() as mode:
        torch.exp(WEIGHT)
    assert not mode.profile.rows


def test_modules_that_a_subclass_calls_are_named():
    """Work of a module that ``__torch_dispatch__`` calls is filed under that module."""

    class Calling(Unwrapping):
        norm = nn.LayerNorm(WIDTH)

        @staticmethod
        def run(func, args, kwargs):
            return Calling.norm(func(*args, **kwargs))

    with torch.no_grad(), OpFlopMode() as mode:
        torch.neg(Calling(X))
    assert {row.module for row in mode.profile.rows if row.op == "aten.native_layer_norm"} == {"LayerNorm"}
    assert mode.profile.by("op")["aten.neg"].ops == X.numel()
