"""Collect only the garbage of a count while it runs.

Python collects garbage at times, and each full collection visits every object of the process: hundreds of thousands
once PyTorch and a library of models are loaded. A count of a large model makes so many objects that this happens again
and again, and takes up to a third of its time.
"""

from __future__ import annotations

import gc

from opflops.torch_internals.shared_context import SharedContext

_frozen: list[bool] = []


def _freeze() -> None:
    # What a program has frozen itself would thaw with the rest.
    if not gc.get_freeze_count():
        _frozen.append(True)
        gc.freeze()


def _unfreeze() -> None:
    if _frozen:
        gc.unfreeze()
        _frozen.clear()


heap_frozen = SharedContext(_freeze, _unfreeze)
"""A context in which the collector passes over the objects that there were before; it sees them again afterwards."""
