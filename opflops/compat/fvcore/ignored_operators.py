"""The operators that fvcore ignores by default: they move data, make it, compare it, or calculate sizes."""

from __future__ import annotations

_NAMES = (
    "Int ScalarImplicit __and__ arange bitwise_not cat chunk clamp clamp_ constant_pad_nd contiguous copy_ detach "
    "dropout empty eq expand flatten floor floor_divide full full_like gather ge gt index index_put_ masked_fill max "
    "narrow new_empty new_full new_zeros nonzero ones permute relu relu_ remainder reshape roll select size slice "
    "split split_with_sizes squeeze stack t to transpose type_as unbind unsqueeze unsqueeze_ view zeros zeros_like"
)
IGNORED_OPERATORS = frozenset(f"aten::{name}" for name in _NAMES.split())
"""Their kinds, such as ``"aten::view"``."""
