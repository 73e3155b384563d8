"""Find the largest size of a dimension at which a model fits into the memory of a device, by counting at sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opflops.records.arguments import check_count, explain_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from opflops.counting.size_counter import LargestSize
    from opflops.mode import Causal
    from opflops.records.datasheets import Device


@explain_arguments()
def largest_size(
    model: Callable[..., Any],
    *inputs: Any,
    dynamic_shapes: Mapping[str, Any] | tuple[Any, ...] | list[Any],
    fits: str | Device | float,
    multiple: int = 1,
    backward: bool = False,
    optimizer: torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | None = None,
    allocator: str | None = None,
    causal: Causal = "dense",
    device: str | torch.device | None = None,
    time_limit: float | None = None,
    kwargs: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> LargestSize:
    """Find the largest size of a dimension at which a model fits into the memory of a device, without running it.

    It counts at sizes as ``count(model, ..., memory=True)`` does, at a dozen at most, and begins at that of the inputs.
    The answer is exact: what it returns fits, and the next size was counted, and does not fit or fails in the model.

    >>> import torch
    >>> from torch.export import Dim
    >>> layer = torch.nn.Linear(1000, 1000, device="meta")
    >>> x = torch.zeros(1, 1000, device="meta")
    >>> found = largest_size(layer, x, dynamic_shapes=({0: Dim("batch")},), fits="1 GB")
    >>> found.size, found.profile.memory.peak  # 4 * (1000 * 1000 + 1000) bytes of weights and 8000 for each example
    (124499, 999996000)

    Args:
        model: The module or function to call, as for :func:`opflops.count`.
        *inputs: Its positional arguments.
        dynamic_shapes: The axes of the inputs that have this size, as for :func:`opflops.count`: a ``torch.export.Dim``
            of one name for each, as in ``{"ids": {0: Dim("batch")}}``. Its limits hold.
        fits: The device: a name, such as ``"h100-sxm"``, an :class:`opflops.Device`, or a size, such as ``80e9`` or
            ``"24 GB"``.
        multiple: Try only multiples of this number, if the model takes no other sizes.
        backward: As for :func:`opflops.count`, like all options below.
        optimizer: See there.
        allocator: See there.
        causal: See there.
        device: See there; by default ``"cpu"`` for tensors on meta, since attention is not fused on meta, and indices
            have no values there that could be out of range.
        time_limit: See there; for each count.
        kwargs: See there.
        **keywords: The model's other keyword arguments.

    Raises:
        DimensionError: ``dynamic_shapes`` does not fit the inputs, or names several dimensions.
        ProfileError: The device is unknown, or the size of its memory is.
        OpflopsError: The model cannot be counted at the size of the inputs, for a reason that :func:`opflops.count`
            says.
    """
    from opflops.counting.call_options import OPTIONS, check_callable, merge_keywords  # noqa: PLC0415 - as in count
    from opflops.counting.fake_call import FakeCall  # noqa: PLC0415 - as above
    from opflops.counting.size_counter import SizeCounter  # noqa: PLC0415 - as above
    from opflops.records.fit import find_capacity  # noqa: PLC0415 - as above

    check_callable(model, inputs, "largest_size()")
    options = (*(each for each in OPTIONS if each != "memory"), "fits", "multiple")
    arguments = merge_keywords(model, keywords, kwargs, "largest_size()", options)
    check_count("multiple", multiple, otherwise="")
    _, available = find_capacity(fits)
    call = FakeCall(model, inputs, arguments, backward=backward, optimizer=optimizer, causal=causal, device=device)
    given = {"backward": backward, "optimizer": optimizer, "causal": causal, "time_limit": time_limit}
    counter = SizeCounter(call, dynamic_shapes, multiple, {**given, "memory": True, "allocator": allocator})
    return counter.result(counter.search(available), fits)
