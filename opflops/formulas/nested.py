"""Nested tensors: packing, padding and access to parts move data or return metadata; arithmetic is by true lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opflops.formulas.reduction import softmax
from opflops.formulas.sizes import aten, packets
from opflops.pricing.registration import declare_zero, formula
from opflops.records.cost import Cost
from opflops.torch_internals.tensor_layouts import nested_lengths

if TYPE_CHECKING:
    from torch import Tensor

# Views, as the schema says.
declare_zero(*packets("_nested_get_values _nested_view_from_buffer _nested_view_from_jagged"))
# Queries of a nested tensor, and index arithmetic on the answers.
declare_zero(
    *packets(
        "_nested_compute_contiguous_strides_offsets _nested_get_jagged_dummy _nested_get_lengths "
        "_nested_get_max_seqlen _nested_get_min_seqlen _nested_get_offsets _nested_get_ragged_idx _nested_tensor_size "
        "_nested_tensor_storage_offsets _nested_tensor_strides"
    ),
    recorded=False,
)
# Copies to a padded tensor, or from tensors without padding.
declare_zero(*packets("_jagged_to_padded_dense_forward _nested_get_values_copy _nested_tensor_from_tensor_list"))
declare_zero(*packets("_nested_view_from_jagged_copy"), unread=("dummy", "min_seqlen", "max_seqlen"))
# From a padded tensor or a buffer only the elements that are kept are read. An example only gives its shape.
declare_zero(aten._padded_dense_to_jagged_forward, picked=("dense",))
declare_zero(aten._nested_view_from_buffer_copy, picked=("self",))
declare_zero(
    *packets("_nested_from_padded _nested_from_padded_and_nested_example _nested_from_padded_tensor"),
    picked=("padded",),
    unread=("nt_example", "dummy", "min_seqlen", "max_seqlen"),
)
# Gradients of a selection copy into zeros; those of a sum are copied to each element. ``self`` only gives its shape.
declare_zero(aten._nested_select_backward, aten._nested_sum_backward, unread=("self",))


@formula(aten._nested_tensor_softmax_with_shape)
def nested_tensor_softmax_with_shape(self: Tensor, query: Tensor) -> Cost:
    """Softmax of padded scores (batch, heads, s, s): for each sequence only the square of its true length."""
    lengths, heads = nested_lengths(query), self.shape[1]
    scores, rows = heads * sum(length**2 for length in lengths), heads * sum(lengths)
    return softmax(scores, rows) + Cost(bytes_read=scores * self.itemsize)
