"""Benchmark this machine where no datasheet has it: matmuls and copies, the best of several runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from opflops.errors import ProfileError
from opflops.records.datasheets import TF32, Device

if TYPE_CHECKING:
    from collections.abc import Sequence

_MIN_RUN_SECONDS = 0.3
_MATRIX_SIZE = {"cpu": 1024, "cuda": 8192}
# Larger than most caches. On a GPU at most a quarter of the free memory is used.
_COPY_BYTES = {"cpu": 256 * 2**20, "cuda": 4 * 2**30}

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def benchmark_device(on: str | torch.device = "cpu", dtypes: Sequence[torch.dtype] = FLOATS) -> Device:
    """Time square matmuls in each dtype, and a copy, on a device of this machine.

    The rates are the best that PyTorch reaches here, which may be below the hardware's peak. Operators of good shapes
    come near a bound from these rates.

    Args:
        on: ``"cpu"``, or a device of CUDA or ROCm.
        dtypes: The dtypes of the matmuls.

    Returns:
        A device with the measured rates and the size of its memory, named after the hardware, for
        :meth:`opflops.Profile.roofline`.

    Raises:
        ProfileError: The device is neither a CPU nor CUDA.
    """
    where = torch.device(on)
    if where.type not in _MATRIX_SIZE:
        raise ProfileError(f"The device to measure must be {' or '.join(_MATRIX_SIZE)}, not {str(on)!r}.")
    side, copied_bytes = _MATRIX_SIZE[where.type], _COPY_BYTES[where.type]
    name = "this CPU"
    if where.type == "cuda":
        name = torch.cuda.get_device_name(where)
        copied_bytes = min(copied_bytes, torch.cuda.mem_get_info(where)[0] // 4)
    peaks = {str(dtype).removeprefix("torch."): _matmul_rate(side, dtype, where) for dtype in dtypes}
    if where.type == "cuda" and torch.float32 in dtypes:
        peaks[TF32] = _tf32_rate(side, where)
    copied = torch.zeros(copied_bytes, dtype=torch.uint8, device=where)
    target = torch.empty_like(copied)
    seconds = _min_seconds("target.copy_(copied)", {"target": target, "copied": copied})
    bandwidth = 2 * copied.numel() / seconds  # read once and written once
    return Device(name, peaks, bandwidth, f"measured with PyTorch {torch.__version__}", installed_memory(where))


def installed_memory(on: str | torch.device) -> int | None:
    """Return how many bytes of memory a device of this machine has; None if the system does not say.

    Args:
        on: ``"cpu"``, or a device of CUDA or ROCm.
    """
    where = torch.device(on)
    if where.type == "cuda":
        return int(torch.cuda.get_device_properties(where).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None


def _matmul_rate(side: int, dtype: torch.dtype, where: torch.device) -> float:
    # Random numbers, since some devices multiply zeros faster.
    left, right = (torch.randn(side, side, device=where).to(dtype) for _ in range(2))
    return 2.0 * side**3 / _min_seconds("torch.mm(left, right)", {"left": left, "right": right})


def _tf32_rate(side: int, where: torch.device) -> float:
    before = torch.get_float32_matmul_precision()
    # An interruption can come at each line, so all are inside.
    try:
        torch.set_float32_matmul_precision("high")
        rate = _matmul_rate(side, torch.float32, where)
        torch.set_float32_matmul_precision(before)
        return rate  # noqa: TRY300
    except BaseException:
        torch.set_float32_matmul_precision(before)
        raise


def _min_seconds(statement: str, names: dict[str, torch.Tensor]) -> float:
    """Return the seconds of the fastest run of a statement, with all threads."""
    from torch.utils.benchmark import Timer  # noqa: PLC0415 - keeps import opflops fast

    timer = Timer(statement, globals=names, num_threads=torch.get_num_threads())
    timer.timeit(1)
    return min(timer.blocked_autorange(min_run_time=_MIN_RUN_SECONDS).times)
