"""Results on meta that no kernel computes are those of PyTorch's kernels: pointwise operators and batch norm."""

import itertools

import pytest
import torch
from torch import nn

from opflops import OpFlopMode, count
from opflops.counting.derived_results import BATCH_NORM, is_pointwise
from opflops.counting.meta_cache import MetaCacheMode

SHAPES = [(4, 3), (5, 2), (7,), (2, 3, 5, 4), (1, 6, 2, 3), (3, 1, 1, 1), (2, 3, 4, 5, 6), (0, 3), ()]
ATEN = [getattr(torch.ops.aten, name) for name in dir(torch.ops.aten)]
POINTWISE = [
    getattr(packet, name)
    for packet in ATEN
    if isinstance(packet, torch._ops.OpOverloadPacket)
    for name in packet.overloads()
    if is_pointwise(getattr(packet, name))
]


class Ran(torch.utils._python_dispatch.TorchDispatchMode):
    """Note the operators that kernels ran."""

    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops.append(str(func))
        return func(*args, **(kwargs or {}))


def ways_to_lie(shape, dtype):
    """Make tensors of a shape: in the usual order, in another one, and with a stride of no meaning."""
    usual = torch.empty(shape, dtype=dtype, device="meta")
    yield usual
    if len(shape) == 4:
        yield usual.to(memory_format=torch.channels_last)
        yield usual[:, :, :, ::2]
    if len(shape) == 2:
        yield torch.empty(shape[::-1], dtype=dtype, device="meta").t()
    yield torch.empty_strided((1, *shape), (1, *usual.stride()), dtype=dtype, device="meta")


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
    """Return what a call gives: how the result looks, and whether it is an argument; or the class of its error."""
    args = [each.clone() if isinstance(each, torch.Tensor) else each for each in args]
    try:
        out = func(*args)
    except Exception as error:  # noqa: BLE001 - whatever PyTorch raises
        return type(error).__name__
    versions = [each._version for each in args if isinstance(each, torch.Tensor)]
    return looks(out), [out is each for each in args], versions


@pytest.mark.parametrize("dtypes", [(torch.float32,), (torch.float16, torch.float32), (torch.float64, torch.int64)])
def test_every_pointwise_operator_gives_what_its_kernel_gives(dtypes):
    """For operands of one shape and of two, in the usual order and others, in one dtype and in two."""
    different = []
    for func in POINTWISE:
        with MetaCacheMode():
            for shape in SHAPES:
                for first in ways_to_lie(shape, dtypes[0]):
                    others = [torch.empty_like(first, dtype=each) for each in dtypes[1:]]
                    for tensors in ([first, *others], [first, first[..., :1] if first.dim() else first]):
                        args = arguments(func, tensors)
                        with torch.utils._python_dispatch._disable_current_modes():
                            expected = outcome(func, args)
                        if outcome(func, args) != expected:
                            different.append((str(func), shape, looks(first)))
    assert not different
    assert len(POINTWISE) > 300


def test_a_pointwise_operator_runs_once_for_all_shapes():
    """Its result has the shape of each call then, and one in place is its own argument, with a new version."""
    with Ran() as ran, MetaCacheMode():
        for rows in range(2, 6):
            x = torch.empty(rows, 3, device="meta")
            assert torch.sigmoid(x).shape == (rows, 3)
            version = x._version
            assert torch.relu_(x) is x
            assert x._version == version + 1
            assert torch.add(x, x).shape == (rows, 3)
    for name in ("aten.sigmoid.default", "aten.relu_.default", "aten.add.Tensor"):
        assert ran.ops.count(name) == 1


def batch_norm_arguments():
    channels = {shape: shape[1] for shape in SHAPES if len(shape) > 1}
    for (shape, size), dtype, training, affine in itertools.product(
        channels.items(), (torch.float32, torch.float16, torch.int64), (False, True), (False, True)
    ):
        for given in ways_to_lie(shape, dtype):
            if given.dim() == len(shape):
                vector = torch.empty(size, dtype=dtype, device="meta")
                for stats in (vector, vector.float(), None):
                    yield [given, *[vector if affine else None] * 2, stats, stats, training, 0.1, 1e-5]


def test_batch_norm_gives_what_its_kernel_gives():
    """Of every rank and dtype, in training and inference, with and without weights; statistics may be of float32."""

    def every(args):
        try:
            return [looks(each) for each in BATCH_NORM(*args)]
        except Exception as error:  # noqa: BLE001 - as above
            return type(error).__name__

    given = [*batch_norm_arguments()]
    expected = [every(args) for args in given]
    with Ran() as ran, MetaCacheMode():
        found = [every(args) for args in given]
    assert found == expected
    assert 0 < ran.ops.count(str(BATCH_NORM)) < len(given)


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
