"""Measure what the machine at hand can do, where no datasheet says: matrix products and copies, the best of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from opflops.devices.datasheets import TF32, Device
from opflops.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SECONDS = 0.3
_SIDE = {"cpu": 1024, "cuda": 8192}
# Larger than what caches hold of them on most machines; of a GPU at most a quarter of the memory that is free.
_COPIED = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def benchmark_device(on: str | torch.device = "cpu", dtypes: Sequence[torch.dtype] = FLOATS) -> Device:
    """Time square matrix products in each dtype, and a copy, on a device of this machine.

    The rates are what PyTorch reaches here at best, not what the hardware could do: a bound from them is one that well
    shaped operators come near to.

    Args:
        on: ``"cpu"``, or a device of CUDA or ROCm.
        dtypes: What to multiply in.

    Returns:
        A device called after the one measured, for :meth:`opflops.Profile.roofline`.

    Raises:
        ProfileError: It is another kind of device.
    """
    where = torch.device(on)
    if where.type not in _SIDE:
        raise ProfileError(f"A device {str(on)!r} cannot be measured; it can be {' or '.join(_SIDE)}.")
    side, copied_bytes = _SIDE[where.type], _COPIED[where.type]
    name = "this CPU"
    if where.type == "cuda":
        name = torch.cuda.get_device_name(where)
        copied_bytes = min(copied_bytes, torch.cuda.mem_get_info(where)[0] // 4)
    peaks = {str(dtype).removeprefix("torch."): _product_rate(side, dtype, where) for dtype in dtypes}
    if where.type == "cuda" and torch.float32 in dtypes:
        peaks[TF32] = _tf32_rate(side, where)
    copied = torch.zeros(copied_bytes, dtype=torch.uint8, device=where)
    target = torch.empty_like(copied)
    seconds = _best("target.copy_(copied)", {"target": target, "copied": copied})
    bandwidth = 2 * copied.numel() / seconds  # read once and written once
    return Device(name, peaks, bandwidth, f"measured with PyTorch {torch.__version__}")


def _product_rate(side: int, dtype: torch.dtype, where: torch.device) -> float:
    # Random numbers, since some devices multiply zeros faster than they can anything else.
    left, right = (torch.randn(side, side, device=where).to(dtype) for _ in range(2))
    return 2.0 * side**3 / _best("torch.mm(left, right)", {"left": left, "right": right})


def _tf32_rate(side: int, where: torch.device) -> float:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        return _product_rate(side, torch.float32, where)
    finally:
        torch.set_float32_matmul_precision(before)


def _best(statement: str, names: dict[str, torch.Tensor]) -> float:
    """Return the seconds of the quickest run of a statement, with all threads."""
    from torch.utils.benchmark import Timer  # noqa: PLC0415 - importing opflops is not to take longer for it

    timer = Timer(statement, globals=names, num_threads=torch.get_num_threads())
    timer.timeit(1)
    return min(timer.blocked_autorange(min_run_time=_SECONDS).times)
