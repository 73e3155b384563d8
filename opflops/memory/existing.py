"""The tensors that were there before a block: by the generations of Python's garbage collector.

To look through all objects of a program takes tens of milliseconds. Most are old: they have survived collections of the
young generations, which are short lists. What is in none of these lists is from before the block, if what the block
makes is noted before it grows old.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from opflops.torch_internals.storages import GENERATIONS, all_tensors, is_young, young_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class ExistingTensors:
    """Tell which tensors are from before a block.

    Args:
        note: Called with a tensor, and whether it is from before the block, unless that is found when it is used.
    """

    def __init__(self, note: Callable[..., None]) -> None:
        self._note = note

    def begin(self) -> None:
        """Begin the block."""
        for tensor in young_tensors() if GENERATIONS else all_tensors():
            self._note(tensor, before=True)
        if GENERATIONS:
            gc.callbacks.append(self._on_collection)

    def end(self) -> None:
        """End the block. To do this again is harmless."""
        if self._on_collection in gc.callbacks:
            gc.callbacks.remove(self._on_collection)

    def include(self, tensor: Tensor) -> bool:
        """Return whether a tensor is from before the block that was not noted."""
        return bool(GENERATIONS) and not is_young(tensor)

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        """Note what was made in the block, before it grows old."""
        if phase == "start" and info["generation"] >= GENERATIONS - 1:
            for tensor in young_tensors():
                self._note(tensor, before=False)
