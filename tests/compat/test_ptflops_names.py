"""What programs import from the modules inside ptflops: its hooks by name, and its count by modules."""

import io
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from opflops import count
from opflops.compat.ptflops import get_model_complexity_info, pytorch_engine, pytorch_ops
from opflops.compat.ptflops.pytorch_engine import get_flops_pytorch, get_model_parameters_number
from opflops.compat.ptflops.pytorch_ops import (
    MODULES_MAPPING,
    bn_flops_counter_hook,
    linear_flops_counter_hook,
    pool_flops_counter_hook,
    relu_flops_counter_hook,
    timm_attention_counter_hook,
)


class Attend(nn.Module):
    """Calls attention on one or three tensors."""

    def __init__(self, layer, *others):
        super().__init__()
        self.layer, self.others = layer, others

    def forward(self, x):
        return self.layer(x, *(self.others or (x, x)), need_weights=False)[0]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(5, 3), (2, 5)),
        (nn.Conv1d(4, 6, 3, groups=2, stride=2, dilation=2), (4, 9)),
        (nn.Conv3d(2, 3, 2, bias=False), (2, 4, 5, 6)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 3, 5)),
        (nn.LSTM(4, 3, 2, bidirectional=True, proj_size=2), (6, 4)),
        (nn.GRU(4, 3, batch_first=True), (6, 4)),
        (nn.RNNCell(4, 3), (4,)),
        (nn.LSTMCell(4, 3), (4,)),
        (nn.BatchNorm1d(4), (4, 3)),
        (nn.PReLU(), (4,)),
        (nn.AdaptiveAvgPool2d(2), (3, 4, 4)),
        (nn.Upsample(scale_factor=2), (3, 4)),
        (Attend(nn.MultiheadAttention(8, 2, batch_first=True)), (5, 8)),
        (Attend(nn.MultiheadAttention(8, 2, bias=False)), (5, 8)),
        (Attend(nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True, batch_first=True)), (5, 8)),
    ],
)
def test_the_hook_of_each_layer_states_what_its_operators_count_as(layer, shape, batch):
    """Called as it is, on several samples: the figure of opflops.count(), which is made from the operators."""
    hook = MODULES_MAPPING[type(getattr(layer, "layer", layer))]
    x = torch.rand(batch, *shape)
    called = getattr(layer, "layer", layer).eval()
    called.__flops__ = 7
    hook(called, (x,) if called is layer else (x, x, x), called(x) if called is layer else layer(x))
    assert called.__flops__ - 7 == count(layer, x).total.macs


def test_attention_over_other_keys_counts_their_projections():
    """By hand: 5 queries and 7 keys, of 6 and 4 features for keys and values, with 2 heads of 4."""
    layer = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)
    layer.__flops__ = 0
    MODULES_MAPPING[nn.MultiheadAttention](layer, (torch.ones(2, 5, 8), torch.ones(2, 7, 6), torch.ones(2, 7, 4)), None)
    assert layer.__flops__ == 2 * (5 * 64 * 2 + 7 * 8 * (6 + 4) + 2 * 5 * 7 * 8)
    attention = SimpleNamespace(head_dim=4, num_heads=3, __flops__=0)
    timm_attention_counter_hook(attention, (torch.ones(2, 5, 10),), None)
    assert attention.__flops__ == 2 * (5 * 10 * 36 + 5 * 12 * 10 + 2 * 25 * 12)


def test_an_unbatched_convolution_and_a_packed_sequence_count():
    """By hand: 5 positions of 2 x 3 x 3 products, and 3 steps of 12 x (4 + 3)."""
    layer = nn.Conv1d(2, 3, 3)
    layer.__flops__ = 0
    MODULES_MAPPING[nn.Conv1d](layer, (torch.ones(2, 7),), torch.ones(3, 5))
    assert layer.__flops__ == 5 * 18
    layer = nn.LSTM(4, 3)
    layer.__flops__ = 0
    packed = nn.utils.rnn.pack_sequence([torch.ones(2, 4), torch.ones(1, 4)])
    MODULES_MAPPING[nn.LSTM](layer, (packed,), None)
    assert layer.__flops__ == 3 * 12 * 7


def test_hooks_by_name_are_values_of_custom_modules_hooks():
    """As programs give them for their own classes, and from inside hooks of their own."""

    class Norm(nn.BatchNorm2d):
        pass

    class Pool(nn.MaxPool2d):
        pass

    class Masked(nn.Linear):
        pass

    class Twice(nn.Linear):
        def forward(self, x):
            return super().forward(super().forward(x))

    def twice_hook(module, inputs, output):
        linear_flops_counter_hook(module, inputs, output)
        linear_flops_counter_hook(module, (output,), output)

    net = nn.Sequential(Norm(2), Pool(2), nn.ReLU(), nn.Flatten(), Masked(8, 3), Twice(3, 3))
    hooks = {
        Norm: bn_flops_counter_hook, Pool: pool_flops_counter_hook, nn.ReLU: relu_flops_counter_hook,
        Masked: linear_flops_counter_hook, Twice: twice_hook,
    }  # fmt: skip
    for given in (hooks, {}):
        assert get_model_complexity_info(net, (2, 4, 4), False, False, custom_modules_hooks=given)[0] == 24 + 18


def test_a_hook_that_is_added_to_the_table_of_modules_is_used(monkeypatch):
    """In all later calls, unless the call gives another one."""

    class Masked(nn.Linear):
        pass

    monkeypatch.setitem(MODULES_MAPPING, Masked, lambda module, *_: setattr(module, "__flops__", 11))
    net = nn.Sequential(Masked(4, 3), nn.Linear(3, 2))
    assert get_model_complexity_info(net, (4,), False, False)[0] == 11 + 6
    hooks = {Masked: linear_flops_counter_hook}
    assert get_model_complexity_info(net, (4,), False, False, custom_modules_hooks=hooks)[0] == 12 + 6


def test_functional_rules_state_products():
    """By hand, with broadcast batches and vectors; work without products is 0."""
    matmul = pytorch_ops._matmul_tensor_flops_hook
    for left, right in (((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 1, 2, 3), (6, 3, 4))):
        x, y = torch.ones(left), torch.ones(right)
        assert matmul(x, y) == count(torch.matmul, x, y).total.macs
    assert pytorch_ops._linear_functional_flops_hook(torch.ones(2, 3), torch.ones(4, 3), torch.ones(4)) == 24
    assert pytorch_ops._addmm_tensor_flops_hook(torch.ones(4), torch.ones(2, 3), torch.ones(3, 4), beta=0) == 24
    for name in ("_numel_functional", "_interpolate_functional", "_elementwise_tensor"):
        assert getattr(pytorch_ops, f"{name}_flops_hook")(torch.ones(3), 2) == 0


def test_the_engine_counts_and_says_what_it_has_not():
    """Numbers, whatever the units are; names of tables and methods that are not there have a sentence each."""
    text = io.StringIO()
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, bias=False))
    net[1].weight.requires_grad_(False)
    assert get_flops_pytorch(net, (4,), ost=text, flops_units="KMac", output_precision=3) == (18, 15)
    assert "0.018 KMac" in text.getvalue()
    assert get_model_parameters_number(net) == 15
    with pytest.raises(ImportError, match="has no start_flops_count: nothing is added to a model"):
        from opflops.compat.ptflops.pytorch_engine import start_flops_count  # noqa: F401, PLC0415
    with pytest.raises(
        ImportError, match=r"has no TENSOR_OPS_MAPPING\. Methods .* Give custom_modules_hooks={key: hook}"
    ):
        from opflops.compat.ptflops.pytorch_ops import TENSOR_OPS_MAPPING  # noqa: F401, PLC0415
    assert not hasattr(pytorch_ops, "other")
    assert not hasattr(pytorch_engine, "other")
