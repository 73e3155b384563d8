"""Operators on lists cost what the same operator costs on each tensor, one after another."""

import pytest
import torch
from counted import cost_of

from opflops import Cost, OpFlopMode
from opflops.pricing.registry import registry
from opflops.pricing.schemas import functional_variant, overloads_of
from opflops.torch_internals.dispatch import dispatcher_packets

aten = torch.ops.aten

# What one tensor of the list is worth, by operator; by default the operator of the same name.
SINGLE = {
    "copy": lambda self, src: torch.empty_like(self).copy_(src),
    "zero": torch.zero_,
    "norm": torch.linalg.vector_norm,
    "powsum": getattr(aten, "linalg__powsum", None),
    "clamp_max": torch.clamp_max,
    "clamp_min": torch.clamp_min,
    "maximum": lambda self, other: torch.maximum(self, torch.as_tensor(other, dtype=self.dtype)),
    "minimum": lambda self, other: torch.minimum(self, torch.as_tensor(other, dtype=self.dtype)),
}
FUNCTIONAL = [
    overload
    for packet in dispatcher_packets("aten")
    if packet.__name__.startswith("_foreach_")
    for overload in overloads_of(packet)
    if overload._schema.returns and "out" not in overload._overloadname
]
IN_PLACE = [
    overload
    for packet in dispatcher_packets("aten")
    if packet.__name__.startswith("_foreach_") and packet.__name__.endswith("_")
    for overload in overloads_of(packet)
    if "out" not in overload._overloadname
]
SHAPES = [(3, 3), (2, 2)]


def arguments(overload, shapes, dtype=torch.float64, device="cpu"):
    """Make a call's arguments by kind; factors are such that none is 1, so that each multiplication is made."""
    positional, named = [], {}
    for index, argument in enumerate(overload._schema.arguments):
        if argument.has_default_value() and argument.name in ("memory_format", "dtype", "non_blocking"):
            continue
        kind = str(argument.type)
        if kind == "List[Tensor]":
            value = [(torch.rand(shape, dtype=torch.float64) * 0.5 + 0.25).to(device, dtype) for shape in shapes]
        elif kind == "Tensor":
            value = torch.tensor([2.0, 3.0]) if argument.name == "scalars" else torch.tensor(2.0)
        elif kind.startswith("List"):
            value = [2.0 + each for each in range(len(shapes))]
        else:
            value = 3.0 + index
        if argument.kwarg_only:
            named[argument.name] = value
        else:
            positional.append(value)
    return positional, named


def items(value, count):
    if isinstance(value, torch.Tensor):
        return value.tolist() if value.dim() else [value] * count
    return value if isinstance(value, list) else [value] * count


def one_by_one(overload, positional, named):
    """Run the operator for one tensor on each element of the lists; returns the results."""
    name = overload._schema.name.removeprefix("aten::_foreach_").rstrip("_")
    function = SINGLE.get(name) or getattr(torch, name)
    if name in ("addcmul", "addcdiv"):
        positional, named = positional[:3], {"value": positional[3]}
    calls = zip(*(items(value, 2) for value in positional), strict=True)
    keywords = {key: items(value, 2) for key, value in named.items()}
    return [function(*call, **{key: of[index] for key, of in keywords.items()}) for index, call in enumerate(calls)]


@pytest.mark.parametrize("overload", FUNCTIONAL, ids=str)
def test_lists_cost_the_sum_of_their_tensors(overload):
    """Every operator on lists computes and costs what its operator for one tensor does, tensor by tensor."""
    positional, named = arguments(overload, SHAPES)
    with OpFlopMode(strict=True) as mode:
        out = overload(*positional, **named)
    with OpFlopMode(strict=True) as single:
        expected = one_by_one(overload, positional, named)
    torch.testing.assert_close(list(out), expected)
    cost = mode.total
    assert (cost.macs, cost.ops, cost.transcendentals) == (
        single.total.macs,
        single.total.ops,
        single.total.transcendentals,
    )


@pytest.mark.parametrize("overload", IN_PLACE, ids=str)
def test_in_place_costs_what_the_functional_form_does(overload):
    """Overwriting the first list changes nothing in the count, on numbers and on shapes alone."""
    variant = functional_variant(overload)
    positional, named = arguments(variant, SHAPES)
    expected = cost_of(lambda: variant(*positional, **named))
    assert cost_of(lambda: overload(*positional, **named)) == expected
    positional, named = arguments(variant, SHAPES, device="meta")
    assert cost_of(lambda: overload(*positional, **named)) == expected


@pytest.mark.parametrize(
    ("function", "cost"),
    [
        # Nine and four elements.
        (lambda tensors: torch._foreach_add(tensors, 3), Cost(ops=13)),
        (lambda tensors: torch._foreach_add(tensors, tensors, alpha=3), Cost(ops=2 * 13)),
        (lambda tensors: torch._foreach_addcmul(tensors, tensors, tensors, [1, 5]), Cost(ops=2 * 9 + 3 * 4)),
        (
            lambda tensors: torch._foreach_addcdiv(tensors, tensors, tensors, torch.tensor([5.0, 1.0])),
            Cost(ops=3 * 9 + 2 * 4),
        ),
        (lambda tensors: torch._foreach_sqrt(tensors), Cost(transcendentals=13)),
        # Squares, their sum in n - 1, and a root for each tensor.
        (lambda tensors: torch._foreach_norm(tensors), Cost(ops=9 + 8 + 4 + 3, transcendentals=2)),
        (lambda tensors: torch._foreach_norm(tensors, 1), Cost(ops=9 + 8 + 4 + 3)),
        (lambda tensors: torch._foreach_max(tensors), Cost(ops=8 + 3)),
        (lambda tensors: torch._foreach_copy_(tensors, tensors), Cost()),
    ],
)
def test_known_figures(function, cost):
    """Lists of nine and four elements, by hand."""
    tensors = [torch.rand(shape) for shape in SHAPES]
    assert cost_of(function, tensors) == cost


def test_a_tensor_of_numbers_without_values_multiplies():
    """Where the factors have no values (meta), none is taken for 1."""
    tensors = [torch.empty(shape, device="meta") for shape in SHAPES]
    overload = aten._foreach_addcmul.Tensor
    call = (tensors, tensors, tensors, torch.empty(2, device="meta"))
    assert registry.resolve(overload, {}).charge(tensors, call, {})[0].ops == 3 * 13


def test_complex_lists_count_real_operations():
    """A complex addition is two real operations and a complex multiplication six."""
    tensors = [torch.rand(shape, dtype=torch.complex64) for shape in SHAPES]
    assert cost_of(torch._foreach_add, tensors, tensors) == Cost(ops=2 * 13)
    assert cost_of(torch._foreach_mul, tensors, tensors) == Cost(ops=6 * 13)


@pytest.mark.parametrize(
    ("function", "read", "written"),
    [
        (lambda tensors, others: torch._foreach_add(tensors, others), 26, 13),
        (lambda tensors, others: torch._foreach_add_(tensors, others), 26, 13),
        (lambda tensors, others: torch._foreach_copy_(tensors, others), 13, 13),
        (lambda tensors, _: torch._foreach_zero_(tensors), 0, 13),
        (lambda tensors, _: torch._foreach_norm(tensors), 13, 2),
    ],
)
def test_traffic(function, read, written):
    """Every tensor of every list is read or written once; what is overwritten is not read."""
    tensors, others = ([torch.rand(shape) for shape in SHAPES] for _ in range(2))
    with OpFlopMode(strict=True) as mode:
        function(tensors, others)
    assert (mode.total.bytes_read, mode.total.bytes_written) == (4 * read, 4 * written)


def test_out_costs_what_the_functional_form_does():
    """Writing into given tensors changes nothing in the count."""
    tensors = [torch.rand(shape) for shape in SHAPES]
    out = [torch.empty(shape) for shape in SHAPES]
    assert cost_of(lambda: aten._foreach_add.List_out(tensors, tensors, alpha=3, out=out)) == Cost(ops=26)


def test_clipping_gradients():
    """One norm of all gradients and one multiplication of each: by hand for 9 + 4 elements.

    The norm of the two norms, its sum with epsilon, a reciprocal, a product, a bound and then the gradients.
    """
    parameters = [torch.rand(shape, requires_grad=True) for shape in SHAPES]
    for parameter in parameters:
        parameter.grad = torch.rand_like(parameter)
    norms = Cost(ops=9 + 8 + 4 + 3, transcendentals=2) + Cost(ops=2 + 1, transcendentals=1)
    factor = Cost(ops=1 + 1 + 1 + 1)
    for foreach in (True, False):
        cost = cost_of(lambda foreach=foreach: torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=foreach))
        assert cost == norms + factor + Cost(ops=13)
