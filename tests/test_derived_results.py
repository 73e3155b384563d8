"""Results on meta that no kernel computes are those of PyTorch's kernels: pointwise operators and batch norm."""

import itertools

import pytest
import torch
from test_meta_cache import Asked
from torch import nn

from opflops import OpFlopMode, count
from opflops.counting.meta_cache import MetaCacheMode
from opflops.torch_internals.derived_results import DerivedResults, _is_pointwise
from opflops.torch_internals.fake_tensors import fake_copies

BATCH_NORM, LAYER_NORM = torch.ops.aten.native_batch_norm.default, torch.ops.aten.native_layer_norm.default
SHAPES = [(4, 3), (5, 2), (7,), (2, 3, 5, 4), (1, 6, 2, 3), (3, 1, 1, 1), (2, 3, 4, 5, 6), (0, 3), ()]
ATEN = [getattr(torch.ops.aten, name) for name in dir(torch.ops.aten)]
POINTWISE = [
    getattr(packet, name)
    for packet in ATEN
    if isinstance(packet, torch._ops.OpOverloadPacket)
    for name in packet.overloads()
    if _is_pointwise(getattr(packet, name))
]


def ways_to_lie(shape, dtype, device="meta"):
    """Make tensors of a shape: in the usual order, in another one, and with a stride of no meaning."""
    usual = torch.empty(shape, dtype=dtype, device=device)
    yield usual
    if len(shape) == 4:
        yield usual.to(memory_format=torch.channels_last)
        strides = [2 * each for each in usual.stride()]
        yield torch.empty_strided(shape, strides, dtype=dtype, device=device)
    if len(shape) == 2:
        yield torch.empty(shape[::-1], dtype=dtype, device=device).t()
    yield torch.empty_strided((1, *shape), (1, *usual.stride()), dtype=dtype, device=device)


def arguments(func, tensors):
    """Return arguments that fit a schema, with these tensors in turn."""
    tensors = itertools.cycle(tensors)
    found = []
    for each in func._schema.arguments:
        kind = str(each.type)
        if "Tensor" in kind:
            found.append(next(tensors))
        elif each.has_default_value():
            found.append(each.default_value)
        else:
            found.append({"bool": False, "int": 1, "str": "none"}.get(kind, 0.5))
    return found


def looks(tensor):
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.untyped_storage().nbytes(), tensor.storage_offset()


def outcome(func, args):
    """Return the class of the error of a call, or how its result looks, whether it is an argument, and versions."""
    args = [each.clone() if isinstance(each, torch.Tensor) else each for each in args]
    try:
        out = func(*args)
    except Exception as error:  # noqa: BLE001 - whatever PyTorch raises
        return type(error).__name__
    versions = [each._version for each in args if isinstance(each, torch.Tensor)]
    return looks(out), [out is each for each in args], versions


def results_of(func, *args):
    """Return how the results of a call look; or the class of its error."""
    try:
        return [looks(each) for each in func(*args)]
    except Exception as error:  # noqa: BLE001 - as above
        return type(error).__name__


def both_ways(device, outcomes):
    """Return what a function yields without derived results, and with them, where no tensor has elements."""
    found = []
    for derived in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if not derived:
                patch.setattr(DerivedResults, "look_up", lambda *_: (None, None))
            with MetaCacheMode() if device == "meta" else fake_copies(()):
                found.append([*outcomes()])
    return found


SOME_SHAPES = [(4, 3), (5, 2), (2, 3, 5, 4), (1, 6, 2, 3)]
WITH_CUDA = pytest.mark.skipif(
    not torch.backends.cuda.is_built(), reason="kernels of fake tensors for CUDA need a PyTorch that is built with it"
)
MIXED = (torch.float16, torch.float32)


@pytest.mark.parametrize(
    ("device", "shapes", "dtypes"),
    [
        ("meta", SHAPES, (torch.float32,)),
        ("meta", SOME_SHAPES[:3], MIXED),
        ("meta", SOME_SHAPES[:3], (torch.float64, torch.int64)),
        ("cpu", SOME_SHAPES[1:3], MIXED),
        pytest.param("cuda", SOME_SHAPES[1:3], (torch.float32,), marks=WITH_CUDA),
    ],
)
def test_every_pointwise_operator_gives_what_its_kernel_gives(device, shapes, dtypes):
    """For operands of one shape and of two, in the usual order and others, in one dtype and in two."""

    def outcomes():
        for func, shape in itertools.product(POINTWISE, shapes):
            for first in ways_to_lie(shape, dtypes[0], device):
                others = [torch.empty_like(first, dtype=each) for each in dtypes[1:]]
                narrow = first[..., :1] if first.dim() else first
                for tensors in ([first, *others], [first, narrow], [narrow.clone(), first]):
                    yield str(func), looks(first), outcome(func, arguments(func, tensors))

    expected, found = both_ways(device, outcomes)
    assert not [pair for pair in zip(expected, found, strict=True) if pair[0] != pair[1]]
    assert len(POINTWISE) > 300


def test_a_pointwise_operator_runs_once_for_all_shapes():
    """Its result has the shape of each call then, and one in place is its own argument, with a new version."""
    with Asked() as asked, MetaCacheMode():
        for rows in range(2, 6):
            x = torch.empty(rows, 3, device="meta")
            assert torch.sigmoid(x).shape == (rows, 3)
            version = x._version
            assert torch.relu_(x) is x
            assert x._version == version + 1
            assert torch.add(x, x).shape == (rows, 3)
    for name in ("aten.sigmoid.default", "aten.relu_.default", "aten.add.Tensor"):
        assert asked.ops.count(name) == 1


@pytest.mark.parametrize("device", ["meta", "cpu", pytest.param("cuda", marks=WITH_CUDA)])
def test_batch_norm_gives_what_its_kernel_gives(device):
    """Of every rank and dtype, in training and inference, with and without weights; statistics may be of float32."""

    def outcomes():
        for shape, dtype in itertools.product(SHAPES, (torch.float32, torch.float16, torch.int64)):
            for given in ways_to_lie(shape, dtype, device):
                vector = torch.empty(given.shape[1:2], dtype=dtype, device=device)
                for statistics, weight, training in itertools.product(
                    (vector, vector.float(), None), (vector, None), (False, True)
                ):
                    args = given, weight, weight, statistics, statistics, training, 0.1, 1e-5
                    yield looks(given), results_of(BATCH_NORM, *args)

    expected, found = both_ways(device, outcomes)
    assert not [pair for pair in zip(expected, found, strict=True) if pair[0] != pair[1]]


@pytest.mark.parametrize("device", ["meta", "cpu", pytest.param("cuda", marks=WITH_CUDA)])
def test_layer_norm_gives_what_its_kernel_gives(device):
    """Over one axis, two and all, with weights of its dtype, of another one, of another shape, and without."""

    def outcomes():
        for shape, dtype in itertools.product(SHAPES, (torch.float32, torch.float16, torch.int64)):
            for given in ways_to_lie(shape, dtype, device):
                for axes in {1, min(2, given.dim()), given.dim()} if given.dim() else ():
                    normalized = list(given.shape[-axes:])
                    vector = torch.empty(normalized, dtype=dtype, device=device)
                    for weight in (vector, vector.float(), vector[..., :1], None):
                        yield looks(given), results_of(LAYER_NORM, given, normalized, weight, weight, 1e-5)

    expected, found = both_ways(device, outcomes)
    assert not [pair for pair in zip(expected, found, strict=True) if pair[0] != pair[1]]


def test_normalizations_run_no_kernel():
    """Of contiguous numbers in one dtype; of others it does."""
    vector = torch.ones(3, device="meta")
    with Asked() as asked, MetaCacheMode():
        for rows in range(1, 5):
            given = torch.empty(rows, 3, 4, 4, device="meta")
            BATCH_NORM(given, vector, vector, vector, vector, True, 0.1, 1e-5)
        assert str(BATCH_NORM) not in asked.ops
        BATCH_NORM(given.half(), vector, vector, vector, vector, True, 0.1, 1e-5)
        assert str(BATCH_NORM) in asked.ops


def test_a_network_counts_as_its_run_on_meta():
    """Row by row, in training and inference, for sizes that repeat and sizes that do not."""

    def network():
        layers = []
        for before, after in itertools.pairwise((3, 4, 6, 6)):
            layers += [nn.Conv2d(before, after, 3, stride=2), nn.BatchNorm2d(after), nn.SiLU(inplace=True), nn.GELU()]
        return nn.Sequential(*layers)

    with torch.device("meta"):
        model, x = network(), torch.ones(2, 3, 65, 47)
    for training in (True, False):
        model.train(training)
        with OpFlopMode() as run:
            model(x)
        assert run.profile.rows == count(model, x).rows
