"""The clock that operators are timed with."""

from __future__ import annotations

import time

import torch


def synchronized_time() -> float:
    """Return the time in seconds once the accelerator, if there is one, has finished all work that it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()
