"""The hooks of ptflops by name, for ``custom_modules_hooks`` and for hooks of your own that call them.

Each adds to ``module.__flops__`` what a layer of that kind counts as here: the multiply-accumulates of its
contractions, for all samples, from its shapes. Hooks of activations, norms, pools and interpolation add 0.

>>> import torch
>>> from opflops.compat.ptflops import get_model_complexity_info
>>> class Scaled(torch.nn.Linear):
...     pass
>>> hooks = {Scaled: linear_flops_counter_hook}
>>> get_model_complexity_info(Scaled(4, 3), (4,), print_per_layer_stat=False, custom_modules_hooks=hooks)
('12 Mac', '15')

A hook that is added to :data:`MODULES_MAPPING`, or replaced there, holds for all later calls.
"""

# ruff: noqa: ARG001 - hooks have the parameters of ptflops'

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from opflops.compat.ptflops.attribute_names import FLOPS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _add(module: nn.Module, macs: float) -> None:
    setattr(module, FLOPS, getattr(module, FLOPS) + int(macs))


def empty_flops_counter_hook(module: nn.Module, input: Any, output: Any) -> None:
    """Count the module, with all modules below it, as nothing."""
    _add(module, 0)


def _elementwise_hook(name: str) -> Callable[..., None]:
    def hook(module: nn.Module, input: Any, output: Any) -> None:
        """Add 0, since the module multiplies and accumulates nothing."""
        _add(module, 0)

    hook.__name__ = hook.__qualname__ = name
    return hook


upsample_flops_counter_hook = _elementwise_hook("upsample_flops_counter_hook")
relu_flops_counter_hook = _elementwise_hook("relu_flops_counter_hook")
pool_flops_counter_hook = _elementwise_hook("pool_flops_counter_hook")
bn_flops_counter_hook = _elementwise_hook("bn_flops_counter_hook")


def linear_flops_counter_hook(module: nn.Module, input: Sequence[Any], output: Any) -> None:
    """Add the products of a linear layer, without its bias."""
    _add(module, input[0].numel() * output.shape[-1])


def conv_flops_counter_hook(
    conv_module: Any, input: Sequence[Any], output: Any, extra_per_position_flops: int = 0, transpose: bool = False
) -> None:
    """Add the products of a convolution, without its bias.

    Args:
        conv_module: The layer.
        input: Its arguments.
        output: Its result.
        extra_per_position_flops: What else to add for each position of the kernel, and of the result.
        transpose: Whether it is a transposed convolution, each of whose inputs meets each weight of its group.
    """
    dimensions, positions = len(conv_module.kernel_size), input[0] if transpose else output
    # Without a batch, the first axis is that of the channels.
    batch = positions.shape[0] if positions.dim() > dimensions + 1 else 1
    places = batch * prod(positions.shape[-dimensions:])
    kernel = prod(conv_module.kernel_size)
    channels = conv_module.in_channels * conv_module.out_channels // conv_module.groups
    _add(conv_module, places * kernel * (channels + extra_per_position_flops))


def deformable_conv_flops_counter_hook(conv_module: Any, input: Sequence[Any], output: Any) -> None:
    """Add the products of a deformable convolution; its interpolation multiplies no weights."""
    conv_flops_counter_hook(conv_module, input, output)


def _matrices(module: nn.Module) -> int:
    return sum(each.numel() for name, each in module.named_parameters() if name.startswith("weight_"))


def rnn_flops_counter_hook(rnn_module: nn.Module, input: Sequence[Any], output: Any) -> None:
    """Add the products of the matrices of a recurrent network, once for each step of each sequence."""
    steps = input[0].data if isinstance(input[0], PackedSequence) else input[0]
    _add(rnn_module, prod(steps.shape[:-1]) * _matrices(rnn_module))


def rnn_cell_flops_counter_hook(rnn_cell_module: nn.Module, input: Sequence[Any], output: Any) -> None:
    """Add the products of the matrices of a recurrent cell."""
    _add(rnn_cell_module, prod(input[0].shape[:-1]) * _matrices(rnn_cell_module))


def multihead_attention_counter_hook(multihead_attention_module: Any, input: Sequence[Any], output: Any) -> None:
    """Add the products of the four projections and of the scores, all of which count under a mask."""
    module = multihead_attention_module
    query, key, value = input[:3]
    batched = query.dim() > len(("length", "size"))
    axis = 1 if module.batch_first and batched else 0
    batch = query.shape[1 - axis] if batched else 1
    queries, keys, size = query.shape[axis], key.shape[axis], module.embed_dim
    projections = queries * size * 2 * size + keys * size * (key.shape[-1] + value.shape[-1])
    attended = keys + (module.bias_k is not None) + bool(module.add_zero_attn)
    _add(module, batch * (projections + 2 * queries * attended * size))


def timm_attention_counter_hook(attention_module: Any, input: Sequence[Any], output: Any) -> None:
    """Add the products of the layers ``qkv`` and ``proj`` of timm's attention, and of its scores."""
    batch, length, size = input[0].shape
    inside = attention_module.head_dim * attention_module.num_heads
    _add(attention_module, batch * length * (4 * size * inside + 2 * length * inside))


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
ACTIVATIONS = (nn.ReLU, nn.PReLU, nn.ELU, nn.LeakyReLU, nn.ReLU6, nn.GELU)
POOLS = (
    nn.MaxPool1d, nn.AvgPool1d, nn.AvgPool2d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveMaxPool1d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool3d, nn.AdaptiveAvgPool3d,
)  # fmt: skip
NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
    nn.GroupNorm, nn.LayerNorm,
)  # fmt: skip

MODULES_MAPPING: dict[type, Callable[..., Any]] = {
    **dict.fromkeys(CONVOLUTIONS, conv_flops_counter_hook),
    **dict.fromkeys(ACTIVATIONS, relu_flops_counter_hook),
    **dict.fromkeys(POOLS, pool_flops_counter_hook),
    **dict.fromkeys(NORMS, bn_flops_counter_hook),
    nn.Linear: linear_flops_counter_hook,
    nn.Upsample: upsample_flops_counter_hook,
    **dict.fromkeys(TRANSPOSED, partial(conv_flops_counter_hook, transpose=True)),
    **dict.fromkeys((nn.RNN, nn.GRU, nn.LSTM), rnn_flops_counter_hook),
    **dict.fromkeys((nn.RNNCell, nn.LSTMCell, nn.GRUCell), rnn_cell_flops_counter_hook),
    nn.MultiheadAttention: multihead_attention_counter_hook,
}
"""The hooks by class. Those that are here from the start are not called: the operators of such layers count."""

_FROM_THE_START = dict(MODULES_MAPPING)


def added_hooks() -> dict[type, Callable[..., Any]]:
    """Return the hooks that a user has put into :data:`MODULES_MAPPING`."""
    return {cls: hook for cls, hook in MODULES_MAPPING.items() if _FROM_THE_START.get(cls) is not hook}


def _linear_functional_flops_hook(input: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> int:
    return input.numel() * weight.shape[0]


def _matmul_tensor_flops_hook(input: torch.Tensor, other: torch.Tensor, *_: Any, **__: Any) -> int:
    if other.dim() == 1:
        return prod(torch.broadcast_shapes(input.shape, other.shape))
    rows, columns = (input.shape[-2] if input.dim() > 1 else 1), other.shape[-1]
    batch = torch.broadcast_shapes(input.shape[:-2], other.shape[:-2])
    return int(prod(batch) * rows * input.shape[-1] * columns)


def _addmm_tensor_flops_hook(input: torch.Tensor, mat1: torch.Tensor, mat2: torch.Tensor, **_: Any) -> int:
    return mat1.numel() * mat2.shape[-1]


def _no_products(*_: Any, **__: Any) -> int:
    return 0


_numel_functional_flops_hook = _interpolate_functional_flops_hook = _elementwise_tensor_flops_hook = _no_products

_ABSENT = {
    "FUNCTIONAL_MAPPING": "Functions count as the operators that they run.",
    "TENSOR_OPS_MAPPING": "Methods and operators of tensors count as the operators that they run.",
    "CUSTOM_MODULES_MAPPING": "Hooks of one call are in no global table.",
}


def __getattr__(name: str) -> Any:
    """Say what to use in place of the tables of ptflops that there are not here.

    Raises:
        ImportError: The name is that of such a table.
        AttributeError: It is another one.
    """
    if name in _ABSENT:
        raise ImportError(
            f"opflops.compat.ptflops.pytorch_ops has no {name}. {_ABSENT[name]} Give "
            "custom_modules_hooks={key: hook} to get_model_complexity_info(), where a key is a class of modules or an "
            "operator such as torch.ops.aten.mm.",
            name=name,
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
