"""Reductions, softmax and running sums: against loops over single numbers, and against the references."""

from math import inf

import pytest
import torch
from counted import cost_of
from oracle import Work, aten, by_hand, excess, overloads_priced_by, priced, total

from opflops import Cost

x = torch.rand(2, 3, 4) + 0.1
# 24 elements; along the middle axis, 8 columns of 3.


def _mean(row):
    return total(row) / len(row)


def _variance(row, correction=1):
    mean = _mean(row)
    differences = [number - mean for number in row]
    return total([difference * difference for difference in differences]) / (len(row) - correction)


def _largest(row):
    largest = row[0]
    for number in row[1:]:
        largest = largest.larger(number)
    return largest


def _softmax(row):
    largest = _largest(row)
    powers = [(number - largest).exp() for number in row]
    normalizer = total(powers)
    return [power / normalizer for power in powers]


def _log_softmax(row):
    largest = _largest(row)
    shifted = [number - largest for number in row]
    normalizer = total([number.exp() for number in shifted]).log()
    return [number - normalizer for number in shifted]


def _logsumexp(row):
    largest = _largest(row)
    return total([(number - largest).exp() for number in row]).log() + largest


def _product(row):
    product = row[0]
    for number in row[1:]:
        product = product * number
    return product


def _running(step):
    def scan(row):
        results = [row[0]]
        for number in row[1:]:
            results.append(step(results[-1], number))
        return results

    return scan


ROWS = [
    (torch.sum, total),
    (torch.prod, _product),
    (torch.mean, _mean),
    (torch.amax, _largest),
    (torch.var, _variance),
    (torch.std, lambda row: _variance(row).root()),
    (torch.logsumexp, _logsumexp),
    (torch.softmax, _softmax),
    (torch.log_softmax, _log_softmax),
    (torch.cumsum, _running(lambda so_far, number: so_far + number)),
    (torch.cumprod, _running(lambda so_far, number: so_far * number)),
]
for _order, _definition in [
    (0, lambda row: total([number.is_not(0) for number in row])),
    (1, lambda row: total([abs(number) for number in row])),
    (2, lambda row: total([number * number for number in row]).root()),
    (inf, lambda row: _largest([abs(number) for number in row])),
    (3, lambda row: total([abs(number).power(3) for number in row]).power(1 / 3)),
]:
    ROWS.append((lambda t, dim, order=_order: torch.linalg.vector_norm(t, order, dim), _definition))


@pytest.mark.parametrize(("function", "definition"), ROWS)
@pytest.mark.parametrize("shape", [(5, 7), (3, 1), (1, 4), (1, 1)])
def test_rows_cost_what_a_loop_over_them_does(function, definition, shape):
    """The definition written out for single numbers gives the same results with the same number of steps."""
    rows = torch.rand(shape) + 0.1
    if shape[1] == 1 and function in (torch.var, torch.std):
        rows = torch.rand(shape[0], 2)  # the variance of one number divides by zero
    work, expected = by_hand(lambda rows: [definition(row) for row in rows], rows)
    torch.testing.assert_close(function(rows, -1).double(), expected, rtol=1e-5, atol=1e-6)
    assert cost_of(function, rows, -1) == Cost(ops=work.ops, transcendentals=work.transcendentals)


@pytest.mark.parametrize(
    ("function", "definition"),
    [
        (
            lambda g, y: aten._softmax_backward_data(g, y, -1, torch.float32),
            lambda g, y: [a - b * summed for a, b, summed in _weighted(g, y)],
        ),
        (
            lambda g, y: aten._log_softmax_backward_data(g, y, -1, torch.float32),
            lambda g, y: [a - b.exp() * summed for summed in [total(g)] for a, b in zip(g, y, strict=True)],
        ),
    ],
    ids=["softmax", "log_softmax"],
)
def test_softmax_gradients_cost_what_a_loop_does(function, definition):
    """The gradient of a row is a product with the row's sum and a difference, for each element."""
    grad, out = torch.rand(5, 7), torch.rand(5, 7)
    work, expected = by_hand(lambda g, y: [definition(a, b) for a, b in zip(g, y, strict=True)], grad, out)
    torch.testing.assert_close(function(grad, out).double(), expected, rtol=1e-5, atol=1e-6)
    assert cost_of(function, grad, out) == Cost(ops=work.ops, transcendentals=work.transcendentals)


def _weighted(grad, out):
    products = [a * b for a, b in zip(grad, out, strict=True)]
    sum_of_products = total(products)
    return [(product, b, sum_of_products) for product, b in zip(products, out, strict=True)]


@pytest.mark.parametrize(
    ("function", "ops", "transcendentals"),
    [
        (x.sum, 23, 0),
        (lambda: x.sum(1), 16, 0),
        (lambda: x.sum((0, 2)), 21, 0),
        (lambda: x.sum(1, keepdim=True), 16, 0),
        (lambda: x.nansum(1), 16 + 24, 0),
        (lambda: x.prod(1), 16, 0),
        (x.max, 23, 0),
        (x.min, 23, 0),
        (lambda: x.max(1), 16, 0),
        (lambda: x.min(1), 16, 0),
        (lambda: x.amin((0, 1)), 20, 0),
        (x.argmax, 23, 0),
        (lambda: x.argmin(1), 16, 0),
        (x.aminmax, 46, 0),
        (lambda: x.aminmax(dim=1), 32, 0),
        (x.any, 23, 0),
        (lambda: x.all(1), 16, 0),
        (lambda: aten.any.dims(x, [0, 1]), 20, 0),
        (lambda: aten.count_nonzero(x), 24 + 23, 0),
        (lambda: aten.count_nonzero.dim_IntList(x, [1]), 24 + 16, 0),
        (x.mean, 23 + 1, 0),
        (lambda: x.mean(1), 16 + 8, 0),
        # A mean (16 + 8), 24 differences, 24 squares, their sum (16), 8 divisions.
        (lambda: x.var(1), 96, 0),
        (lambda: torch.var_mean(x, 1), 96, 0),
        (lambda: x.std(1), 96, 8),
        (lambda: torch.std_mean(x, 1), 96, 8),
        (x.var, 23 + 1 + 24 + 24 + 23 + 1, 0),
        (x.norm, 24 + 23, 1),
        (lambda: x.norm(p=1, dim=1), 24 + 16, 0),
        (lambda: x.norm(p=3, dim=1), 24 + 16, 24 + 8),
        (lambda: aten.norm.ScalarOpt_dim(x, None, [1]), 24 + 16, 8),  # the order is 2 where none is given
        (lambda: torch.linalg.vector_norm(x, -inf), 24 + 23, 0),
        # For 8 columns of 3: 16 to find the largest, 24 differences, 24 exp, 16 adds, 24 divisions.
        (lambda: x.softmax(1), 80, 24),
        (lambda: x.log_softmax(1), 80, 24 + 8),
        # And for each score a comparison with -inf, folded to one answer a column.
        (lambda: aten._safe_softmax(x, 1), 80 + 24 + 16, 24),
        (lambda: x.logsumexp(1), 16 + 24 + 16 + 8, 24 + 8),
        (lambda: x.logsumexp((0, 2)), 21 + 24 + 21 + 3, 24 + 3),
        (lambda: x.cumsum(0), 12, 0),
        (lambda: x.cumsum(2), 18, 0),
        (lambda: x.cumprod(-1), 18, 0),
    ],
)
def test_reductions_by_hand(function, ops, transcendentals):
    """A result of n elements takes n - 1 steps, and what the definition adds to them."""
    assert cost_of(function) == Cost(ops=ops, transcendentals=transcendentals)


z = torch.rand(2, 3, dtype=torch.complex64)


@pytest.mark.parametrize(
    ("function", "ops", "transcendentals"),
    [
        (z.sum, 5 * 2, 0),
        (lambda: z.prod(1), 4 * 6, 0),
        (lambda: z.mean(1), (4 + 2) * 2, 0),
        (lambda: z.cumsum(1), 4 * 2, 0),
        (lambda: z.cumprod(1), 4 * 6, 0),
        # The variances of the real and of the imaginary parts of two rows of 3, added.
        (lambda: z.var(1), 2 * (4 + 2 + 6 + 6 + 4 + 2) + 2, 0),
        (lambda: z.std(1), 2 * (4 + 2 + 6 + 6 + 4 + 2) + 2, 2),
        # abs is 3 operations and a root; its square needs none; the sum is of real numbers.
        (lambda: torch.linalg.vector_norm(z, 0), 6 + 5, 0),
        (lambda: torch.linalg.vector_norm(z, 1), 18 + 5, 6),
        (lambda: torch.linalg.vector_norm(z), 18 + 5, 1),
        (lambda: torch.linalg.vector_norm(z, 3), 18 + 5, 6 + 6 + 1),
    ],
)
def test_complex_reductions_are_counted_in_real_operations(function, ops, transcendentals):
    """Complex adds are 2 operations, multiplies 6; a complex size is a root of a sum of squares."""
    assert cost_of(function) == Cost(ops=ops, transcendentals=transcendentals)


# What opflops counts beyond the reference decomposition, and why. The tensor has 24 elements, in 8 columns of 3.
_TRUTH = "the reference folds truth values as integers, which count in no floating-point work"
_NEGATED = f"the reference compares each with 0, to negate it; and {_TRUTH}"
_NAN_SAFE = "the reference asks whether the largest is infinite, so as not to subtract infinities"
_TWO_MEANS = "the reference computes the mean once for the variance and once more to return it"
_HALF = "the reference knows that the powers 1/2 and 2 are a root and a product"
_TRIANGLE = "the reference sums a masked triangle of all pairs"
COMPARED = [
    (aten.sum.default, (x,), Work(0), ""),
    (aten.sum.dim_IntList, (x, [1]), Work(0), ""),
    (aten.nansum.default, (x,), Work(0), ""),
    (aten.nansum.default, (x, [1]), Work(0), ""),
    (aten.prod.default, (x,), Work(0), ""),
    (aten.prod.dim_int, (x, 1), Work(0), ""),
    (aten.amax.default, (x, [1]), Work(0), ""),
    (aten.amin.default, (x, [0, 2]), Work(0), ""),
    (aten.mean.default, (x,), Work(0), ""),
    (aten.mean.dim, (x, [1]), Work(0), ""),
    (aten.aminmax.default, (x,), Work(0), ""),
    (aten.any.default, (x,), Work(23), _TRUTH),
    (aten.any.dim, (x, 1), Work(16), _TRUTH),
    (aten.any.dims, (x, [1]), Work(16), _TRUTH),
    (aten.all.default, (x,), Work(-1), _NEGATED),
    (aten.all.dim, (x, 1), Work(-8), _NEGATED),
    (aten.all.dims, (x, [1]), Work(-8), _NEGATED),
    (aten.count_nonzero.default, (x,), Work(23), _TRUTH),
    (aten.count_nonzero.dim_IntList, (x, [1]), Work(16), _TRUTH),
    (aten.var.default, (x,), Work(0), ""),
    (aten.var.dim, (x, [0, 1]), Work(0), ""),
    (aten.var.correction, (x, [1]), Work(0), ""),
    (aten.std.default, (x,), Work(0), ""),
    (aten.std.dim, (x, [0, 1]), Work(0), ""),
    (aten.std.correction, (x, [1]), Work(0), ""),
    (aten.var_mean.default, (x,), Work(-24), _TWO_MEANS),
    (aten.var_mean.dim, (x, [0, 1]), Work(-24), _TWO_MEANS),
    (aten.var_mean.correction, (x, [1]), Work(-24), _TWO_MEANS),
    (aten.std_mean.default, (x,), Work(-24), _TWO_MEANS),
    (aten.std_mean.dim, (x, [0, 1]), Work(-24), _TWO_MEANS),
    (aten.std_mean.correction, (x, [1]), Work(-24), _TWO_MEANS),
    (aten.linalg_vector_norm.default, (x, 0, [1]), Work(0), ""),
    (aten.linalg_vector_norm.default, (x, 1, [1]), Work(0), ""),
    (aten.linalg_vector_norm.default, (x, 2), Work(0), ""),
    (aten.linalg_vector_norm.default, (x, 3, [1]), Work(0), ""),
    (aten.linalg_vector_norm.default, (x, 0.5, [1]), Work(-8, 8), _HALF),
    (aten.linalg_vector_norm.default, (x, inf, [1]), Work(0), ""),
    (aten.linalg_vector_norm.default, (x, -inf), Work(0), ""),
    (aten.norm.Scalar, (x,), Work(0), ""),
    (aten.norm.ScalarOpt_dim, (x, 2, [1]), Work(0), ""),
    (aten._softmax.default, (x, 1, False), Work(0), ""),
    (aten._safe_softmax.default, (x, 1), Work(16), _TRUTH),
    (aten._log_softmax.default, (x, 1, False), Work(0), ""),
    (aten._softmax_backward_data.default, (x, x, 1, torch.float32), Work(0), ""),
    (aten._log_softmax_backward_data.default, (x, x, 1, torch.float32), Work(0), ""),
    (aten.logsumexp.default, (x, [1]), Work(-16), _NAN_SAFE),
    (aten.cumsum.default, (x, 1), Work(-32), _TRIANGLE),
    (aten.cumprod.default, (x, 1), Work(-32), _TRIANGLE),
]
# Without a decomposition; the hand arithmetic above covers them. The forms of norm with a dtype are those without.
_ALONE = """
argmax.default argmin.default max.default max.dim min.default min.dim norm.ScalarOpt_dtype norm.ScalarOpt_dim_dtype
_is_all_true.default
_is_any_true.default
"""


@pytest.mark.parametrize(("overload", "args", "expected", "reason"), COMPARED)
def test_agrees_with_the_reference_decomposition(overload, args, expected, reason):
    """An operator costs what PyTorch's reference computes, but for the differences that are listed with a reason."""
    assert excess(overload, *args) == expected
    assert bool(reason) == any(expected)


def test_every_overload_of_the_family_is_compared():
    """A reduction that is added to opflops has to be added here."""
    compared = {str(case[0]).removeprefix("aten.") for case in COMPARED}
    assert compared | set(_ALONE.split()) == {
        str(each).removeprefix("aten.") for each in overloads_priced_by("reduction")
    }


@pytest.mark.parametrize("overload_and_args", [case[:2] for case in COMPARED])
def test_meta_tensors_cost_what_real_ones_do(overload_and_args):
    """Only sizes and dtypes decide."""
    overload, args = overload_and_args
    assert priced(overload, *args, device="meta")[0] == priced(overload, *args)[0]


@pytest.mark.parametrize(
    "function",
    [
        lambda empty: empty.sum(),
        lambda empty: empty.sum(0),
        lambda empty: empty.sum(1),
        lambda empty: empty.prod(0),
        lambda empty: empty.mean(1),
        lambda empty: empty.any(0),
        lambda empty: empty.amax(1),
        lambda empty: empty.max(1),
        aten.count_nonzero,
        lambda empty: empty.logsumexp(1),
        lambda empty: empty.softmax(0),
        lambda empty: empty.softmax(1),
        lambda empty: empty.log_softmax(1),
        lambda empty: empty.cumsum(0),
        lambda empty: empty.cumsum(1),
        lambda empty: torch.linalg.vector_norm(empty, dim=1),
        lambda empty: torch.linalg.vector_norm(empty, 1, dim=0),
    ],
)
def test_empty_tensors_give_no_negative_counts(function):
    """Folding nothing takes no steps, even where there are results."""
    cost = cost_of(function, torch.empty(0, 3))
    assert cost.macs == 0
    assert cost.ops >= 0
    assert cost.transcendentals >= 0


@pytest.mark.parametrize(
    ("function", "cost"),
    [
        (lambda scalar: scalar.sum(), Cost()),
        (lambda scalar: scalar.mean(), Cost(ops=1)),
        (lambda scalar: scalar.softmax(0), Cost(ops=2, transcendentals=1)),
        (lambda scalar: scalar.log_softmax(0), Cost(ops=2, transcendentals=2)),
        (lambda scalar: scalar.logsumexp(0), Cost(ops=2, transcendentals=2)),
        (lambda scalar: scalar.cumsum(0), Cost()),
        (lambda scalar: scalar.max(), Cost()),
    ],
)
def test_a_scalar_is_one_row_of_one(function, cost):
    """A tensor without axes reduces as a vector of one element does."""
    assert cost_of(function, torch.tensor(0.5)) == cost
    assert cost_of(function, torch.tensor([0.5])) == cost


def test_a_sum_in_another_dtype_is_filed_under_that_dtype():
    """What ``dtype=`` asks for is what the adds run in; integers summed as floats are floating-point work."""
    assert cost_of(lambda: torch.arange(6).sum(dtype=torch.float64)) == Cost(ops=5)
    assert cost_of(lambda: torch.arange(6).sum()) == Cost()


@pytest.mark.parametrize(
    ("functional", "in_place"), [(torch.cumsum, torch.Tensor.cumsum_), (torch.cumprod, torch.Tensor.cumprod_)]
)
def test_in_place_scans_cost_what_functional_ones_do(functional, in_place):
    """The arithmetic does not depend on where the result goes."""
    assert cost_of(in_place, x.clone(), 1) == cost_of(functional, x, 1) == Cost(ops=16)


def test_out_reductions_cost_what_functional_ones_do():
    """The arithmetic does not depend on where the result goes."""
    out = torch.empty(2, 4)
    assert cost_of(lambda: torch.sum(x, 1, out=out)) == Cost(ops=16)
    assert cost_of(lambda: torch.mean(x, 1, out=out)) == Cost(ops=24)
    assert cost_of(lambda: torch.logsumexp(x, 1, out=out)) == Cost(ops=64, transcendentals=32)
