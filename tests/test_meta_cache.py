"""Answers from memory for meta tensors: the same results as PyTorch's own kernels give."""

import pytest
import torch
from torch import nn
from zoo.dynamic import CachedDecoder, ConvNet
from zoo.transformers import Llama

from opflops import OpFlopMode
from opflops.counting.meta_cache import MetaCacheMode


class Asked(torch.utils._python_dispatch.TorchDispatchMode):
    """Note which operators are really run."""

    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops.append(str(func))
        return func(*args, **(kwargs or {}))


def looks(tensors):
    return [(each.shape, each.stride(), each.dtype, each.device.type) for each in tensors]


def meta(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype, device="meta")


def test_a_question_is_asked_once():
    """The second answer has the metadata of the first, and is a tensor of its own."""
    x, y = meta(4, 3), meta(3, 5)
    with Asked() as asked, MetaCacheMode():
        first, second = torch.mm(x, y), torch.mm(meta(4, 3), y)
    assert asked.ops.count("aten.mm.default") == 1
    assert looks([first]) == looks([second])
    assert first is not second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: meta(4, 3) + 1, lambda: meta(4, 3, dtype=torch.int64) + 1),
        (lambda: meta(4, dtype=torch.int64) * 2, lambda: meta(4, dtype=torch.int64) * 2.0),
        (lambda: meta(4, dtype=torch.bool) + 1, lambda: meta(4, dtype=torch.bool) + True),
        (lambda: meta(4, 3) * 2, lambda: meta(3, 4).t() * 2),
        (lambda: meta(4, 3).sum(0), lambda: meta(4, 3).sum(1)),
        (lambda: meta(4, 3).sum((0, 1)), lambda: meta(4, 3).sum((0,))),
        (lambda: meta(4, 3).sum(0, keepdim=True), lambda: meta(4, 3).sum(0)),
        (lambda: torch.cat([meta(2), meta(3)]), lambda: torch.cat([meta(3), meta(3)])),
        (lambda: meta(2, dtype=torch.int64) / 2, lambda: _in_double(lambda: meta(2, dtype=torch.int64) / 2)),
    ],
    ids=[
        *("dtype of a tensor", "type of a number", "bool or int", "order in memory", "axis", "axes"),
        *("option", "size in a list", "default dtype"),
    ],
)
def test_what_looks_alike_but_is_not_is_asked_again(one, other):
    """Dtypes, strides, lists, numbers of other kinds that are equal, and the default dtype."""
    wanted = looks([one(), other()])
    with MetaCacheMode():
        assert looks([one(), other(), one(), other()]) == 2 * wanted


def _in_double(function):
    torch.set_default_dtype(torch.float64)
    try:
        return function()
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_writes_or_shares_returns_what_it_did():
    """An in-place operator returns its own argument, a view one that shares it, a factory a new one."""
    x = meta(4, 3)
    with Asked() as asked, MetaCacheMode():
        assert x.add_(1) is x
        assert x.add_(1) is x
        assert x.view(12).untyped_storage()._cdata == x.untyped_storage()._cdata
        torch.zeros(3, device="meta")
        torch.zeros(3, device="meta")
    assert asked.ops.count("aten.add_.Tensor") == 1
    assert asked.ops.count("aten.zeros.default") == 2


def test_tensors_with_values_pass():
    """They are computed as ever, and so is what has both."""
    x = torch.arange(6.0).view(2, 3)
    with MetaCacheMode():
        assert torch.equal(x + x, 2 * x)
        assert torch.equal(x.sum(0), torch.tensor([3.0, 5.0, 7.0]))
        assert (meta(3) + torch.tensor(1.0)).is_meta


def test_some_results_may_be_missing():
    """A backward makes the gradients that are asked for."""
    conv = nn.Conv2d(3, 4, 3, device="meta")
    conv.weight.requires_grad_(False)
    with MetaCacheMode():
        for _ in range(2):
            conv.bias.grad = None
            conv(meta(1, 3, 8, 8)).sum().backward()
            assert conv.bias.grad.shape == (4,)
            assert conv.weight.grad is None


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (ConvNet, lambda: meta(2, 3, 33, 47)),
        (CachedDecoder, lambda: meta(2, 7, dtype=torch.int64)),
        (lambda: Llama(2, 64, 4, 2, 96, 50), lambda: meta(2, 7, dtype=torch.int64)),
        (lambda: nn.LSTM(6, 10, 2, bidirectional=True), lambda: meta(5, 2, 6)),
        (lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), lambda: meta(2, 5, 16)),
    ],
    ids=["cnn", "decoder", "llama", "lstm", "encoder"],
)
def test_models_count_as_without(make, x):
    """Row by row, forward and backward."""
    with torch.device("meta"):
        model = make()
    profiles = []
    for outer in (MetaCacheMode, Asked):
        with outer(), OpFlopMode() as mode:
            for _ in range(2):
                outputs = [out for out in torch.utils._pytree.tree_leaves(model(x())) if out.requires_grad]
                torch.autograd.backward(outputs, [torch.ones_like(out) for out in outputs])
        profiles.append(mode.profile)
        model.zero_grad(set_to_none=True)
    assert profiles[0] == profiles[1]
