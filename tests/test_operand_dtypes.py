"""Dtypes of operands: where a run on the CPU refuses them, counting without running raises the same error."""

import itertools

import pytest
import torch
from torch import nn
from torch.export import Dim

from opflops import ModelError, count

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.int64, torch.bool, torch.complex64)
_TWO = 2
_F = nn.functional
CALLS = {
    "mm": (torch.mm, (3, 4), (4, 5)),
    "bmm": (torch.bmm, (2, 3, 4), (2, 4, 5)),
    "mv": (torch.mv, (3, 4), (4,)),
    "dot": (torch.dot, (4,), (4,)),
    "matmul": (torch.matmul, (2, 3, 4), (4, 5)),
    "linear": (_F.linear, (3, 4), (5, 4)),
    "linear with bias": (_F.linear, (3, 4), (5, 4), (5,)),
    "addmm": (torch.addmm, (3, 5), (3, 4), (4, 5)),
    "addbmm": (torch.addbmm, (3, 5), (2, 3, 4), (2, 4, 5)),
    "baddbmm": (torch.baddbmm, (2, 3, 5), (2, 3, 4), (2, 4, 5)),
    "addmv": (torch.addmv, (3,), (3, 4), (4,)),
    "conv1d": (_F.conv1d, (16, 4, 9), (6, 4, 3)),
    "conv2d": (_F.conv2d, (16, 4, 9, 9), (6, 4, 3, 3), (6,)),
    "conv3d": (_F.conv3d, (16, 2, 4, 4, 4), (3, 2, 2, 2, 2), (3,)),
    "conv_transpose1d": (_F.conv_transpose1d, (16, 4, 9), (4, 6, 3), (6,)),
    "conv_transpose2d": (_F.conv_transpose2d, (16, 4, 9, 9), (4, 6, 3, 3)),
}


def _tensors(shapes, dtypes, device):
    return [torch.zeros(shape, dtype=dtype, device=device) for shape, dtype in zip(shapes, dtypes, strict=True)]


def _first_line(error):
    return str(error).partition("\n")[0].rstrip(".")


def _on_cpu(call, operands):
    """Return the first line of the error that a real call raises; "" if it runs."""
    try:
        call(*operands)
    except RuntimeError as error:
        return _first_line(error)
    return ""


# Their meta kernels compare dtypes, in other words than the CPU.
WORDED_BY_META = ("bmm", "dot", "baddbmm", "addmv")


@pytest.mark.parametrize("name", CALLS)
def test_counting_fails_where_the_cpu_fails(name):
    """All choices of two dtypes for the operands, on meta and fake tensors, have the outcome of a real call."""
    call, *shapes = CALLS[name]
    for dtypes in [each for each in itertools.product(_DTYPES, repeat=len(shapes)) if len({*each}) == _TWO]:
        expected = _on_cpu(call, _tensors(shapes, dtypes, "cpu"))
        for device in ("cpu", "meta"):
            operands = _tensors(shapes, dtypes, device)
            if not expected:
                count(call, *operands)
                continue
            with pytest.raises(ModelError) as raised:
                count(call, *operands)
            # The name of the kernel without a form for a dtype depends on sizes.
            if name not in WORDED_BY_META and "not implemented for" not in expected:
                assert expected in str(raised.value), (dtypes, device)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_layers_refuse_inputs_of_another_dtype(device):
    """A second call, and one with a symbol for a size, fail as the first does."""
    with torch.device(device):
        layer = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        words = torch.zeros(2, 4, dtype=torch.int64)
    message = "mat1 and mat2 must have the same dtype, but got Long and Float"
    assert count(layer, words.float()).total.macs == 2 * 4 * 4
    for options in ({}, {}, {"dynamic_shapes": {"input": {0: Dim("batch")}}}):
        with pytest.raises(ModelError, match=message):
            count(layer, words, **options)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_autocast_casts_before(device):
    """Operands of two dtypes that autocast makes one are counted, and those that it leaves alone are refused."""
    with torch.device(device):
        layer, half, words = nn.Linear(4, 8), torch.zeros(2, 4).half(), torch.zeros(2, 4, dtype=torch.int64)

    def run(x):
        with torch.autocast("cpu", torch.bfloat16):
            return layer(x)

    if device == "cpu":
        assert run(half).dtype is torch.bfloat16
        assert count(run, half).total.macs == 2 * 4 * 8
        with pytest.raises(RuntimeError):
            run(words)
    with pytest.raises(ModelError, match="must have the same dtype"):
        count(run, words)
