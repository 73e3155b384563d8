"""When the process of a command collects garbage: not while it imports modules, and not at its end.

Modules are hundreds of thousands of objects that stay. Python visits all of them several times while they are imported,
and once more when the process ends. That takes a third of the time of a small count.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opflops.records.garbage_collection import gc_disabled

if TYPE_CHECKING:
    from collections.abc import Iterator


class _State:
    """Hold whether collections leave out what there is once modules are imported."""

    leaves_out = False


def begin_process() -> None:
    """Let collections leave out what is imported from now on: the process is that of one command."""
    _State.leaves_out = True


def end_process() -> None:
    """Leave everything out of the collection at the end of the process."""
    gc.freeze()


def note_counted() -> None:
    """Let collections see what is imported from now on, since there may be a model among it that is not needed."""
    _State.leaves_out = False


@contextmanager
def importing() -> Iterator[None]:
    """Collect nothing while modules are imported and, in the process of one command, pass over them from then on."""
    was_enabled = gc.isenabled()
    with gc_disabled():
        yield
        if _State.leaves_out and was_enabled:
            gc.freeze()
