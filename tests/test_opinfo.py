"""PyTorch's own sample inputs for its operators (``op_db``), forward and backward: what must hold for any operator.

Of each kind of operator a few are always tried; the others are exhaustive tests.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from slow_path import SlowPathMode
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from opflops import OpFlopMode

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.opinfo.core import UnaryUfuncInfo

DTYPES = (torch.float32, torch.complex64, torch.int64)
SAMPLES = 6
OPERATORS = {op.formatted_name: op for op in op_db}

# Those that are always tried: of every kind, and at least one of every exception that is named below.
REPRESENTATIVES = """
add addcmul bitwise_and clamp div_floor_rounding exp gcd lerp lgamma mul polygamma_polygamma_n_1 pow special_bessel_j0
where
eq isclose
nn_functional_gelu nn_functional_relu softmax
all amax cumsum equal logsumexp prod std_mean sum
addmm baddbmm bmm dot einsum matmul mm nn_functional_linear
nn_functional_conv1d nn_functional_conv_transpose2d
nn_functional_batch_norm nn_functional_layer_norm native_group_norm _batch_norm_with_update
nn_functional_scaled_dot_product_attention
nn_functional_adaptive_max_pool1d nn_functional_avg_pool2d
nn_functional_cross_entropy nn_functional_linear_cross_entropy nn_functional_mse_loss
nn_functional_multilabel_margin_loss
cdist nn_functional_cosine_similarity
nn_functional_embedding nn_functional_embedding_bag nn_functional_one_hot
gather index_put masked_select nonzero scatter_add
T as_strided cat flip repeat reshape transpose
nn_functional_pad_reflect
nn_functional_grid_sample nn_functional_interpolate_bilinear
sort topk unique
linalg_cholesky linalg_inv linalg_lstsq linalg_qr linalg_solve linalg_svdvals
fft_ifft fft_rfft
bernoulli nn_functional_dropout normal
arange empty_like eye ones_like
histc to_sparse
complex view_as_real
""".split()  # noqa: SIM905 - a list of names to read

# What their results hold is whatever the memory held.
UNINITIALISED = ("empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided")


class Nothing(TorchDispatchMode):
    """Run operators as they are."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


# PyTorch takes gradient formulas that suit tensor subclasses whenever any dispatch mode is active, one that does
# nothing included; these differ in rounding.
OTHERWISE_UNDER_ANY_MODE = dict.fromkeys(
    ("cumprod", "linalg.lstsq", "linalg.pinv", "masked.prod", "pinverse", "prod"), Nothing
)

# What PyTorch cannot run without values, for some samples at least: results whose size depends on them, values that
# are asked for, sparse tensors, and kernels that nobody wrote.
WITHOUT_META = """
allclose argwhere bincount combinations corrcoef cov equal geqrf histogram histogramdd istft item linalg_lstsq
linalg_lstsq_grad_oriented masked_select nn_functional_ctc_loss nn_functional_gaussian_nll_loss nn_functional_one_hot
nonzero repeat_interleave sparse_mm_reduce sparse_sampled_addmm tensor_split to to_sparse unique unique_consecutive
""".split()  # noqa: SIM905 - a list of names to read

# PyTorch's samples name a right class several times, which what is guessed without them does not reckon with.
NO_BOUND = ("nn.functional.multilabel_margin_loss",)

# One-hot vectors are compared with a range of numbers on meta, and scattered elsewhere.
ANOTHER_WAY_ON_META = ("nn.functional.one_hot",)

# Where ``out=`` takes another way to the same result.
_VALUES_ALONE = "without out= PyTorch computes vectors too under a dispatch mode, for a gradient that may be wanted"
_CONJUGATE = "without out= the conjugate is a view, which out= has to write down"
ANOTHER_WAY = {
    "_batch_norm_with_update": "it has a buffer for each of its results",
    "equal": "its answer is no tensor",
    "fft.ifft": _CONJUGATE,
    "fft.ihfft": _CONJUGATE,
    "fft.ihfftn": _CONJUGATE,
    "histogramdd": "torch.histogramdd takes no out= with a number of bins",
    "linalg.eigvals": _VALUES_ALONE,
    "linalg.eigvalsh": _VALUES_ALONE,
    "linalg.svdvals": _VALUES_ALONE,
    "svd": _CONJUGATE,
}

# What computes its gradients with the forward, if they are wanted.
GRADIENTS_IN_FORWARD = ("nn.functional.linear_cross_entropy",)

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning", "error::opflops.UnpricedOpWarning"
)


@functools.cache
def _samples(name: str, dtype: torch.dtype, grad: bool) -> list[Any]:
    torch.manual_seed(0)
    found = list(OPERATORS[name].sample_inputs("cpu", dtype, requires_grad=grad))
    return found[:: -(-len(found) // SAMPLES)] if found else []


def samples(op: Any, dtype: torch.dtype, *, grad: bool = False) -> list[Any]:
    """Take a few of an operator's sample inputs, spread evenly over all that there are."""
    return _samples(op.formatted_name, dtype, grad)


def cases() -> list[Any]:
    """List every operator in each dtype that it takes."""
    return [
        pytest.param(
            op,
            dtype,
            id=f"{op.formatted_name}-{str(dtype).removeprefix('torch.')}",
            marks=() if op.formatted_name in REPRESENTATIVES else pytest.mark.exhaustive,
        )
        for op in op_db
        for dtype in DTYPES
        if op.supports_dtype(dtype, "cpu") and not op.name.startswith("jiterator")  # CUDA only
    ]


def fresh(values: Any) -> Any:
    """Copy the tensors among some arguments, so that a call may overwrite them."""

    def copy(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        with torch.no_grad():
            copied = value.detach().clone() if value.layout is not torch.strided else dense_copy(value)
        return copied.requires_grad_(value.requires_grad)

    return tree_map(copy, values)


def dense_copy(tensor: Tensor) -> Tensor:
    """Copy a tensor with its strides, broadcast axes and storage offset included."""
    if tensor.is_meta:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    storage = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage().clone())
    return storage.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def run(op: Any, sample: Any, *, backward: bool) -> list[Tensor]:
    """Call an operator on copies of a sample's inputs; returns its results and, if asked, their gradients."""
    torch.manual_seed(0)
    arguments = fresh((sample.input, sample.args, sample.kwargs))
    out = op(arguments[0], *arguments[1], **arguments[2])
    results = [each for each in tree_leaves(out) if isinstance(each, Tensor)]
    if backward:
        # What of the results has a gradient that is defined, which PyTorch's sample says.
        ends = [each for each in tree_leaves(sample.output_process_fn_grad(out)) if isinstance(each, Tensor)]
        ends = [each for each in ends if each.requires_grad]
        starts = [each for each in tree_leaves(arguments) if isinstance(each, Tensor) and each.requires_grad]
        if ends and starts:
            gradients = torch.autograd.grad(ends, starts, [torch.ones_like(each) for each in ends], allow_unused=True)
            results += [each for each in gradients if each is not None]
    return [each.detach() for each in results]


def work(mode: OpFlopMode) -> dict[Any, tuple[int, ...]]:
    """Tell the arithmetic of every dtype."""
    found: dict[Any, tuple[int, ...]] = {}
    for row in mode.profile.rows:
        counts = (row.cost.macs, row.cost.ops, row.cost.transcendentals)
        if any(counts):
            found[row.dtype] = tuple(map(sum, zip(found.get(row.dtype, (0, 0, 0)), counts, strict=True)))
    return found


def arguments_of(sample: Any, **more: Any) -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    input_, args, kwargs = fresh((sample.input, sample.args, sample.kwargs))
    return input_, args, {**kwargs, **more}


def counted(function: Any, sample: Any, **more: Any) -> tuple[Any, OpFlopMode]:
    """Call a function on copies of a sample's inputs under the mode."""
    input_, args, kwargs = arguments_of(sample, **more)
    with OpFlopMode() as mode:
        out = function(input_, *args, **kwargs)
    return out, mode


def estimates(mode: OpFlopMode) -> set[str]:
    return {row.estimate for row in mode.profile.rows}


def same(results: Any, expected: Any) -> None:
    for result, reference in itertools.zip_longest(tree_leaves(results), tree_leaves(expected)):
        if isinstance(reference, Tensor):
            torch.testing.assert_close(result, reference, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("op", "dtype"), cases())
def test_every_operator_is_priced_and_computes_what_it_does_without_the_mode(op, dtype):
    """Nothing raises, nothing is unpriced, results and gradients are the same to the bit, costs are whole numbers.

    A mode that takes the slow path for every call finds the same, and so does one that times.
    """
    backward = op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
    for sample in samples(op, dtype, grad=backward):
        with SlowPathMode() as slow_path, OpFlopMode(timing=True) as timed, OpFlopMode() as mode:
            results = run(op, sample, backward=backward)
        assert mode.profile.unpriced == {}
        assert set(slow_path.profile.rows) == set(mode.profile.rows)
        assert {replace(row, seconds=None) for row in timed.profile.rows} == set(mode.profile.rows)
        for row in mode.profile.rows:
            assert all(type(count) is int and count >= 0 for count in counts_of(row.cost)), row
        if op.name in UNINITIALISED:
            continue
        with OTHERWISE_UNDER_ANY_MODE.get(op.name, contextlib.nullcontext)():
            expected = run(op, sample, backward=backward)
        same(results, expected)


@pytest.mark.parametrize(("op", "dtype"), [case for case in cases() if case.values[0].inplace_variant])
def test_in_place_costs_what_its_functional_twin_costs(op, dtype):
    """An operator that overwrites its first argument does the same arithmetic."""
    for sample in samples(op, dtype):
        out, mode = counted(op, sample)
        if isinstance(out, Tensor) and out.dtype is dtype and out.shape == sample.input.shape:
            _, in_place = counted(op.inplace_variant, sample)
            assert work(in_place) == work(mode)


@pytest.mark.parametrize(
    ("op", "dtype"),
    [case for case in cases() if case.values[0].supports_out and case.values[0].name not in ANOTHER_WAY],
)
def test_writing_into_a_given_tensor_costs_the_same(op, dtype):
    """``out=`` says where the result goes, not what is computed."""
    for sample in samples(op, dtype):
        out, mode = counted(op, sample)
        buffers = tree_map(lambda each: torch.empty_like(each) if isinstance(each, Tensor) else each, out)
        _, given = counted(op, sample, out=buffers)
        assert work(given) == work(mode)


@pytest.mark.parametrize(
    ("op", "dtype"), [case for case in cases() if not case.values[0].name.startswith(GRADIENTS_IN_FORWARD)]
)
def test_no_grad_and_inference_mode_cost_what_grad_mode_does(op, dtype):
    """What autograd records does not change what a forward computes."""
    for sample in samples(op, dtype, grad=op.supports_autograd and dtype.is_floating_point):
        _, mode = counted(op, sample)
        for context in (torch.no_grad, torch.inference_mode):
            with context():
                _, other = counted(op, sample)
            assert work(other) == work(mode), context


@pytest.mark.parametrize(("op", "dtype"), [case for case in cases() if case.values[0].name not in ANOTHER_WAY_ON_META])
def test_meta_tensors_cost_what_real_ones_do(op, dtype):
    """Counting needs shapes alone; where it needs values it says so, and counts the most that there can be."""
    for sample in samples(op, dtype):
        # Meta has no fused attention.
        with sdpa_kernel(SDPBackend.MATH):
            _, real = counted(op, sample)
        meta = sample.transform(lambda each: each.to("meta") if isinstance(each, Tensor) else each)
        if "device" in meta.kwargs:
            meta.kwargs["device"] = "meta"
        try:
            _, shapes = counted(op, meta)
        except (NotImplementedError, RuntimeError):
            assert op.formatted_name in WITHOUT_META
            continue
        if estimates(shapes) - estimates(real):
            assert op.name in NO_BOUND or all(
                more >= less
                for dtype, counts in work(real).items()
                for more, less in zip(work(shapes)[dtype], counts, strict=True)
            )
        else:
            assert work(shapes) == work(real)


# The arguments that have the batch as their first dimension, given that the first of them has at least so many.
BATCHED = {
    "bmm": (("input", 0), 3),
    "baddbmm": (("input", 0, 1), 3),
    "cdist": (("input", 0), 3),
    "linalg.cholesky": (("input",), 3),
    "linalg.det": (("input",), 3),
    "linalg.inv": (("input",), 3),
    "linalg.qr": (("input",), 3),
    "nn.functional.adaptive_avg_pool2d": (("input",), 4),
    "nn.functional.adaptive_max_pool2d": (("input",), 4),
    "nn.functional.avg_pool2d": (("input",), 4),
    "nn.functional.conv1d": (("input",), 3),
    "nn.functional.conv2d": (("input",), 4),
    "nn.functional.conv3d": (("input",), 5),
    "nn.functional.conv_transpose1d": (("input",), 3),
    "nn.functional.conv_transpose2d": (("input",), 4),
    "nn.functional.conv_transpose3d": (("input",), 5),
    "nn.functional.grid_sample": (("input", 0), 4),
    "nn.functional.group_norm": (("input",), 3),
    "nn.functional.interpolate": (("input",), 3),
    "nn.functional.linear": (("input",), 2),
    "nn.functional.max_pool2d": (("input",), 4),
    "nn.functional.pixel_shuffle": (("input",), 4),
    "nn.functional.scaled_dot_product_attention": (("input", 0, 1), 4),
    "nn.functional.unfold": (("input",), 4),
}


def twice(sample: Any, positions: tuple[Any, ...]) -> Any:
    """Repeat the batch of some of a sample's arguments."""
    args = tuple(
        torch.cat([each, each]) if position in positions and isinstance(each, Tensor) else each
        for position, each in enumerate(sample.args)
    )
    return type(sample)(torch.cat([sample.input, sample.input]), args=args, kwargs=sample.kwargs)


@pytest.mark.parametrize(
    ("op", "dtype"),
    [
        case
        for case in cases()
        if case.values[1] is torch.float32
        and (case.values[0].name in BATCHED or type(case.values[0]) is UnaryUfuncInfo)
    ],
)
def test_twice_the_batch_costs_twice_as_much(op, dtype):
    """Each example of a batch is worked on like every other."""
    positions, rank = BATCHED.get(op.name, (("input",), 1))
    tried = 0
    for sample in samples(op, dtype):
        batches = [sample.input, *(sample.args[position] for position in positions[1:])]
        # An operand that is spread over the batch has none of its own.
        if any(each.dim() < rank or each.shape[0] != sample.input.shape[0] for each in batches):
            continue
        _, once = counted(op, sample)
        _, more = counted(op, twice(sample, positions))
        assert work(more) == {dtype: tuple(2 * count for count in counts) for dtype, counts in work(once).items()}
        tried += 1
    assert tried


def counts_of(cost: Any) -> tuple[Any, ...]:
    return cost.macs, cost.ops, cost.transcendentals, cost.bytes_read, cost.bytes_written


@pytest.mark.parametrize("law", [name for name in globals() if name.startswith("test_")])
def test_every_law_is_tried_without_the_exhaustive_tests_too(law):
    """Ten cases at least hold some of the representatives to it, each of which op_db has."""
    (cases_of,) = (mark.args[1] for mark in globals()[law].pytestmark if mark.name == "parametrize")
    assert sum(not case.marks for case in cases_of) >= 10
    assert set(REPRESENTATIVES) <= set(OPERATORS)
