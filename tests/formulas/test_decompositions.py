"""PyTorch's own sample inputs against its reference decompositions: every difference is explained.

The other tests of a family compare calls that are chosen for it. Here are the shapes, broadcasts, axes and options
that PyTorch tests its operators on, forward and backward. What opflops counts beyond the reference has to be what the
table says, in terms of the call's sizes; where the table says nothing, it has to be nothing. The samples of a few
operators are always tried; those of all are exhaustive tests.
"""

import functools
from dataclasses import replace

import pytest
import torch
from decomposed import recorded_calls
from oracle import Work, copies, excess

from opflops import Cost
from opflops.pricing.registry import registry
from opflops.pricing.schemas import overloads_of
from opflops.torch_internals.dispatch import packet_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*degrees of freedom"),
    pytest.mark.skipif(not torch.__version__.startswith("2.13"), reason="the table is about the references of 2.13"),
]

FAMILIES = ("activation", "loss", "normalization", "pointwise", "reduction", "special")

# Whose samples are always tried: of each of these files, with and without an entry in the table below.
FEW = """
nn.functional.elu nn.functional.gelu nn.functional.glu log_softmax
nn.functional.mse_loss nn.functional.nll_loss
nn.functional.batch_norm nn.functional.group_norm nn.functional.layer_norm
addcmul clamp copysign div floor_divide lerp logaddexp logical_and mul pow rsqrt sigmoid tanh
all amax cumsum linalg.vector_norm logsumexp mean prod std_mean
lgamma logit special.entr xlogy
""".split()  # noqa: SIM905 - a list of names to read

# The oracle prices no primitive that is the very function: the comparison would say nothing.
THE_FUNCTION_ITSELF = """
frexp i0 igamma igammac nextafter special_bessel_j0 special_bessel_j1 special_erfcx special_i0e special_i1 special_i1e
special_log_ndtr special_ndtri special_spherical_bessel_j0 special_zeta
"""


def size(value):
    """Count the elements of a tensor; a plain number is one."""
    return value.numel() if torch.is_tensor(value) else 1


def spread(value, call):
    """Count the elements that the reference takes an operand for, once broadcast; it leaves single numbers single."""
    return size(call.out) if torch.is_tensor(value) and value.dim() else 1


def picks(call):
    """Count the classes that no target names."""
    return size(call.self) - size(call.target)


# What a call has to say for itself: its arguments by name, and ``out``, its first result. ``n`` is the input's size.
_CLAMP = "at each bound the reference also asks whether the element is NaN"
_TRUTH = "the reference folds truth values as integers, which count in no floating-point work"
_LOGIC = "the reference compares both operands with zero; joining the answers is logic, here it is the operation"
_TRIANGLE = "the reference masks and folds all n elements of a row for each of its n results"
_ROUNDING = (
    "the reference floors by way of fmod, against rounding errors near whole quotients, with 16 more operations an "
    "element and 3 on one number; it compares a single number with 0 once, a divisor twice, not for each element"
)
_FACTORS = "the reference multiplies by each factor, be it 1"
_LIKELIHOOD = "the reference weights every class and picks then; here the picked one alone"
_ZEROS = "the reference multiplies the gradient, and a weight, into the zeros of every class"
_TWO_MEANS = "the reference computes the mean once for the variance and once more"
_LOG_OF_Y = "the reference takes the logarithm before it broadcasts; it asks whether y is NaN and whether x is 0"
_POWERS = "the reference knows that a power of 2 is a product and that of 1 is nothing; here pow is one function"
_NEAREST = "the reference computes from the nearer end, against cancellation: abs(w), a comparison, a difference more"
_UNUSED = "the reference multiplies by a weight of 1, and computes four numbers a channel that only training needs"
_SIGNS = "the reference computes both signs of abs(x) and picks; here copying a sign is one operation"
_OVERFLOW = "the reference compares x with a threshold, so that exp cannot overflow"
_INFINITE = "the reference asks whether x is infinite, and equal to y, so as not to subtract infinities"


def _triangle(call):
    length = call.self.shape[call.dim] if call.self.dim() else 1
    rows = size(call.self) // length if length else 0
    return size(call.self) - rows - size(call.self) * (length - 1), 0


def _floor(call):
    single = 2 * (size(call.out) - spread(call.other, call)) + size(call.out) - spread(call.self, call)
    return -16 * size(call.out) - 3 + single, 0


def _div(call):
    return _floor(call) if getattr(call, "rounding_mode", None) == "floor" else (0, 0)


def _vector_norm(call):
    plain = call.ord not in (0, float("inf"), float("-inf"))
    rows_of_one = call.self.dim() and all(call.self.shape[axis] == 1 for axis in call.dim or ())
    single = rows_of_one if call.dim else size(call.self) == 1
    if plain and single:  # abs(x)
        n = size(call.self)
        if call.ord in (1, 2):
            return 0, n * (call.ord == 2)
        return 0, 2 * n
    even = call.ord % 2 == 0 and call.ord not in (0, 2)
    halved = call.ord == 0.5
    return size(call.self) * even - size(call.out) * halved, size(call.out) * halved


def _power(call):
    if torch.is_tensor(call.exponent):
        return 0, 0
    return -size(call.out) * (call.exponent == 2), size(call.out) * (call.exponent in (1, 2))


def _products(call):
    product = torch.broadcast_shapes(call.tensor1.shape, call.tensor2.shape).numel()
    # value * tensor1, times or by tensor2, plus self, of which opflops takes each for every result
    return size(call.out) * (1 + (call.value != 1)) - size(call.tensor1) - product, 0


def _elu(call):
    factors = (call.scale, call.alpha * call.scale, call.input_scale)
    return -size(call.out) * factors.count(1), 0


def _elu_backward(call):
    factors = [call.scale, call.input_scale]
    if not call.is_result:
        factors += [call.input_scale, call.alpha * call.scale]
    return -size(call.out) * factors.count(1), 0


def _log_of_y(call):
    return -size(call.self) - size(call.other), size(call.out) - size(call.other)


def _clamp(call):
    return -size(call.out) * ((call.min is not None) + (call.max is not None)), 0


def _batch_norm(call):
    training = getattr(call, "training", True)
    return -size(call.input) if training else -call.input.shape[1], 0


def _batch_norm_backward(call):
    channels = call.input.shape[1]
    return -channels * (call.weight is None) - 4 * channels * (not call.train), 0


def _nll_backward(call):
    if call.weight is None:
        return -picks(call), 0
    # The one gradient of a mean or a sum is multiplied by the weights alone: a product for each, not for each input.
    weighted = size(call.weight) if call.reduction else size(call.self)
    return size(call.target) - weighted - picks(call), 0


DIFFERENCES = {
    "_batch_norm_with_update": (_batch_norm, _TWO_MEANS),
    "_native_batch_norm_legit": (_batch_norm, f"{_TWO_MEANS}; in evaluation it multiplies a reciprocal by 1"),
    "_safe_softmax": (lambda c: (size(c.self) - size(c.self) // c.self.shape[c.dim], 0), _TRUTH),
    "addcdiv": (_products, f"{_FACTORS}, and multiplies before it broadcasts"),
    "addcmul": (_products, f"{_FACTORS}, and multiplies before it broadcasts"),
    "all": (lambda c: (-size(c.out), 0), f"the reference compares each with 0, to negate it; and {_TRUTH}"),
    "any": (lambda c: (max(size(c.self) - size(c.out), 0), 0), _TRUTH),
    "clamp": (_clamp, _CLAMP),
    "copysign": (lambda c: (-2 * size(c.out) - spread(c.other, c), 0), _SIGNS),
    "count_nonzero": (lambda c: (max(size(c.self) - size(c.out), 0), 0), _TRUTH),
    "cumprod": (_triangle, _TRIANGLE),
    "cumsum": (_triangle, _TRIANGLE),
    "div": (_div, _ROUNDING),
    "elu": (_elu, _FACTORS),
    "elu_backward": (_elu_backward, _FACTORS),
    "floor_divide": (_floor, _ROUNDING),
    "glu_backward": (lambda c: (-size(c.grad_output), 0), "the reference multiplies by the gradient in each half"),
    "heaviside": (lambda c: (-size(c.out), 0), "the reference also asks whether x is NaN"),
    "ldexp": (lambda c: (0, size(c.out) - size(c.other)), "the reference takes the power before it broadcasts"),
    "lerp": (lambda c: (-3 * size(c.weight), 0), _NEAREST),
    "linalg_vector_norm": (
        _vector_norm,
        "the reference asks for no abs of even powers, knows that the power 2 is a product, and takes abs of rows of 1",
    ),
    "logaddexp": (lambda c: (-2 * size(c.out), 0), _INFINITE),
    "logaddexp2": (lambda c: (-size(c.out), 0), _INFINITE),
    "logical_and": (lambda c: (-spread(c.other, c), 0), _LOGIC),
    "logical_or": (lambda c: (-spread(c.other, c), 0), _LOGIC),
    "logical_xor": (lambda c: (-spread(c.other, c), 0), _LOGIC),
    "logit": (lambda c: (-2 * size(c.out) * (c.eps is None), 0), "without eps the reference holds x within -1 and 2"),
    "logsumexp": (lambda c: (-2 * size(c.out), 0), "the reference asks whether the largest is infinite"),
    "mish": (lambda c: (-size(c.out), 0), _OVERFLOW),
    "mish_backward": (lambda c: (-size(c.out), 0), _OVERFLOW),
    "mvlgamma": (lambda c: (-c.p, 0), "the reference halves the p whole numbers that it subtracts"),
    "native_batch_norm": (_batch_norm, f"{_TWO_MEANS}; in evaluation it multiplies a reciprocal by 1"),
    "native_batch_norm_backward": (_batch_norm_backward, _UNUSED),
    "native_group_norm": (lambda c: (-size(c.input), 0), _TWO_MEANS),
    "native_group_norm_backward": (lambda c: (-c.N * c.C * (c.weight is None), 0), _FACTORS),
    "native_layer_norm": (lambda c: (-size(c.input), 0), _TWO_MEANS),
    "nll_loss2d_backward": (_nll_backward, _ZEROS),
    "nll_loss2d_forward": (lambda c: (-picks(c) * (c.weight is not None), 0), _LIKELIHOOD),
    "nll_loss_backward": (_nll_backward, _ZEROS),
    "nll_loss_forward": (lambda c: (-picks(c) * (c.weight is not None), 0), _LIKELIHOOD),
    "pow": (_power, _POWERS),
    "softplus_backward": (lambda c: (-size(c.out), 0), "the reference multiplies by beta twice"),
    "softshrink": (lambda c: (-3 * size(c.out), 0), "the reference multiplies lambda by the sign, and x by 0 for NaN"),
    "special_entr": (lambda c: (-3 * size(c.out), 0), "the reference asks whether x is NaN, above 0 or 0"),
    "special_xlog1py": (_log_of_y, _LOG_OF_Y),
    "std_mean": (lambda c: (-size(c.self), 0), _TWO_MEANS),
    "var_mean": (lambda c: (-size(c.self), 0), _TWO_MEANS),
    "xlogy": (_log_of_y, _LOG_OF_Y),
}


# Its rounding errors are larger than the tolerance of the comparison.
INEXACT = {torch.ops.aten.native_layer_norm_backward.default}
# On a CPU the reference of this one folds mean, weight and bias into a factor and a shift; elsewhere it does not.
ELSEWHERE = {torch.ops.aten.native_group_norm.default}


def packet_name(call):
    """Name an operator as its functional form is named."""
    name = packet_of(call.overload).__name__
    return name.removesuffix("_")


def explained(call):
    """Give the difference that the table states for a call."""
    difference, _ = DIFFERENCES.get(packet_name(call), (None, ""))
    if difference is None:
        return Work(0)
    named = call.named()
    kwargs = dict(zip(call.kwargs, copies(call.kwargs.values()), strict=True))
    out = call.overload(*copies(call.args), **kwargs)
    named.out = out[0] if isinstance(out, (tuple, list)) else out
    return Work(*difference(named))


def found(call):
    """Compare one call with its reference decomposition."""
    device = "meta" if call.overload in ELSEWHERE else "cpu"
    return excess(call.overload, *call.args, device=device, compare=call.overload not in INEXACT, **call.kwargs)


def compared_calls(operators=None):
    """Record calls, and leave out those of functions that have no decomposition but their own name."""
    themselves = set(THE_FUNCTION_ITSELF.split())
    return [call for call in recorded_calls(*FAMILIES, operators=operators) if packet_name(call) not in themselves]


@pytest.fixture(scope="module")
def few_calls():
    """Record the calls of a few operators once."""
    return compared_calls(FEW)


@pytest.fixture(scope="module")
def all_calls():
    """Record the calls of all operators once."""
    return compared_calls()


@pytest.fixture(scope="module", params=["few", pytest.param("all", marks=pytest.mark.exhaustive)])
def calls(request):
    """Take the calls of a few operators, or of all."""
    return request.getfixturevalue(f"{request.param}_calls")


def unexplained(calls):
    """List the calls whose difference is not the one that the table states."""
    for call in calls:
        expected, difference = explained(call), found(call)
        if difference != expected:
            shapes = [tuple(each.shape) if torch.is_tensor(each) else each for each in call.args]
            yield f"{call.overload} of {shapes}, {call.kwargs}: {tuple(difference)} for {tuple(expected)}"


def test_every_difference_from_the_references_is_explained(calls):
    """Thousands of calls cost what their references compute, but for what the table says, to the last operation."""
    assert list(unexplained(calls)) == []


def test_the_few_are_of_every_kind(few_calls):
    """Of each formula file that is compared some operators are always tried, more than a hundred calls in all."""
    assert {registry.get_rule(call.overload).formula.__module__.rpartition(".")[2] for call in few_calls} == set(
        FAMILIES
    )
    assert len(few_calls) > 100


@pytest.mark.exhaustive
def test_the_samples_reach_far(all_calls):
    """The comparison is about some two hundred operators and more than two thousand calls."""
    assert len({call.overload for call in all_calls}) > 200
    assert len(all_calls) > 2000


@pytest.mark.exhaustive
def test_no_entry_of_the_table_is_idle(all_calls):
    """Each difference that is explained is there, in some call; each function left out has calls and no reference."""
    assert {packet_name(call) for call in all_calls if any(explained(call))} == set(DIFFERENCES)


@pytest.mark.parametrize("name", THE_FUNCTION_ITSELF.split())
def test_what_is_left_out_has_no_other_decomposition(name):
    """The reference of a function that is not compared ends in a primitive that the oracle has no price for."""
    overload = next(iter(overloads_of(getattr(torch.ops.aten, name))))
    arguments = [torch.rand(3) + 1 for each in overload._schema.arguments if "Tensor" in str(each.type)]
    with pytest.raises(NotImplementedError, match=r"no price for prims\."):
        excess(overload, *arguments)


def off_by(entry, error):
    """Make an entry whose formula counts too much."""

    @functools.wraps(entry.formula)
    def wrong(**arguments):
        return entry.formula(**arguments) + error

    return replace(entry, formula=wrong, per_element=None)


def passes(call):
    """Tell whether the comparison finds nothing wrong."""
    try:
        return found(call) == explained(call)
    except AssertionError:
        return False


@pytest.mark.parametrize("error", [Cost(macs=1), Cost(ops=1), Cost(transcendentals=1)], ids=["mac", "op", "exp"])
def test_a_formula_that_is_off_by_one_is_caught(calls, error, monkeypatch):
    """With one more of anything in every price, no operator passes."""
    firsts = {call.overload: call for call in reversed(calls)}
    entries = {overload: off_by(registry.get_rule(overload), error) for overload in firsts}
    assert all(map(passes, firsts.values()))
    monkeypatch.setattr(registry, "_rules_by_overload", {**registry.rules, **entries})
    assert [str(call.overload) for call in firsts.values() if passes(call)] == []
