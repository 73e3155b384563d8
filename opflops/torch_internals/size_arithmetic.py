"""Integer functions of sizes that may be symbolic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from opflops.records import algebra

if TYPE_CHECKING:
    from collections.abc import Sequence


def log2(size: int) -> Any:
    """Return the binary logarithm of a size; a symbolic size stays symbolic."""
    return torch._sym_log2(size)  # type: ignore[attr-defined]


def ceil_log2(size: int) -> int:
    """Return ceil(log2 n), how often n elements are halved until one is left; a symbolic size stays symbolic."""
    if isinstance(size, int):
        return max(size - 1, 0).bit_length()
    from opflops.torch_internals.symbolic_integer_functions import symbolic_ceil_log2  # noqa: PLC0415 - only for symbolic sizes

    symbolic: int = symbolic_ceil_log2(size)
    return symbolic


def antialias_taps(size: int, results: int, reach: int, align_corners: bool, factor: float | None) -> int:
    """Return how many taps an antialiasing filter has along an axis; symbolic sizes stay symbolic.

    See :func:`opflops.records.algebra.antialias_taps`.
    """
    others = reach, int(align_corners), 0.0 if factor is None else factor
    if isinstance(size, int) and isinstance(results, int):
        return algebra.antialias_taps(size, results, *others)
    from opflops.torch_internals.symbolic_integer_functions import symbolic_antialias_taps  # noqa: PLC0415 - only for symbolic sizes

    symbolic: int = symbolic_antialias_taps(size, results, *others)
    return symbolic


def is_zero(count: Any) -> bool:
    """Return whether a count is 0 whatever the sizes are; this adds no guard."""
    return bool(count == 0) if isinstance(count, int) else count.node.maybe_as_int() == 0


def is_larger_by_hint(first: Any, second: Any) -> bool:
    """Return whether a count is larger than another for the sizes that the program is traced with.

    A shape environment that records guards records this one.
    """
    counts = [count if isinstance(count, int) else count.node.hint for count in (first, second)]
    if None in counts:
        return False
    symbolic = [count for count in (first, second) if not isinstance(count, int)]
    if symbolic and hasattr(symbolic[0].node.shape_env, "recorded_guards"):
        return bool(first > second)
    return bool(counts[0] > counts[1])


def distinct_elements(sizes: Sequence[Any], strides: Sequence[Any], *, bound: bool = False) -> Any:
    """Count the elements of a strided tensor that have different addresses; at least one size or stride is symbolic.

    Args:
        sizes: The size of each dimension.
        strides: The stride of each dimension.
        bound: Return an upper bound in place of the exact count.

    Raises:
        TooManyAddressesError: They are too many to count.
    """
    from opflops.torch_internals import symbolic_addresses  # noqa: PLC0415 - only for symbolic sizes

    count = symbolic_addresses.symbolic_address_bound if bound else symbolic_addresses.symbolic_distinct_addresses
    return count(sizes, strides)
