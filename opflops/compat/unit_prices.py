"""Price work as the counters do that charge each element of a layer a few units beside the products."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opflops.formulas import pooling, transformer_encoder
from opflops.formulas.reduction import rows_along
from opflops.formulas.sizes import available_packets, numel, present
from opflops.records.cost import Cost, Estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    Formulas = dict[Any, Callable[..., Cost | Estimate]]


@dataclass(frozen=True)
class UnitPrices:
    """State how many units work takes beside the multiply-accumulates of contractions, each of which is one.

    Attributes:
        elementwise: Units per element of the result, by operator of aten.
        upsampling: The same for operators that resize images.
        bias: Units per element of a contraction's result that a bias is added to.
        norm: Units per element of a normalization, from 1 if it subtracts a mean and else 0, and how many of weight and
            bias there are.
        softmax: Units of a softmax, from its elements and its rows.
        max_pool: Units of a pooling, from the elements of all windows and those of the result.
        average_pool: The same for averages.
        adaptive_average_pool: The same for averages of a given size.
        attention_scale: Units per element of the queries of an attention, which are scaled.
    """

    elementwise: Mapping[str, int]
    upsampling: Mapping[str, int]
    bias: int
    norm: Callable[[int, int], int]
    softmax: Callable[[int, int], int]
    max_pool: Callable[[int, int], int]
    average_pool: Callable[[int, int], int]
    adaptive_average_pool: Callable[[int, int], int]
    attention_scale: int

    def formulas(self) -> Formulas:
        """Return formulas, for a mode, whose ``ops`` are these units."""
        by_name = {
            **{name: _per_element(units) for name, units in (*self.elementwise.items(), *self.upsampling.items())},
            **_norms(self),
            **_pools(self),
            **dict.fromkeys(_SOFTMAX, _softmax(self)),
            **_LAYERS,
            **_CELLS,
            "scaled_dot_product_attention": _attention(self),
            "_transformer_encoder_layer_fwd": _encoder_layer(self),
            "_native_multi_head_attention": _multi_head_attention(self),
        }
        return {packet: price for name, price in by_name.items() for packet in available_packets("aten", name)}


UPSAMPLING = {
    "nearest": ("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d",
                "_upsample_nearest_exact2d", "_upsample_nearest_exact3d"),
    "linear": ("upsample_linear1d",),
    "bilinear": ("upsample_bilinear2d", "_upsample_bilinear2d_aa"),
    "bicubic": ("upsample_bicubic2d", "_upsample_bicubic2d_aa"),
    "trilinear": ("upsample_trilinear3d",),
}  # fmt: skip
"""The operators that resize, by the mode of ``interpolate``."""

BIASED = frozenset(
    f"aten.{name}"
    for name in ("convolution", "addmm", "baddbmm", "addbmm", "addmv", "_convolution", "convolution_overrideable")
)
"""The contractions that may add a bias; their own formulas count it in ``ops``."""


def packet_name(op: str) -> str:
    """Return the functional name of a row's operator: ``"aten.add"`` for ``"aten.add_"``."""
    return op.removesuffix("_")


def _per_element(units: int) -> Any:
    def price(*, out: Tensor) -> Cost:
        return Cost(ops=units * out.numel())

    return price


_NORMS = (
    "batch_norm", "instance_norm", "layer_norm", "group_norm", "native_batch_norm", "cudnn_batch_norm",
    "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "native_layer_norm", "native_group_norm",
)  # fmt: skip


def _norms(prices: UnitPrices) -> dict[str, Any]:
    def norm(input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Cost:
        return Cost(ops=prices.norm(1, present(weight, bias)) * input.numel())

    def rms_norm(input: Tensor, weight: Tensor | None = None) -> Cost:
        return Cost(ops=prices.norm(0, present(weight)) * input.numel())

    return {**dict.fromkeys(_NORMS, norm), **dict.fromkeys(("rms_norm", "_fused_rms_norm"), rms_norm)}


_SOFTMAX = ("_softmax", "_safe_softmax", "_masked_softmax")


def _softmax(prices: UnitPrices) -> Any:
    def price(self: Tensor, dim: int | None = None) -> Cost:
        return Cost(ops=prices.softmax(self.numel(), rows_along(self, -1 if dim is None else dim)))

    return price


def _pools(prices: UnitPrices) -> dict[str, Any]:
    """Price the composite operators, which PyTorch runs as others, and those that a model may call directly."""

    def fixed(rank: int, units: Callable[[int, int], int]) -> Any:
        def price(kernel_size: Sequence[int], *, out: Any) -> Cost:
            results = _first(out).numel()
            return Cost(ops=units(results * pooling.window(kernel_size, rank), results))

        return price

    def adaptive(rank: int, units: Callable[[int, int], int]) -> Any:
        def price(self: Tensor, *, out: Any) -> Cost:
            result = _first(out)
            return Cost(ops=units(pooling.adaptive_windows(self, result, rank), result.numel()))

        return price

    priced: dict[str, Any] = {}
    for rank in (1, 2, 3):
        priced |= dict.fromkeys((f"max_pool{rank}d", f"max_pool{rank}d_with_indices"), fixed(rank, prices.max_pool))
        priced[f"avg_pool{rank}d"] = fixed(rank, prices.average_pool)
        priced[f"adaptive_max_pool{rank}d"] = adaptive(rank, prices.max_pool)
        priced |= dict.fromkeys(
            (f"adaptive_avg_pool{rank}d", f"_adaptive_avg_pool{rank}d"), adaptive(rank, prices.adaptive_average_pool)
        )
    return priced


def _first(out: Any) -> Tensor:
    result: Tensor = out[0] if isinstance(out, (tuple, list)) else out
    return result


def _recurrent_layers(units: int) -> Any:
    """Price all layers of a recurrent network: their products, biases, and the sums and products of the gates."""

    def price(
        params: Sequence[Tensor],
        num_layers: int,
        bidirectional: bool,
        hx: Any,
        input: Tensor | None = None,
        data: Tensor | None = None,
    ) -> Cost:
        # A packed input (tokens, features) has its true lengths already.
        steps: Tensor = data if input is None else input  # type: ignore[assignment]
        rows = numel(steps.shape[:-1])
        # An LSTM has the hidden state and the cells; with projections only the cells have the hidden size.
        hidden = _last(hx).shape[-1]
        macs = sum(each.numel() for each in params if each.dim() > 1)
        biases = sum(each.numel() for each in params if each.dim() == 1)
        gates = units * hidden * num_layers * (2 if bidirectional else 1)
        return Cost(macs=rows * macs, ops=rows * (biases + gates))

    return price


def _recurrent_cell(units: int) -> Any:
    def price(
        input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
    ) -> Cost:
        rows, hidden = numel(input.shape[:-1]), _last(hx).shape[-1]
        biases = sum(each.numel() for each in (b_ih, b_hh) if each is not None)
        return Cost(macs=rows * (w_ih.numel() + w_hh.numel()), ops=rows * (biases + units * hidden))

    return price


def _last(state: Any) -> Tensor:
    last: Tensor = state[-1] if isinstance(state, (tuple, list)) else state
    return last


_RNN_UNITS, _LSTM_UNITS, _GRU_UNITS = 1, 8, 7
"""Additions and multiplications per hidden element, without sigmoid and tanh, which are zero-ops here.

x + h for each of the gates, of an LSTM f * c + i * g and o * tanh(c), of a GRU r * h and (h - n) * z + n.
"""

_LAYERS = {
    "rnn_tanh": _recurrent_layers(_RNN_UNITS),
    "rnn_relu": _recurrent_layers(_RNN_UNITS),
    "lstm": _recurrent_layers(_LSTM_UNITS),
    "gru": _recurrent_layers(_GRU_UNITS),
}
_CELLS = {
    "rnn_tanh_cell": _recurrent_cell(_RNN_UNITS),
    "rnn_relu_cell": _recurrent_cell(_RNN_UNITS),
    "lstm_cell": _recurrent_cell(_LSTM_UNITS),
    "gru_cell": _recurrent_cell(_GRU_UNITS),
}


def _attention(prices: UnitPrices) -> Any:
    def price(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *, out: Tensor) -> Cost:
        rows = numel(out.shape[:-1])
        scores = rows * key.shape[-2]
        masks = (
            0 if attn_mask is None or not attn_mask.is_floating_point() else scores * prices.elementwise.get("add", 0)
        )
        return Cost(
            macs=scores * (query.shape[-1] + value.shape[-1]),
            ops=prices.attention_scale * rows * query.shape[-1] + prices.softmax(scores, rows) + masks,
        )

    return price


def macs_of(cost: Cost | Estimate) -> int:
    """Return the multiply-accumulates of what a formula returned."""
    return (cost.cost if isinstance(cost, Estimate) else cost).macs


def _attention_units(prices: UnitPrices, products: int, rows: int, embed_dim: int, num_heads: int) -> int:
    """Count the units of an attention from its products: two of a head's dimension for each score."""
    scores = products // (2 * (embed_dim // num_heads))
    return prices.attention_scale * rows * embed_dim + prices.softmax(scores, rows * num_heads)


def _encoder_layer(prices: UnitPrices) -> Any:
    """Price the fast path of an encoder layer as the layers that it stands for."""
    original = transformer_encoder.transformer_encoder_layer

    @functools.wraps(original)
    def price(**given: Any) -> Cost:
        macs = macs_of(original(**given))
        elements, embed_dim, hidden = given["src"].numel(), given["embed_dim"], given["ffn_weight_1"].shape[0]
        rows = elements // embed_dim
        weights = sum(given[name].numel() for name in ("qkv_weight", "proj_weight", "ffn_weight_1", "ffn_weight_2"))
        biases = sum(given[name].numel() for name in ("qkv_bias", "proj_bias", "ffn_bias_1", "ffn_bias_2"))
        norms = sum(
            prices.norm(1, present(given[f"norm_weight_{index}"], given[f"norm_bias_{index}"])) for index in (1, 2)
        )
        activation = prices.elementwise.get("gelu" if given["use_gelu"] else "relu", 0)
        residuals = 2 * prices.elementwise.get("add", 0)
        return Cost(
            macs=macs,
            ops=prices.bias * rows * biases
            + activation * rows * hidden
            + (norms + residuals) * elements
            + _attention_units(prices, macs - rows * weights, rows, embed_dim, given["num_heads"]),
        )

    return price


def _multi_head_attention(prices: UnitPrices) -> Any:
    original = transformer_encoder.native_multi_head_attention

    @functools.wraps(original)
    def price(**given: Any) -> Cost:
        macs = macs_of(original(**given))
        embed_dim = given["embed_dim"]
        rows = given["query"].numel() // embed_dim
        inputs = sum(given[name].numel() for name in ("query", "key", "value")) // embed_dim
        projections = inputs * given["qkv_weight"].numel() // 3 + rows * given["proj_weight"].numel()
        biases = inputs * given["qkv_bias"].numel() // 3 + rows * given["proj_bias"].numel()
        return Cost(
            macs=macs,
            ops=prices.bias * biases + _attention_units(prices, macs - projections, rows, embed_dim, given["num_head"]),
        )

    return price
