"""The state of PyTorch's random numbers, which a count leaves as it was."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Return a context that restores the generator of the CPU, from which a class may draw when it is copied."""
    state = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
