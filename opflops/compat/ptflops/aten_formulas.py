"""Formulas of ptflops' backend ``aten`` for fused operators: multiply-accumulates, and one for each bias added."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from opflops.compat.unit_prices import UnitPrices, macs_of
from opflops.formulas.recurrent import layers_of_a_library, mkldnn_rnn_layer
from opflops.formulas.sizes import available_packets, numel
from opflops.records.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from opflops.compat.unit_prices import Formulas

_PRICES = UnitPrices(
    elementwise={},
    upsampling={},
    bias=1,
    norm=lambda _centered, _affine: 0,
    softmax=lambda _elements, _rows: 0,
    max_pool=lambda _windows, _results: 0,
    average_pool=lambda _windows, _results: 0,
    adaptive_average_pool=lambda _windows, _results: 0,
    attention_scale=0,
)
_ENCODERS = ("aten._transformer_encoder_layer_fwd", "aten._native_multi_head_attention")


def formulas() -> Formulas:
    """Return the formulas; other operators are contractions with one bias, or none."""
    fused: Formulas = {packet: price for packet, price in _PRICES.formulas().items() if str(packet) in _ENCODERS}
    recurrent: Formulas = {
        **dict.fromkeys(available_packets("aten", "mkldnn_rnn_layer"), _one_layer),
        **dict.fromkeys(available_packets("aten", "_cudnn_rnn", "miopen_rnn"), _all_layers),
    }
    return fused | recurrent


def _biases(input: Tensor, weights: Sequence[Tensor]) -> int:
    return numel(input.shape[:-1]) * sum(each.numel() for each in weights if each.dim() == 1)


@functools.wraps(mkldnn_rnn_layer)
def _one_layer(**given: Any) -> Cost:
    # Without biases the last two weights are placeholders.
    biases = (given["weight2"], given["weight3"]) if given["has_biases"] else ()
    return Cost(macs=macs_of(mkldnn_rnn_layer(**given)), ops=_biases(given["input"], biases))


@functools.wraps(layers_of_a_library)
def _all_layers(**given: Any) -> Cost:
    return Cost(macs=macs_of(layers_of_a_library(**given)), ops=_biases(given["input"], given["weight"]))
